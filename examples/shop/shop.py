"""A shop: takes orders over HTTP, tells everybody who listens, and shows them on a live page.

gateway serve --app shop:app --port 8000
"""

from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from gateway.embed import Gateway, Group, Publish, Stream

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "web/client/dist/fanout-gateway.min.js"

packing = Group("packing", filter="orders/+/created", ack_wait="30s")
gateway = Gateway(
    streams=[
        Stream("orders", filter="orders/#", max_age="30d", groups=[packing]),
    ],
    store={"url": "sqlite:data/shop.db"},
)
app = FastAPI(lifespan=gateway.lifespan)
app.mount("/realtime", gateway)


class Order(BaseModel):
    """What a customer wants."""

    region: str = Field(pattern="^[a-z]+$")
    total: int = Field(gt=0)


class PlacedOrder(Order):
    """The same, once it is taken."""

    id: str


@app.post("/orders", status_code=201)
async def place(order: Order, publish: Annotated[Publish, Depends(gateway.publisher)]) -> PlacedOrder:
    """Take an order; it is stored once this is answered, and workers will pack it."""
    placed = PlacedOrder(id=uuid4().hex[:8], **order.model_dump())
    await publish(f"orders/{order.region}/created", placed, key=placed.id)
    return placed


@app.get("/")
def page() -> FileResponse:
    """The page that shows what happens."""
    return FileResponse(HERE / "page.html")


@app.get("/fanout-gateway.min.js")
def script() -> FileResponse:
    """The browser library, as `npm run build` in web/ makes it."""
    return FileResponse(SCRIPT, media_type="text/javascript")

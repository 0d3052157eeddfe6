"""A shop that publishes its orders, with the gateway mounted at /realtime.

uvicorn --app-dir examples/embedding fastapi_shop:app
gateway subscribe 'orders/#' --url http://127.0.0.1:8000/realtime
curl -d '{"region": "eu", "total": 42}' -H 'content-type: application/json' http://127.0.0.1:8000/orders
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from gateway.embed import Gateway, Publish, Stream

gateway = Gateway(streams=[Stream("orders", filter="orders/#")], store={"url": "memory:"})


class Order(BaseModel):
    """What a customer wants."""

    region: str
    total: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, int]]:
    """What the shop itself needs, around the gateway; without any of it, ``lifespan=gateway.lifespan``."""
    async with gateway.lifespan(app):
        yield {"opened": 9}


app = FastAPI(lifespan=lifespan)
app.mount("/realtime", gateway)


@app.post("/orders", status_code=201)
async def create(
    order: Order, publish: Annotated[Publish, Depends(gateway.publisher)]
) -> dict[str, int | None]:
    """Take an order, and tell everybody who listens."""
    published = await publish(f"orders/{order.region}/created", order)
    return {"offset": published.offset}


@app.post("/orders/{region}/cancelled", status_code=201)
def cancel(region: str) -> dict[str, int | None]:
    """The same from a synchronous endpoint, which runs in a thread."""
    return {"offset": gateway.publish_sync(f"orders/{region}/cancelled", {"region": region}).offset}

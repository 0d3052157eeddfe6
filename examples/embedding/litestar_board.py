"""Notices for everybody: Litestar, with the gateway mounted at /realtime.

uvicorn --app-dir examples/embedding litestar_board:app
"""

from typing import Any

from litestar import Litestar, post

from gateway.embed import Gateway

gateway = Gateway()


@post("/notices/{board:str}", status_code=202)
async def post_notice(board: str, data: dict[str, Any]) -> dict[str, str]:
    """Publish a notice on its topic."""
    published = await gateway.publish(f"notices/{board}", data)
    return {"id": published.id}


app = gateway.mount(Litestar([post_notice]), "/realtime")

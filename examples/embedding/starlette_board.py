"""Notices for everybody: Starlette, with the gateway mounted at /realtime.

uvicorn --app-dir examples/embedding starlette_board:app
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from gateway.embed import Gateway

gateway = Gateway()


async def post_notice(request: Request) -> JSONResponse:
    """Publish a notice on its topic."""
    published = await gateway.publish(f"notices/{request.path_params['board']}", await request.json())
    return JSONResponse({"id": published.id}, 202)


app = Starlette(
    routes=[Route("/notices/{board}", post_notice, methods=["POST"]), Mount("/realtime", gateway)],
    lifespan=gateway.lifespan,
)

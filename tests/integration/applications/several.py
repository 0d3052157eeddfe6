"""An application with two gateways that know nothing of each other."""

from starlette.applications import Starlette
from starlette.routing import Mount

from gateway.embed import Gateway

app = Starlette(routes=[Mount("/one", Gateway()), Mount("/other", Gateway())])

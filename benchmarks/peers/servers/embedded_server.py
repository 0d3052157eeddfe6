"""An application that has nothing but a gateway in it."""

import logging
import os

from starlette.applications import Starlette
from starlette.routing import Mount

from gateway.embed import Gateway

logging.getLogger("gateway").setLevel(logging.WARNING)
gateway = Gateway(os.environ["EMBEDDED_CONFIG"])
app = Starlette(routes=[Mount("/realtime", gateway)], lifespan=gateway.lifespan)

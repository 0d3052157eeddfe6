"""Where the parts are built and handed to each other; the one room that sees every other.

``gateway.app:create_app`` is the application for another ASGI server.
"""

from gateway.app.process import create_app

__all__ = ["create_app"]

"""Hypercorn as a library: ``python -m served_by_hypercorn PORT``."""

from __future__ import annotations

import asyncio
import sys

from embedding import app
from hypercorn.asyncio import serve
from hypercorn.config import Config

config = Config()
config.bind = [f"127.0.0.1:{sys.argv[1]}"]
asyncio.run(serve(app, config))

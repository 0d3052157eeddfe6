"""The suites run against real processes, as the integration tests do."""

from __future__ import annotations

from tests.integration.conftest import gateway_process, module_gateway_process
from tests.redis_process import module_redis_server, redis_server

__all__ = ["gateway_process", "module_gateway_process", "module_redis_server", "redis_server"]

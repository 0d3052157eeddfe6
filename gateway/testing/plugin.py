"""The fixtures ``gateway`` and ``gateway_server``, for pytest.

pytest imports this at every start: whatever costs anything is imported by who asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gateway.testing.in_memory import InMemoryGateway
    from gateway.testing.server import ServerProcess

_MARKER = "gateway"
_APP = "gateway_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the settings file of pytest name the application."""
    parser.addini(_APP, "the application under test as module:name, for the fixtures of gateway.testing")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(app=None, **settings): of the fixtures gateway and gateway_server: the settings as "
        "gateway.embed.Gateway takes them, or the application, as module:name, that they run.",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - whatever the fixture gives
    """Have ``gateway`` run by the plugin that runs the test: before either has looked at it."""
    if fixturedef.func is _run_gateway:
        by_anyio = "anyio_backend" in request.fixturenames
        # How pytest-asyncio knows its own in strict mode; anyio takes all of a test that has its backend.
        _run_gateway._force_asyncio_fixture = not by_anyio  # type: ignore[attr-defined]  # noqa: SLF001
        _run_gateway._loop_scope = _loop_scope(request)  # type: ignore[attr-defined]  # noqa: SLF001
        if not by_anyio and not request.config.pluginmanager.has_plugin("asyncio"):
            raise pytest.UsageError(
                "the fixture 'gateway' is for async tests: mark them with pytest.mark.anyio, or install "
                "pytest-asyncio; others can use 'gateway_server'"
            )
    return (yield)


@pytest.fixture
def gateway_application(request: pytest.FixtureRequest) -> object:
    """The application or ``gateway.embed.Gateway`` that ``gateway`` runs; None: a gateway alone.

    It is what the marker or the option ``gateway_app`` names; override it where that isn't enough.
    """
    name = _application(request)
    if name is None:
        return None
    from uvicorn.importer import import_from_string  # noqa: PLC0415 - see above

    return import_from_string(name)


async def _run_gateway(
    request: pytest.FixtureRequest, gateway_application: object
) -> AsyncIterator[InMemoryGateway]:
    """A gateway in this process, in memory, new for each test."""
    from gateway.testing.in_memory import InMemoryGateway  # noqa: PLC0415 - see above

    running = InMemoryGateway(gateway_application, _settings(request))
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


gateway = pytest.fixture(name="gateway")(_run_gateway)


@pytest.fixture
def gateway_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A gateway as a process of its own, on a free port; ended with the test."""
    from gateway.testing.server import ServerProcess  # noqa: PLC0415 - see above

    directory = tmp_path / "gateway_server"
    directory.mkdir()
    server = ServerProcess(directory, _settings(request), app=_application(request))
    try:
        server.start()
        yield server
    finally:
        server.end()


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker(_MARKER)
    if marker is None:
        return {}
    if marker.args:
        raise pytest.UsageError("pytest.mark.gateway takes keywords alone, as gateway.embed.Gateway does")
    return {name: value for name, value in marker.kwargs.items() if name != "app"}


def _application(request: pytest.FixtureRequest) -> str | None:
    marker = request.node.get_closest_marker(_MARKER)
    named = None if marker is None else marker.kwargs.get("app")
    return named or request.config.getini(_APP) or None


def _loop_scope(request: pytest.FixtureRequest) -> str | None:
    """In which of pytest-asyncio's event loops the test runs; None: in that which is its default."""
    marker = request.node.get_closest_marker("asyncio")
    found = None if marker is None else marker.kwargs.get("loop_scope")
    if found is None and request.config.pluginmanager.has_plugin("asyncio"):
        found = request.config.getini("asyncio_default_test_loop_scope")
    return found

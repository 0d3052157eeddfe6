"""A query parameter that is misspelt is refused by name, at every door that reads a query.

Spec: docs/http.md, "Errors".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process('[[streams]]\nname = "orders"\nfilter = "orders/#"\n')


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/events?filter=orders/%23&form=earliest", "form"),
        ("/v1/events?filter=a&Last-Event-ID=1!a", "Last-Event-ID"),
        ("/v1/events?filter=a&from=new&from=earliest", "from"),
        ("/v1/streams/orders/messages?from=earliest&limt=1", "limt"),
        ("/v1/streams/orders/messages?limit=1&limit=2", "limit"),
        ("/v1/streams?stream=orders", "stream"),
        ("/v1/streams/orders?limit=1", "limit"),
        ("/v1/connections?before=a", "before"),
        ("/v1/nodes?limit=1", "limit"),
    ],
)
def test_a_misspelt_parameter_is_named(gateway: RunningGateway, path: str, name: str) -> None:
    answer = httpx2.get(gateway.url + path, timeout=HANG_SECONDS)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_command")
    assert repr(name) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/disconnect?block_seconds=60"),
        ("DELETE", "/v1/connections/0123456789abcdef?block_seconds=60"),
    ],
)
def test_a_parameter_that_belongs_elsewhere_is_named(gateway: RunningGateway, method: str, path: str) -> None:
    answer = httpx2.request(method, gateway.url + path, content=b'{"subject": "eve"}', timeout=HANG_SECONDS)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_command")
    assert "'block_seconds'" in answer.json()["detail"]

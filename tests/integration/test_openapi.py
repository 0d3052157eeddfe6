"""The served OpenAPI description against a running gateway: what it promises is what happens."""

import json
import urllib.request

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from gateway.http_api.descriptions.documents import openapi_document
from gateway.http_api.publishing.limits import PublishingLimits
from tests.patience import HANG_SECONDS

SETTINGS = """
[limits]
batch_items = 20

[[hooks]]
name = "github"
scheme = "github"
secret = "env:HOOK_SECRET"
topic = "github/{body.action}/{header.x-github-event}"

[[hooks]]
name = "open"
scheme = "none"
topic = "open/{body.a|level}/{body.b}"

[store]
url = "memory:"

[[streams]]
name = "kept"
filter = "kept/#"
last_values = true

[[streams.groups]]
name = "jobs"
"""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


METHODS = {
    operation["operationId"]: method
    for path in openapi_document(PublishingLimits())["paths"].values()
    for method, operation in path.items()
    if "text/event-stream" not in operation["responses"].get("200", {}).get("content", {})  # it has no end
}
UNBREAKABLE = {"drainNode", "reload"}
"""They take nothing that could be wrong."""

SUCCESSES = {
    "putGroup": 200,
    "deleteGroup": 404,
    "pull": 200,
    "publishToTopic": 202,
    "deleteTopic": 202,
    "publishItems": 200,
    "publishEvents": 202,
    "receiveWebhook": 202,
    "replayDelivery": 404,
    "connect": 400,
    "disconnectSession": 404,
    "describeSession": 404,
    "drainNode": 404,
    "purgeMessages": 400,
    # This gateway asks for no credentials.
    "beginSession": 404,
    "endSession": 404,
}
KNOWN = {
    "receiveWebhook": {"hook": "open"},
    "listDeliveries": {"hook": "open"},
    "replayDelivery": {"hook": "open"},
    "describeStream": {"stream": "kept"},
    "readMessages": {"stream": "kept"},
    "purgeMessages": {"stream": "kept"},
    "listTopics": {"stream": "kept"},
    "readTopic": {"topic": "kept/a"},
    "listGroups": {"stream": "kept"},
    "listVisibleGroups": {"stream": "kept"},
    # Another one: it is gone when the next case comes.
    "deleteGroup": {"stream": "kept", "group": "nobody"},
} | {
    name: {"stream": "kept", "group": "jobs"}
    for name in (
        "describeGroup",
        "putGroup",
        "pauseGroup",
        "resumeGroup",
        "pull",
        "acknowledge",
        "reject",
        "extend",
        "releaseDeliveries",
        "browseGroup",
        "browseVisibleGroup",
        "explainMessage",
        "explainVisibleMessage",
        "listDeadLetters",
        "listVisibleDeadLetters",
        "discardDeadLetters",
        "redriveDeadLetters",
    )
}
"""What is made up is seldom configured."""


@pytest.fixture(scope="module")
def gateway(module_gateway_process):
    gateway = module_gateway_process(SETTINGS, {"HOOK_SECRET": "s3cret"})
    for body in (b"1", b"\xff"):
        urllib.request.urlopen(gateway.url + "/v1/topics/kept/a", body, timeout=HANG_SECONDS).close()
    return gateway


@pytest.fixture(scope="module")
def api(gateway):
    return schemathesis.openapi.from_url(gateway.url + "/openapi.json")


def statuses(case_strategy, known=None):
    """Call the gateway with many cases, check every answer, and return the statuses that were seen."""
    seen = set()

    @given(case=case_strategy)
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def answers_as_promised(case):
        case.path_parameters.update(known or {})
        if case.query and int(case.query.get("wait", 0) or 0) > 1:
            case.query["wait"] = 0  # nothing comes, and sixty waits would be long
        if isinstance(case.body, dict) and isinstance(case.body.get("wait"), int | float):
            case.body["wait"] = min(case.body["wait"], 0.01)
        if isinstance(case.body, dict) and "name" in case.body and "group" in (known or {}):
            case.body["name"] = known["group"]  # the path's, or nothing would ever be changed
        seen.add(case.call_and_validate(checks=CHECKS).status_code)

    answers_as_promised()
    return seen


@pytest.mark.parametrize("operation", METHODS)
def test_every_answer_is_one_the_description_promises(api, operation):
    strategy = api.find_operation_by_id(operation).as_strategy()
    assert SUCCESSES.get(operation, 200) in statuses(strategy, KNOWN.get(operation))


def test_an_unsigned_delivery_is_refused_as_promised(api):
    strategy = api.find_operation_by_id("receiveWebhook").as_strategy()
    assert statuses(strategy, {"hook": "github"}) <= {401}


@pytest.mark.parametrize(
    "operation", [name for name, method in METHODS.items() if method == "post" and name not in UNBREAKABLE]
)
def test_nonsense_is_answered_as_promised_too(api, operation):
    described = api.find_operation_by_id(operation)
    statuses(described.as_strategy(generation_mode=GenerationMode.NEGATIVE))


@pytest.mark.parametrize("query", ["filter=a&filter=b%2F%23", "", "filter=a%2F%23%2Fb", "filter=a&from=x"])
def test_listening_is_answered_as_promised(gateway, query):
    document = openapi_document(PublishingLimits())
    (operation,) = document["paths"]["/v1/events"].values()
    with httpx2.stream("GET", f"{gateway.url}/v1/events?{query}", timeout=HANG_SECONDS) as response:
        promised = resolved(operation["responses"][str(response.status_code)], document)
    assert response.headers["content-type"] in promised["content"]


def load(url):
    with urllib.request.urlopen(url, timeout=HANG_SECONDS) as response:
        assert response.headers["content-type"] == "application/json"
        return json.load(response)


def test_references_resolve_and_operations_have_names(gateway):
    for path in ("/openapi.json", "/asyncapi.json"):
        document = load(gateway.url + path)
        for reference in references(document):
            resolved({"$ref": reference}, document)
    document = load(gateway.url + "/openapi.json")
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert document["info"]["version"]


def test_the_asyncapi_description_knows_every_op(gateway):
    document = load(gateway.url + "/asyncapi.json")
    assert document["asyncapi"].startswith("3.")
    ops = {
        message["payload"]["properties"]["op"]["const"]
        for name, message in document["components"]["messages"].items()
        if name != "event"  # of CloudEvents, which has no op
    }
    assert {"auth", "subscribe", "publish", "welcome", "message", "gap", "error"} <= ops


def resolved(value, document):
    """What is meant by a reference; anything else as it is."""
    if "$ref" in value:
        reference, value = value["$ref"], document
        for part in reference.removeprefix("#/").split("/"):
            value = value[part.replace("~1", "/")]
    return value


def references(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)

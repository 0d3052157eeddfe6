"""The descriptions as files: what is filled in, and what hand-written YAML can get wrong."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml

from gateway.codecs.body import MessageLimits
from gateway.http_api import descriptions
from gateway.http_api.descriptions.documents import (
    asyncapi_document,
    error_codes,
    fill,
    openapi_document,
    read_document,
    values,
)
from gateway.http_api.publishing.limits import PublishingLimits

LIMITS = PublishingLimits()
DOCUMENTS = {"openapi.yaml": openapi_document(LIMITS), "asyncapi.yaml": asyncapi_document(LIMITS)}
every_document = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)


def mappings(node):
    """Every mapping of a document."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from mappings(inner)


def references(document):
    return {mapping["$ref"] for mapping in mappings(document) if "$ref" in mapping}


def test_a_placeholder_alone_becomes_the_value_in_its_own_type():
    assert fill({"maxItems": "${most}", "enum": ["x", "${codes}"]}, {"most": 7, "codes": ["a"]}) == {
        "maxItems": 7,
        "enum": ["x", ["a"]],
    }


def test_a_placeholder_within_a_text_is_written_out():
    assert fill("${a} or ${b}, ^x{1,64}$", {"a": 1, "b": "two"}) == "1 or two, ^x{1,64}$"


@pytest.mark.parametrize("text", ["${unknown}", "at most ${unknown} bytes", "${}", "${ most }"])
def test_a_placeholder_that_names_no_value_is_refused(text):
    with pytest.raises(KeyError):
        fill([text], {"most": 7})


def test_what_is_configured_is_described():
    limits = PublishingLimits(MessageLimits(message_bytes=11), batch_items=12, batch_bytes=13, hook_bytes=14)
    paths = openapi_document(limits)["paths"]
    publishing = paths["/v1/publish"]["post"]
    assert "at most 12 items and 13 bytes" in publishing["description"]
    one, several = publishing["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert (one["$ref"], several["maxItems"]) == ("#/components/schemas/Item", 12)
    assert "At most 11 bytes" in paths["/v1/topics/{topic}"]["post"]["description"]
    assert "At most 14 bytes" in paths["/v1/hooks/{hook}"]["post"]["description"]
    publish = asyncapi_document(limits)["components"]["messages"]["publish"]["payload"]
    assert publish["properties"]["data"]["description"] == "JSON of at most 11 bytes."


def test_both_descriptions_know_every_error_code():
    codes = error_codes()
    assert {"bad_topic", "forbidden", "unavailable"} <= set(codes)
    openapi, asyncapi = DOCUMENTS.values()
    assert openapi["components"]["schemas"]["Code"]["enum"] == codes
    assert asyncapi["components"]["messages"]["error"]["payload"]["properties"]["code"]["enum"] == codes


def test_every_value_is_named_by_a_description():
    class Recording(dict):
        def __getitem__(self, name):
            named.add(name)
            return super().__getitem__(name)

    named = set()
    known = values(LIMITS)
    for name in DOCUMENTS:
        read_document(name, Recording(known))
    assert named == set(known)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_key_stands_twice_in_a_mapping(name):
    root = yaml.compose(resources.files(descriptions).joinpath(name).read_text("utf-8"))
    twice, nodes = [], [root]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            twice += [(key, node.start_mark.line) for key in set(keys) if keys.count(key) > 1]
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
    assert twice == []


@every_document
def test_every_component_is_referred_to(document):
    components = {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        if kind != "securitySchemes"  # they are named, not referred to
        for name in named
    }
    assert components == {name for name in references(document) if name.startswith("#/components/")}


@every_document
def test_what_is_required_is_a_property(document):
    schemas = [each for each in mappings(document) if "required" in each and "properties" in each]
    assert schemas
    for schema in schemas:
        assert set(schema["required"]) <= set(schema["properties"])
        assert len(schema["required"]) == len(set(schema["required"]))


def test_every_message_is_in_the_channel_and_goes_one_way_but_events_both():
    document = DOCUMENTS["asyncapi.yaml"]
    messages = document["components"]["messages"]
    for name, message in messages.items():
        assert message["name"] == name
        # What tells an event of CloudEvents from all others is that it has a version, and no op.
        tag, value = ("specversion", "1.0") if name == "event" else ("op", name)
        assert message["payload"]["properties"][tag] == {"const": value}
        assert tag in message["payload"]["required"]
    assert document["channels"]["gateway"]["messages"] == {
        name: {"$ref": f"#/components/messages/{name}"} for name in messages
    }
    ways = [each["$ref"] for way in document["operations"].values() for each in way["messages"]]
    one_way_each = [f"#/channels/gateway/messages/{name}" for name in messages]
    assert sorted(ways) == sorted([*one_way_each, "#/channels/gateway/messages/event"])

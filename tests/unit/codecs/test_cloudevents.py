"""Events of CloudEvents, read in all modes; the official SDK writes what is read."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime
from inspect import signature

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.body import MessageLimits
from gateway.codecs.cloudevents import CloudEventReader, attribute_problem
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand, BadFrame, ClientError, TooLarge
from tests.unit.codecs.strategies import json_values, texts

LIMITS = MessageLimits(message_bytes=4096, json_depth=16, header_entries=12, header_bytes=2048)
READER = CloudEventReader(lambda attributes: f"t/{attributes['type']}", LIMITS)
MINIMAL = {"specversion": "1.0", "id": "1", "source": "/s", "type": "made"}

values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
given_values = values.filter(bool)
sources = st.from_regex(r"[A-Za-z0-9._~:/?#@!$&'()*+,;=-]{1,30}", fullmatch=True)
times = st.datetimes(timezones=st.just(UTC))
extension_names = st.from_regex(r"[a-z][a-z0-9]{0,19}", fullmatch=True).filter(
    lambda name: attribute_problem(name, "") is None and name != "partitionkey"
)
objects = st.dictionaries(texts, json_values, max_size=4)
# In binary mode the SDK writes only objects as JSON, so data in JSON is one here.
events = st.builds(
    lambda required, optional, extensions, body: CloudEvent(
        attributes=MINIMAL | required | optional | extensions | body[0], data=body[1]
    ),
    st.fixed_dictionaries({"id": given_values, "source": sources, "type": given_values}),
    st.fixed_dictionaries(
        {}, optional={"subject": given_values, "time": times, "partitionkey": given_values}
    ),
    st.dictionaries(extension_names, values, max_size=3),
    st.one_of(
        st.tuples(st.just({"datacontenttype": "application/json"}), objects),
        st.tuples(st.just({"datacontenttype": "text/plain"}), texts.filter(bool)),
        st.tuples(st.just({"datacontenttype": "image/png"}), st.binary(min_size=1, max_size=40)),
    ),
)  # fmt: skip


def structured(**members):
    return READER.structured(json.dumps(MINIMAL | members).encode())


def binary(*fields, raw=b"", **attributes):
    headers = [(b"ce-" + name.encode(), value.encode()) for name, value in (MINIMAL | attributes).items()]
    return READER.binary([*headers, *fields], raw)


def state(publish):
    return {name: getattr(publish, name) for name in signature(Publish).parameters}


def expected_headers(event):
    return {
        f"ce-{name}": value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
        for name, value in event.get_attributes().items()
        if name != "datacontenttype"
    }


@given(events)
def test_what_the_sdk_sends_is_read_alike_in_both_modes(event):
    message = to_binary_event(event)
    headers = [(name.lower().encode(), value.encode()) for name, value in message.headers.items()]
    from_headers = READER.binary(headers, message.body)
    from_json = READER.structured(to_structured_event(event).body)
    for publish in (from_headers, from_json):
        assert publish.topic == f"t/{event.get_type()}"
        assert (publish.id, publish.key) == (event.get_id(), event.get_extension("partitionkey"))
        assert publish.headers == expected_headers(event)
        assert publish.content_type == event.get_datacontenttype()
        found = publish.binary if publish.data is None else json.loads(publish.data)
        assert found == event.get_data()
    assert from_headers.idempotency_key == from_json.idempotency_key


def test_what_json_holds_is_embedded_as_sent():
    publish = READER.structured(
        b' {"specversion":"1.0","id":"1","source":"s","type":"t","data": [1.0,  2] } '
    )
    assert (publish.data, publish.content_type) == (b"[1.0,  2]", None)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (b'"data":1,"data":2', b"2"),
        (b'"data":1,"d\\u0061ta":2', b"2"),
        (b'"d\\u0061ta":7', b"7"),
        (b'"data":{"data":1}', b'{"data":1}'),
    ],
)
def test_the_data_that_is_judged_is_the_data_that_is_embedded(members, text):
    head = b'{"specversion":"1.0","id":"1","source":"s","type":"t",'
    assert READER.structured(head + members + b"}").data == text


def test_what_can_only_just_be_read_is_read_or_refused():
    reader = CloudEventReader(lambda _: "t", MessageLimits(json_depth=1000))
    event = json.dumps(MINIMAL).encode()[:-1] + b',"data":%b}' % (b"[" * 999 + b"]" * 999)
    with contextlib.suppress(BadFrame):
        assert reader.structured(event).data == b"[" * 999 + b"]" * 999


@pytest.mark.parametrize(
    ("members", "data", "raw", "content_type"),
    [
        ({}, None, b"", None),
        ({"data": None}, b"null", None, None),
        ({"data": "text"}, b'"text"', None, None),
        ({"data": [1], "datacontenttype": "application/json"}, b"[1]", None, "application/json"),
        ({"data": "x", "datacontenttype": "text/plain"}, b'"x"', None, "text/plain"),
        ({"data": "<a/>", "datacontenttype": "application/xml"}, None, b"<a/>", "application/xml"),
        ({"data_base64": "AP8="}, None, b"\0\xff", None),
        ({"data_base64": None, "data": 1}, b"1", None, None),
        ({"data_base64": "WzFd", "datacontenttype": "application/json"}, b"[1]", None, "application/json"),
    ],
)
def test_data_is_what_its_content_type_says(members, data, raw, content_type):
    publish = structured(**members)
    assert (publish.data, publish.binary, publish.content_type) == (data, raw, content_type)


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_an_event_without_data_keeps_its_content_type(mode):
    if mode == "structured":
        publish = structured(datacontenttype="application/json")
    else:
        publish = binary((b"content-type", b"application/json"))
    assert (publish.data, publish.binary, publish.content_type) == (None, b"", None)
    assert publish.headers["ce-datacontenttype"] == "application/json"


def test_booleans_and_integers_become_text_and_null_is_not_there():
    publish = structured(flag=True, off=False, count=-7, nothing=None)
    assert {name: publish.headers.get(f"ce-{name}") for name in ("flag", "off", "count", "nothing")} == {
        "flag": "true",
        "off": "false",
        "count": "-7",
        "nothing": None,
    }


@pytest.mark.parametrize("name", ["id", "source", "type", "subject", "specversion", "time"])
def test_the_specification_s_own_attributes_are_strings(name):
    with pytest.raises(BadCommand, match=f"'{name}': it must be a string"):
        structured(**{name: 1})


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%41%62%7e", "Ab~"),
        (b"%2520", "%20"),
        (b'"a b"', "a b"),
        (rb'"a \"b\" \\ %2B"', 'a "b" \\ +'),
        (b'"', '"'),
        (b"a+b", "a+b"),
        ("naïve".encode(), "naïve"),
        (b"  x \t", "x"),
    ],
)
def test_a_header_is_unquoted_and_decoded_once(raw, text):
    assert binary((b"ce-subject", raw)).headers["ce-subject"] == text


@pytest.mark.parametrize(
    "raw", [b"100%", b"%4", b"%zz", b"%FF", b"%C0%A0", b"\xff", b"%00", b"a\tb", b"%C2%85"]
)
def test_a_header_that_is_no_text_is_refused_by_name(raw):
    with pytest.raises(BadCommand, match="attribute 'subject'"):
        binary((b"ce-subject", raw))


@pytest.mark.parametrize("name", MINIMAL)
def test_a_missing_attribute_is_named(name):
    rest = {key: value for key, value in MINIMAL.items() if key != name}
    for read in (
        lambda: READER.structured(json.dumps(rest).encode()),
        lambda: READER.structured(json.dumps(rest | {name: None}).encode()),
        lambda: READER.binary([(f"ce-{key}".encode(), value.encode()) for key, value in rest.items()], b""),
    ):
        with pytest.raises(BadCommand, match=f"attribute '{name}' is missing"):
            read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in (*MINIMAL, "subject", "time", "dataschema", "datacontenttype")),
        ("specversion", "0.3"),
        ("source", "a b"),
        ("source", "<x>"),
        ("dataschema", "relative/path"),
        ("id", "x" * 257),
        ("partitionkey", "x" * 257),
        ("datacontenttype", "text/ü"),
        ("type", "a\nb"),
        *(("time", time) for time in (
            "yesterday", "2026-01-31", "2026-02-30T00:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T12:00:00",
            "2026-01-31T12:60:00Z", "2026-01-31 12:00:00Z", "2026-01-31T12:00:00+24:00", "20260131T120000Z",
            "2026-01-31T12:00:00.Z", "٢026-01-31T12:00:00Z",
        )),
        *((name, "x") for name in ("Upper", "with-hyphen", "under_score", "ümlaut", "")),
        *(("extension", value) for value in (1.5, 2**31, -(2**31) - 1, [], {})),
    ],
)  # fmt: skip
def test_an_attribute_that_breaks_a_rule_is_named(name, value):
    with pytest.raises(BadCommand, match="attribute ") as caught:
        structured(**{name: value})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00.123456789z",
        "2016-12-31T23:59:60Z",
        "2026-01-31T12:00:00-08:30",
    ],
)
def test_times_of_rfc_3339_pass_as_they_are(time):
    assert structured(time=time).headers["ce-time"] == time


def test_headers_that_no_event_may_have_are_refused():
    for fields in [
        [(b"ce-datacontenttype", b"text/plain")],
        [(b"ce-data", b"x")],
        [(b"ce-", b"x")],
        [(b"ce-a-b", b"x")],
        [(b"ce-id", b"2")],
        [(b"content-type", b"text/plain"), (b"content-type", b"text/plain")],
    ]:
        with pytest.raises(BadCommand, match="attribute '"):
            binary(*fields)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", BadFrame),
        (b"{", BadFrame),
        (b"[]", BadFrame),
        (b"1", BadFrame),
        (b"\xff", BadFrame),
        (b'{"id":"\\ud800"}', BadFrame),
        (b'{"a":' * 40 + b"1" + b"}" * 40, BadFrame),
    ],
)
def test_what_is_no_json_object_is_a_bad_frame(raw, error):
    with pytest.raises(error):
        READER.structured(raw)


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"data": 1, "data_base64": "AA=="}, BadCommand),
        ({"data_base64": 1}, BadCommand),
        ({"data_base64": "?"}, BadCommand),
        ({"data": {}, "datacontenttype": "application/xml"}, BadCommand),
        ({"data": {}, "datacontenttype": "text/plain"}, BadCommand),
        ({"data_base64": "ew==", "datacontenttype": "application/json"}, BadFrame),
        ({"data": "x" * 5000}, TooLarge),
        ({"data": "x" * 5000, "datacontenttype": "application/xml"}, TooLarge),
        ({"data_base64": base64.b64encode(bytes(5000)).decode()}, TooLarge),
        ({"x": "y" * 2048}, BadCommand),
        ({f"x{number}": "" for number in range(12)}, BadCommand),
    ],
)
def test_data_and_sizes_are_held_to_the_limits(members, error):
    with pytest.raises(error):
        structured(**members)


def test_source_and_id_are_one_identity_and_nothing_else_is():
    key = structured(data=1).idempotency_key
    assert structured(data=2, type="other").idempotency_key == key
    apart = [("/s", "12"), ("/s1", "2"), ("/", "s12"), ("/s/", "12")]
    assert len({structured(source=source, id=name).idempotency_key for source, name in apart} | {key}) == 5
    unkeyed = CloudEventReader(lambda _: "t", LIMITS, deduplicate=False)
    assert unkeyed.structured(json.dumps(MINIMAL).encode()).idempotency_key is None


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_break_the_reader(raw):
    with contextlib.suppress(ClientError):
        READER.structured(raw)


@given(
    st.lists(st.tuples(st.sampled_from([b"ce-id", b"ce-x", b"ce-", b"content-type", b"ce-\xff", b"ce-time"]),
                       st.binary(max_size=20)), max_size=6),
    st.binary(max_size=20),
)  # fmt: skip
def test_no_headers_break_the_reader(fields, raw):
    headers = [(f"ce-{name}".encode(), value.encode()) for name, value in MINIMAL.items()]
    with contextlib.suppress(ClientError):
        READER.binary([*headers, *fields], raw)


@given(
    st.dictionaries(st.sampled_from([*MINIMAL, "subject", "time", "dataschema", "data", "x"]), json_values)
)
def test_no_values_break_the_reader(members):
    with contextlib.suppress(ClientError):
        publish = structured(**members)
        assert (publish.data is None) != (publish.binary is None)

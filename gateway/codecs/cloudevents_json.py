"""The wire format ``cloudevents.json``: messages are whole CloudEvents, the rest is as in ``gateway.v1``.

What tells an event from the rest, in both directions, is its ``specversion``: no command and no other event
of ``gateway.v1`` has that field.

Spec: docs/cloudevents.md, "Subscribing"; CloudEvents 1.0.2, "WebSockets Protocol Binding".
"""

from __future__ import annotations

from binascii import b2a_base64
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

import msgspec
import orjson

from gateway.codecs.cloudevents import HEADER_PREFIX, REQUIRED, VERSION, attribute_problem
from gateway.codecs.gateway_v1 import event_fields
from gateway.codecs.websocket_frames import TEXT, payload_start, server_frame
from gateway.core.messages.events import Welcome

if TYPE_CHECKING:
    from gateway.codecs.cloudevents import CloudEventReader
    from gateway.codecs.gateway_v1 import GatewayV1
    from gateway.core.messages.commands import Command
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication

_EVENT_START: Final = b'{"specversion":"1.0"'
"""How the text of every message begins."""
_OWN: Final = "gateway"
"""How the names of attributes begin that are the gateway's to set, whatever a publisher says."""
_PARTITION_KEY: Final = "partitionkey"
_SPECIFIED: Final = frozenset({*REQUIRED, "subject", "time", "dataschema", "datacontenttype"})
"""What no header without ``ce-`` stands for."""
_LATEST_MS: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, where RFC 3339 ends

_dumps = orjson.dumps


class _Probe(msgspec.Struct):
    """What tells an event from a command."""

    specversion: msgspec.Raw = msgspec.Raw()


_PROBE: Final = msgspec.json.Decoder(_Probe)


class CloudEventsJson:
    """The codec, shared by all connections; equal only to itself."""

    name: ClassVar[str] = "cloudevents.json"
    opcode: ClassVar[int] = TEXT

    def __init__(self, codec: GatewayV1, reader: CloudEventReader) -> None:
        """Read commands as ``codec`` does, and events with ``reader``."""
        self._codec = codec
        self._reader = reader

    def read_plain_publish(self, frame: bytes) -> tuple[str, bytes] | None:
        """See ``Codec``: no event, since one has more fields."""
        return self._codec.read_plain_publish(frame)

    def decode(self, frame: bytes) -> Command:
        """Read one client frame: an event is published, everything else is a command of ``gateway.v1``.

        Raises:
            GatewayError: it is neither; see ``CloudEventReader.structured`` and ``GatewayV1.decode``.
        """
        return self._reader.structured(frame) if _is_event(frame) else self._codec.decode(frame)

    def encode(self, event: Event) -> bytes:
        """The complete frame that tells ``event``."""
        fields = event_fields(event)
        if type(event) is Welcome:
            fields["protocol"] = self.name
        return server_frame(_dumps(fields))

    def encode_message(self, publication: Publication) -> bytes:
        """The complete frame for every live subscriber of ``publication``."""
        return server_frame(_EVENT_START + _rest(publication))

    def encode_history(self, publication: Publication, topic_filter: str) -> bytes:
        """The complete frame that gives ``publication`` as history to one subscription alone."""
        return self._encode_alone(publication, b',"gatewayfilter":' + _dumps(topic_filter))

    def encode_snapshot(self, publication: Publication, topic_filter: str) -> bytes:
        """The complete frame that gives ``publication`` to one subscription as its topic's last value."""
        head = b',"gatewayfilter":' + _dumps(topic_filter) + b',"gatewaysnapshot":true'
        return self._encode_alone(publication, head)

    def _encode_alone(self, publication: Publication, head: bytes) -> bytes:
        # Many read the same history: the frame for all is made once, and this one differs in its head only.
        frame = publication.frame(self)
        return server_frame(_EVENT_START + head + frame[payload_start(frame) + len(_EVENT_START) :])


def _is_event(frame: bytes) -> bool:
    if b'"specversion"' not in frame:
        return False
    try:
        return bool(bytes(_PROBE.decode(frame).specversion))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # whoever reads commands says what is wrong


def _rest(publication: Publication) -> bytes:
    """From behind the version to the closing brace; the data last."""
    text = b"," + _dumps(_attributes(publication))[1:-1]
    if publication.data is not None:
        return text + b',"data":' + publication.data + b"}"
    if publication.binary:
        return text + b',"data_base64":"' + b2a_base64(publication.binary, newline=False) + b'"}'
    return text + b"}"


def _attributes(publication: Publication) -> dict[str, Any]:
    """All but the version: the publisher's, made up where it is no event, and the gateway's."""
    time = _timestamp(publication.time)
    given = _given(publication)
    if given.pop("specversion", None) == VERSION and all(name in given for name in REQUIRED[1:]):
        attributes: dict[str, Any] = given
    else:
        attributes = {"time": time, **given} | _made_up(publication)
    if publication.content_type is not None:
        attributes["datacontenttype"] = publication.content_type
    elif publication.data is not None or publication.binary:
        attributes.pop("datacontenttype", None)
    if publication.key is not None:
        attributes.setdefault(_PARTITION_KEY, publication.key)
    attributes["gatewaytopic"] = publication.topic
    attributes["gatewaytime"] = time
    if publication.stream is not None:
        attributes["gatewaystream"] = publication.stream
        # A text: CloudEvents' integers end at 2,147,483,647.
        attributes["gatewayoffset"] = str(publication.offset or 0)
    if publication.deleted:
        attributes["gatewaydeleted"] = True
    return attributes


def _given(publication: Publication) -> dict[str, str]:
    """The attributes that the message's headers hold: ``ce-*``, and every other whose name can be one."""
    headers = publication.headers
    if not headers:
        return {}
    found = {}
    for header, value in headers.items():
        name = header.removeprefix(HEADER_PREFIX)
        if name == header and (name in _SPECIFIED or HEADER_PREFIX + name in headers):
            continue
        # Whoever publishes by other ways than as an event may have put anything there.
        if attribute_problem(name, value) is None and not name.startswith(_OWN):
            found[name] = value
    return found


def _made_up(publication: Publication) -> dict[str, str]:
    if publication.stream is None:
        source = "/topics/" + quote(publication.topic, safe="/", errors="replace")
    else:
        source = "/streams/" + quote(publication.stream, safe="", errors="replace")
    return {"id": publication.id, "source": source, "type": publication.topic}


def _timestamp(milliseconds: int) -> str:
    seconds, rest = divmod(min(milliseconds, _LATEST_MS), 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=16)  # many messages have the same
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]

"""Pieces of JSON Schema that the descriptions of both APIs are made of.

They are shared and never changed: who needs one with more to it writes ``{**COUNT, "description": …}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.codecs.publish_items import LABEL_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Collection

Schema = dict[str, Any]

ANY_TEXT: Final[Schema] = {"type": "string"}
TEXT: Final[Schema] = {**ANY_TEXT, "minLength": 1}
LABEL: Final[Schema] = {**TEXT, "maxLength": LABEL_CHARACTERS}
"""What publishers call things: a message's id and key, and the idempotency key."""
TOPIC: Final[Schema] = {**TEXT, "pattern": "^[^+#$\\x00][^+#\\x00]*$"}
"""A topic that may be published to."""
BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}
HEADERS: Final[Schema] = {"type": "object", "additionalProperties": ANY_TEXT}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
POSITIVE: Final[Schema] = {"type": "integer", "minimum": 1}
"""From 1: an offset, a line, a bound."""
TIME: Final[Schema] = {"type": "integer", "description": "Milliseconds since 1970."}


def reference(name: str) -> Schema:
    """The schema of this name among the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed_object(
    properties: Schema,
    *,
    optional: Collection[str] = (),
    description: str = "",
    example: Any = None,  # noqa: ANN401 - whatever the schema allows
) -> Schema:
    """An object with these properties and no others, all required but the ``optional`` ones."""
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
    if description:
        schema["description"] = description
    if example is not None:
        schema["examples"] = [example]
    return schema

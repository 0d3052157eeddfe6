"""What counts as JSON here: RFC 8259 in UTF-8, within a depth, readable by every browser.

Accepted JSON is embedded in the frames of all subscribers as it came. One text that a client's parser refuses
would break every one of them, so the judge is stricter than the grammar: orjson also refuses lone surrogates
and numbers beyond a double.
"""

from __future__ import annotations

import re
from itertools import accumulate

import orjson

from gateway.errors import BadFrame

# The closing quote is optional and the quantifiers possessive: a string without end is swallowed whole,
# once, instead of being tried again from every quote in it (quadratic).
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_UP, _DOWN = b"\x01", b"\xff"  # as signed bytes: one level more, one less
_STEPS = bytes.maketrans(b"[{]}", _UP * 2 + _DOWN * 2)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def validate_json(body: bytes | memoryview, *, depth: int) -> None:
    """Let ``body`` pass only if it is one JSON value in UTF-8, nested no deeper than ``depth`` levels.

    Raises:
        BadFrame: it is not.
    """
    text = body if isinstance(body, bytes) else bytes(body)
    check_depth(text, depth)
    judge_json(text)


def judge_json(body: bytes) -> None:
    """Let ``body`` pass only if orjson reads it; the depth has been checked before.

    Raises:
        BadFrame: it is not UTF-8, not JSON, or empty.
    """
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadFrame(f"not JSON: {exc}") from exc


def check_utf8(body: bytes) -> None:
    """Let ``body`` pass only if it is UTF-8.

    Raises:
        BadFrame: it is not.
    """
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        raise BadFrame(f"not UTF-8: {exc.reason} at byte {exc.start}") from exc


def check_depth(body: bytes, depth: int) -> None:
    """Let ``body`` pass only if its arrays and objects are nested no deeper than ``depth`` levels.

    It need not be valid JSON yet: this comes before every parser, since those recurse.

    Raises:
        BadFrame: it is nested deeper.
    """
    # Two counts in C settle nearly every message; brackets in strings only make the bound less sharp.
    if body.count(b"{") + body.count(b"[") > depth and _deeper_than(body, depth):
        raise BadFrame(f"nested deeper than {depth} levels")


def _deeper_than(body: bytes, depth: int) -> bool:
    steps = _STRING.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)
    # The usual attack is told without counting; brackets that close nothing are the parser's to refuse.
    if _UP * (depth + 1) in steps:
        return True
    return max(accumulate(memoryview(steps).cast("b")), default=0) > depth

"""Dead letters of groups in Redis."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.core.topics.grammar import matches
from gateway.streams.groups.base import DeadLetter
from gateway.streams.groups.journal import letter_id, letter_place
from gateway.streams.redis.entries import decode_entry
from gateway.streams.redis.group_view_scripts import LETTERS, RESOLVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.core.messages.publication import Publication
    from gateway.redis.wire import Reply
    from gateway.streams.redis.group_asking import GroupAsking

_LETTER_BYTES: Final = 1024 * 1024
_TOLD: Final = 250
"""How many one call tells of, sends back or gives up; Redis does nothing else meanwhile."""

_LETTER: Final = 8


class GroupLetters:
    """Reads and resolves dead letters."""

    def __init__(self, asking: GroupAsking) -> None:
        self._asking = asking

    async def page(
        self, stream: str, group: str, *, after: str | None, limit: int
    ) -> tuple[Sequence[DeadLetter], str | None]:
        """Dead letters, the newest first; where to go on names a burial: the letter may be gone then."""
        place = "+inf" if after is None else await self._behind(stream, group, after)
        found: list[DeadLetter] = []
        while len(found) < limit:
            some = min(limit - len(found), _TOLD)
            told = await self._asking.ask(stream, group, LETTERS, "newest", place, some, size=_LETTER_BYTES)
            for at in range(0, len(told), _LETTER):
                place = f"({told[at + 1].decode()}"
                letter = _letter(told[at : at + _LETTER], stream)
                if letter is not None:
                    found.append(letter)
            if len(told) < some * _LETTER:
                return found, None
        more = await self._asking.ask(stream, group, LETTERS, "newest", place, 1, size=_LETTER_BYTES)
        return found, f"{found[-1].id}.{place[1:]}" if more and found else None

    async def _behind(self, stream: str, group: str, after: str) -> str:
        """Where to go on behind the letter of that name, or where the page before said."""
        name, _, burial = after.partition(".")
        found = letter_place(name)
        if burial or found is None:
            return f"({burial}" if re.fullmatch(r"[0-9]{1,16}", burial) else "(0"
        told = await self._asking.ask(stream, group, LETTERS, "these", "", 1, found[1], size=_LETTER_BYTES)
        return f"({told[1].decode()}" if told else "(0"

    async def resolve(
        self,
        stream: str,
        group: str,
        what: str,
        ids: Sequence[str] | None,
        topic_filter: str | None,
        *,
        dry_run: bool,
    ) -> int:
        """Send them back, ``redrive``, or give them up, ``discard``; how many."""
        chosen: set[tuple[int, int | str]]
        if ids is not None:
            # Another failure of the same publication has another name.
            chosen = {(found[1], found[0]) for each in ids if (found := letter_place(each)) is not None}
        else:
            chosen = {(offset, "") async for offset in self._chosen(stream, group, topic_filter)}
        # The first of a key stays the first, so they go back in the log's order.
        named, count = sorted(chosen, key=lambda each: each[0]), 0
        for place in range(0, max(1, len(named)), _TOLD):
            some = [part for each in named[place : place + _TOLD] for part in each]
            act = "look" if dry_run else what
            count += (await self._asking.ask(stream, group, RESOLVE, act, *some))[0]
        return count

    async def _chosen(self, stream: str, group: str, topic_filter: str | None) -> AsyncIterator[int]:
        """The offsets of all dead letters on topics that match."""
        place = "-inf"
        while True:
            told = await self._asking.ask(stream, group, LETTERS, "oldest", place, _TOLD)
            for offset, score, topic in zip(told[::3], told[1::3], told[2::3], strict=True):
                place = f"({score.decode()}"
                if topic_filter is None or (topic and matches(topic_filter, topic.decode())):
                    yield int(offset)
            if len(told) < 3 * _TOLD:
                return


def _letter(told: Reply, stream: str) -> DeadLetter | None:
    """A dead letter as a script tells it, or None where its copy is damaged."""
    offset, _, header, record, attempts, reason, first, last = told
    publication: Publication | None = decode_entry(offset + b"-0", header, record, stream)
    if publication is None:
        return None
    identity = letter_id(last, int(offset))
    return DeadLetter(identity, publication, attempts, reason.decode(), first, last)

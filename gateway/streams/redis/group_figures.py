"""What is told of groups in Redis: how much is where, and where one publication is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.groups.deliveries import DeliveryFailure
from gateway.core.topics.grammar import matches
from gateway.streams.groups.base import Explanation, GroupStatistics
from gateway.streams.groups.whereabouts import not_come_to, page_behind, page_of
from gateway.streams.redis.entries import decode_entry
from gateway.streams.redis.group_view_scripts import BROWSE, EXPLAIN, FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.redis.wire import Reply
    from gateway.streams.base import Readable
    from gateway.streams.redis.group_asking import GroupAsking

_ENTRY_BYTES: Final = 1024 * 1024
_TOLD: Final = 250
"""How many publications one call tells of; Redis does nothing else meanwhile."""

_PAGE: Final = 512
_PAGES: Final = 20
"""How many pages of a log are looked through for one page of what waits."""

_DELIVERY: Final = 7
_STATES: Final = {b"l": "leased", b"d": "delayed"}


class GroupFigures:
    """Looks at groups."""

    def __init__(self, store: Readable, asking: GroupAsking) -> None:
        self._store = store
        self._asking = asking

    async def figures(self, stream: str, group: str) -> GroupStatistics:
        """What the group has to do."""
        more, looked = 1, 0
        while more:
            told = await self._asking.ask(stream, group, FIGURES, looked)
            more, looked = told[:2]
        waiting, back, held, due, parked, dead, redelivered, lost, oldest, offered = told[2:12]
        topic_filter = (await self._asking.configuration(stream, group)).filter
        # As of the same moment: what was appended since is not among them.
        beyond = await self._store.count(stream, topic_filter, offered, self._asking.stream(stream).offset)
        if oldest < 0 and beyond:
            page = await self._store.select(stream, (topic_filter,), offered, messages=1)
            oldest = page.publications[0].time if page is not None and page.publications else oldest
        members = {
            name.decode(): count for name, count in zip(told[12::2], told[13::2], strict=True) if count
        }
        return GroupStatistics(
            depth=waiting + back + beyond,
            in_flight=held,
            delayed=due - held,
            parked=parked,
            redelivered=redelivered,
            dead=dead,
            lost=lost,
            oldest=None if oldest < 0 else oldest,
            members=members,
        )

    async def explain(  # noqa: PLR0911 - one place for each state
        self, stream: str, group: str, offset: int
    ) -> Explanation:
        """Where one publication is."""
        more = 1
        while more:
            told = await self._asking.ask(
                stream, group, EXPLAIN, max(0, min(offset, 2**53)), size=_ENTRY_BYTES
            )
            more, offered, unfinished, before = told[:4]
        delivery = told[4 : 4 + _DELIVERY]
        attempts, reason, failed = told[4 + _DELIVERY : 7 + _DELIVERY]
        entry = told[7 + _DELIVERY :]
        found = decode_entry(entry[0], entry[1], entry[2], stream) if entry else None
        if delivery[0] and delivery[0] != b"x":
            return _delivered(offset, delivery)
        if attempts >= 0:
            failures = _failures(delivery[5]) or (DeliveryFailure(failed, reason.decode()),)
            return Explanation(offset, "dead", attempts=attempts, failures=failures)
        if offset > self._asking.stream(stream).offset:
            return Explanation(offset, "beyond")
        finished = offset <= offered and not unfinished
        if found is None:
            return Explanation(offset, "finished" if finished else "gone")
        configuration = await self._asking.configuration(stream, group)
        if not matches(configuration.filter, found.topic):
            return Explanation(offset, "other")
        if finished:
            return Explanation(offset, "finished")
        in_turn = configuration.fair_by or configuration.ordered_by_key
        if offset > offered:
            behind = await self._store.count(stream, configuration.filter, offered, offset - 1)
            return not_come_to(found, self._asking.now(), ahead=None if in_turn else before + behind)
        if delivery[6] >= 0 or in_turn:
            return _delivered(offset, delivery)
        return Explanation(offset, "waiting", ahead=before)

    async def browse(
        self, stream: str, group: str, state: str | None, *, after: int, limit: int
    ) -> tuple[Sequence[Explanation], int | None]:
        """See ``GroupStore.browse``."""
        found: list[Explanation] = []
        for _ in range(_PAGES):
            told = await self._asking.ask(stream, group, BROWSE, after, _TOLD)
            more, offered = told[:2]
            if more:
                continue
            for place in range(2, len(told), 1 + _DELIVERY):
                after = int(told[place])
                explained = _delivered(after, told[place + 1 : place + 1 + _DELIVERY])
                if told[place + 1] != b"x" and state in {None, explained.state}:
                    found.append(explained)
            if len(told) < 2 + _TOLD * (1 + _DELIVERY):
                break
            if len(found) >= limit:
                return page_of(found, after, limit)
        else:
            return page_of(found, after, limit)
        through: int | None = None
        if len(found) <= limit and state in {None, "waiting", "delayed"}:
            others, through = await self._browse_log(
                stream, group, max(after, offered), limit + 1 - len(found)
            )
            found += [each for each in others if state in {None, each.state}]
        return page_of(found, through, limit)

    async def _browse_log(
        self, stream: str, group: str, after: int, limit: int
    ) -> tuple[list[Explanation], int | None]:
        """What the group hasn't come to, and how far that was looked through; None: to the end."""
        topic_filter = (await self._asking.configuration(stream, group)).filter
        found: list[Explanation] = []
        through: int | None = after
        for _ in range(_PAGES):
            page, through = await page_behind(
                self._store, stream, topic_filter, through or 0, min(limit, _PAGE)
            )
            found += [not_come_to(each, self._asking.now()) for each in page]
            if len(found) >= limit or through is None:
                break
        return found, through


def _failures(text: bytes) -> tuple[DeliveryFailure, ...]:
    """Why a delivery failed, as ``TIME REASON;`` each."""
    found = (each.partition(" ") for each in text.decode().split(";") if each)
    return tuple(DeliveryFailure(int(when), reason) for when, _, reason in found)


def _delivered(offset: int, told: Reply) -> Explanation:
    """What a script tells of a delivery."""
    kind, due, attempts, member, since, failures, behind = told
    if behind >= 0:
        return Explanation(offset, "parked", attempts, behind=behind)
    leased, state = kind == b"l", _STATES.get(kind, "waiting")
    return Explanation(
        offset,
        state,
        attempts=attempts,
        failures=_failures(failures),
        member=member.decode() if leased else None,
        since=since if leased else None,
        due=None if state == "waiting" else due,
    )

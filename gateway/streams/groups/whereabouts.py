"""Where a group's publications are, and what they wait for: for people."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.core.groups.deliveries import DeliveryFailure, DeliveryState
from gateway.core.topics.grammar import matches
from gateway.streams.groups.backlog import not_before
from gateway.streams.groups.base import Explanation, GroupStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.groups.deliveries import TrackedDelivery
    from gateway.core.groups.group import Group
    from gateway.core.messages.publication import Publication
    from gateway.streams.base import Readable
    from gateway.streams.groups.backlog import GroupBacklog
    from gateway.streams.groups.base import DeadLetter
    from gateway.streams.groups.journal import GroupJournal

_PAGE: Final = 512
_PAGES: Final = 20
"""How many pages of a log, or of what is known, are looked through for one page of what is asked for."""

_STATES: Final = {DeliveryState.LEASED: "leased", DeliveryState.DELAYED: "delayed"}


class Whereabouts:
    """Looks at one group."""

    def __init__(
        self,
        stream: str,
        group: Group,
        log: Readable,
        journal: GroupJournal,
        redriven: Mapping[int, Publication],
        *,
        now: int,
    ) -> None:
        """Look at ``group`` ``now`` (ms since 1970); ``redriven`` are publications of which it has copies."""
        self._stream = stream
        self._group = group
        self._log = log
        self._journal = journal
        self._redriven = redriven
        self._now = now

    async def explain(self, offset: int) -> Explanation:
        """Where one publication is."""
        bounds = await self._log.bounds(self._stream)
        found = self._redriven.get(offset) or await self._in_log(offset)
        delivery = self._group.deliveries.get(offset)
        if delivery is not None and delivery.state is not DeliveryState.DEAD:
            return self._delivered(delivery, None if found is None else found.key)
        letters = await self._journal.dead(self._stream, self._group.configuration.name, [offset])
        if letters:
            return _dead(offset, letters[0], delivery)
        if offset > bounds.last:
            return Explanation(offset, "beyond")
        finished = offset in self._group.finished
        if found is None:
            return Explanation(offset, "finished" if finished else "gone")
        if not matches(self._group.configuration.filter, found.topic):
            return Explanation(offset, "other")
        return Explanation(offset, "finished") if finished else await self._waiting(found)

    async def browse(
        self, state: str | None, *, after: int, limit: int
    ) -> tuple[Sequence[Explanation], int | None]:
        """See ``GroupStore.browse``."""
        wanted: Callable[[Explanation], bool] = lambda each: state in {None, each.state}  # noqa: E731
        found, through = await self._browse_known(wanted, after, limit)
        if state != "leased":
            others, looked_through = await self._browse_log(wanted, after, limit)
            found += others
            through = min((each for each in (through, looked_through) if each is not None), default=None)
        return page_of(found, through, limit)

    def figures(self, backlog: GroupBacklog, dead: int, oldest: int | None) -> GroupStatistics:
        """What the group has to do: what it knows of, what ``backlog`` has, ``dead`` letters."""
        group = self._group
        depth = group.depth()
        return GroupStatistics(
            depth=sum(depth) + backlog.beyond,
            in_flight=depth.in_flight,
            delayed=depth.delayed,
            parked=depth.parked,
            redelivered=group.redelivered,
            dead=dead,
            lost=group.lost,
            oldest=oldest,
            members=group.members(),
        )

    async def oldest(self, backlog: GroupBacklog) -> int | None:
        """The time of the oldest publication that isn't finished."""
        group = self._group
        after = group.finished.floor
        first: int | None = None
        while first is None and after < (await self._log.bounds(self._stream)).last:
            found, through = await backlog.page(after)
            first = next((each.time for each in found if self._is_unfinished(each.offset or 0)), None)
            if through <= after:
                break
            after = group.finished.end_of(through + 1) or through
        known = [each.time for offset, each in self._redriven.items() if offset in group.deliveries]
        return min(known if first is None else [first, *known], default=None)

    def _is_unfinished(self, offset: int) -> bool:
        delivery = self._group.deliveries.get(offset)
        if delivery is not None:
            return delivery.state is not DeliveryState.DEAD
        return offset not in self._group.finished

    async def _in_log(self, offset: int) -> Publication | None:
        found = await self._log.at(self._stream, [offset])
        return found[0] if found else None

    async def _browse_known(
        self, wanted: Callable[[Explanation], bool], after: int, limit: int
    ) -> tuple[list[Explanation], int | None]:
        """What is in deliveries, and up to where they were looked through; None: all of them."""
        group, found = self._group, list[Explanation]()
        offsets = sorted(offset for offset in group.deliveries if offset > after)
        for begin in range(0, min(len(offsets), _PAGE * _PAGES), _PAGE):
            some = offsets[begin : begin + _PAGE]
            # Nobody else's key matters.
            keyed = await self._log.at(self._stream, some) if group.configuration.ordered_by_key else ()
            copies = [self._redriven[offset] for offset in some if offset in self._redriven]
            keys = {each.offset: each.key for each in (*keyed, *copies)}
            for offset in some:
                delivery = group.deliveries.get(offset)
                if delivery is not None and delivery.state is not DeliveryState.DEAD:
                    explained = self._delivered(delivery, keys.get(offset))
                    found += [explained] if wanted(explained) else []
            if len(found) >= limit and some[-1] != offsets[-1]:
                return found, some[-1]
            # Long work: others have their turn.
            await asyncio.sleep(0)
        return found, offsets[_PAGE * _PAGES - 1] if len(offsets) > _PAGE * _PAGES else None

    async def _browse_log(
        self, wanted: Callable[[Explanation], bool], after: int, limit: int
    ) -> tuple[list[Explanation], int | None]:
        """The same of what merely waits in the log."""
        group, found = self._group, list[Explanation]()
        through: int | None = max(after, group.finished.floor)
        for _ in range(_PAGES):
            page, through = await page_behind(
                self._log, self._stream, group.configuration.filter, through or 0, _PAGE
            )
            for each in page:
                offset = each.offset or 0
                if offset not in group.deliveries and offset not in group.finished:
                    explained = self._unseen(each)
                    found += [explained] if wanted(explained) else []
            if len(found) >= limit or through is None:
                break
            await asyncio.sleep(0)
        return found, through

    def _delivered(self, delivery: TrackedDelivery, key: str | None) -> Explanation:
        behind = self._group.parked_behind(delivery.offset, key)
        if behind is not None:
            return Explanation(delivery.offset, "parked", delivery.attempts, behind=behind)
        leased = delivery.state is DeliveryState.LEASED
        state = _STATES.get(delivery.state, "waiting")
        return Explanation(
            delivery.offset,
            state,
            attempts=delivery.attempts,
            failures=tuple(delivery.failures),
            member=delivery.member if leased else None,
            since=delivery.since if leased else None,
            due=None if state == "waiting" else delivery.due,
        )

    def _unseen(self, publication: Publication) -> Explanation:
        offset = publication.offset or 0
        behind = self._group.parked_behind(offset, publication.key)
        if behind is not None:
            return Explanation(offset, "parked", behind=behind)
        return not_come_to(publication, self._now)

    async def _waiting(self, publication: Publication) -> Explanation:
        group, explained = self._group, self._unseen(publication)
        configuration = group.configuration
        if explained.state != "waiting" or configuration.fair_by or configuration.ordered_by_key:
            return explained
        offset, floor = explained.offset, group.finished.floor
        before = await self._log.count(self._stream, configuration.filter, floor, offset - 1)
        out = sum(
            each.offset < offset and each.state is not DeliveryState.READY
            for each in group.deliveries.values()
        )
        ahead = max(0, before - out - group.finished.count(offset))
        return Explanation(offset, "waiting", ahead=ahead)


def _dead(offset: int, letter: DeadLetter, held: TrackedDelivery | None) -> Explanation:
    failures = (
        tuple(held.failures) if held is not None else (DeliveryFailure(letter.last_failed, letter.reason),)
    )
    return Explanation(offset, "dead", attempts=letter.attempts, failures=failures)


def not_come_to(publication: Publication, now: int, *, ahead: int | None = None) -> Explanation:
    """Where a publication is that its group hasn't come to yet: behind ``ahead`` others, or delayed."""
    due, offset = not_before(publication), publication.offset or 0
    if due > now:
        return Explanation(offset, "delayed", due=due)
    return Explanation(offset, "waiting", ahead=ahead)


async def page_behind(
    log: Readable, stream: str, topic_filter: str, after: int, messages: int
) -> tuple[Sequence[Publication], int | None]:
    """The publications that match in a page of a log, and how far that goes; None: to the end."""
    selected = await log.select(stream, (topic_filter,), after, messages=messages)
    if selected is not None:
        found, through, last = selected.publications, selected.through, selected.bounds.last
    else:
        # The index can't tell just now.
        whole = await log.read(stream, after, messages=messages)
        found = [each for each in whole.publications if matches(topic_filter, each.topic)]
        through, last = whole.last or after, whole.bounds.last
    return found, None if through <= after or through >= last else through


def page_of(
    found: Sequence[Explanation], through: int | None, limit: int
) -> tuple[Sequence[Explanation], int | None]:
    """At most ``limit`` of what was found up to ``through``, and behind which offset to go on.

    ``through`` is None where everything was looked at; so is the answer where there is nothing more.
    """
    found = sorted(found, key=lambda each: each.offset)
    if through is not None:
        found = [each for each in found if each.offset <= through]
    if len(found) > limit:
        return found[:limit], found[limit - 1].offset
    return found, through

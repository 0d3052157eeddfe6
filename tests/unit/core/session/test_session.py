from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages.commands import Authenticate, Command, Ping, Subscribe, Unsubscribe
from gateway.core.messages.events import Failure, Pong
from gateway.core.messages.publication import Publish
from gateway.core.session.close_codes import CloseCode
from gateway.core.session.rate import Rates
from gateway.core.session.session import Close, Reply, Session, SessionLimits, SessionState
from gateway.errors import (
    BadCommand,
    BadFrame,
    SubjectBlocked,
    TooMany,
    Unauthenticated,
    Unavailable,
)

COMMANDS: list[Command] = [Subscribe("t"), Unsubscribe("t"), Publish("t", data=b"1")]


def new_session(*, authenticated: bool = True, limits: SessionLimits | None = None) -> Session:
    return Session("s1", limits or SessionLimits(), authenticated=authenticated, now=100.0)


def code_of(effect: object) -> str:
    assert isinstance(effect, (Reply, Close))
    assert isinstance(effect.event, Failure)
    return effect.event.code


@pytest.mark.parametrize("command", COMMANDS)
def test_an_admitted_command_is_its_own_effect(command: Command) -> None:
    assert new_session().receive(command, 100.0) is command


@pytest.mark.parametrize("command", COMMANDS)
def test_before_authentication_a_command_is_refused(command: Command) -> None:
    assert code_of(new_session(authenticated=False).receive(command, 100.0)) == "unauthenticated"


def test_before_authentication_auth_and_ping_pass() -> None:
    session = new_session(authenticated=False)
    authenticate = Authenticate("secret", ref=1)
    assert session.receive(authenticate, 100.0) is authenticate
    assert session.receive(Ping(ref="p"), 100.0) == Reply(Pong(ref="p"))


def test_admit_opens_the_session_and_ends_the_deadline() -> None:
    session = new_session(authenticated=False)
    assert session.deadline == 110.0
    session.admit(105.0)
    assert session.state is SessionState.AUTHENTICATED
    assert session.deadline is None
    assert session.expire(1000.0) is None


@pytest.mark.parametrize("command", [*COMMANDS, Authenticate("secret", ref=1)])
@pytest.mark.parametrize("authenticated", [False, True])
def test_a_session_that_leaves_takes_nothing_new(command: Command, authenticated: bool) -> None:
    session = new_session(authenticated=authenticated)
    session.leave()
    assert code_of(session.receive(command, 100.0)) == "unavailable"
    assert session.receive(Ping(ref="p"), 100.0) == Reply(Pong(ref="p"))
    assert session.expire(1000.0) is None
    session.admit(101.0)  # a credential that was being looked at
    assert session.state is SessionState.LEAVING
    session.close()
    session.leave()
    assert session.state is SessionState.CLOSED


def test_no_credential_in_time_closes() -> None:
    session = new_session(authenticated=False)
    assert session.expire(109.9) is None
    effect = session.expire(110.0)
    assert isinstance(effect, Close)
    assert effect.code is CloseCode.AUTH_TIMEOUT
    assert session.expire(111.0) is None


def test_the_third_wrong_credential_closes() -> None:
    session = new_session(authenticated=False)
    effects = [session.deny(Unauthenticated("wrong"), 7) for _ in range(3)]
    assert [type(effect) for effect in effects] == [Reply, Reply, Close]
    last = effects[-1]
    assert isinstance(last, Close)
    assert last.code is CloseCode.UNAUTHENTICATED
    assert isinstance(last.event, Failure)
    assert (last.event.fatal, last.event.ref) == (True, 7)


def test_bad_frames_close_after_twenty_in_a_minute() -> None:
    session = new_session()
    for _ in range(20):
        assert isinstance(session.refuse(BadFrame("no JSON"), None, 100.0), Reply)
    effect = session.refuse(BadFrame("no JSON"), None, 159.9)
    assert isinstance(effect, Close)
    assert effect.code is CloseCode.BAD_FRAMES
    assert isinstance(effect.event, Failure)
    assert effect.event.fatal


def test_bad_frames_are_forgiven_after_a_minute() -> None:
    session = new_session()
    for second in range(0, 600, 61):
        for _ in range(20):
            assert isinstance(session.refuse(BadFrame("no JSON"), None, 100.0 + second), Reply)


def test_bad_commands_are_answered_without_end() -> None:
    session = new_session()
    answers = [code_of(session.refuse(BadCommand("?"), 1, 100.0 + second)) for second in range(100)]
    assert set(answers) == {"bad_command"}


def test_commands_beyond_the_rate_are_refused_until_time_has_passed() -> None:
    session = new_session(limits=SessionLimits(rates=Rates(commands=2)))
    publish = Publish("t", data=b"1", ref="r")
    admitted = [session.receive(publish, 100.0) for _ in range(11)]
    assert admitted[:10] == [publish] * 10
    assert code_of(admitted[10]) == "rate_limited"
    assert isinstance(admitted[10], Reply)
    assert isinstance(admitted[10].event, Failure)
    assert admitted[10].event.ref == "r"
    assert session.receive(publish, 100.5) is publish


def test_what_can_not_be_decoded_counts_as_a_command_too() -> None:
    session = new_session(limits=SessionLimits(rates=Rates(commands=2)))
    answers = [code_of(session.refuse(BadCommand("?"), 1, 100.0)) for _ in range(11)]
    assert answers == ["bad_command"] * 10 + ["rate_limited"]


def test_no_rate_is_no_limit() -> None:
    session = new_session(limits=SessionLimits(rates=Rates(commands=0)))
    assert all(session.receive(COMMANDS[0], 100.0) is COMMANDS[0] for _ in range(10_000))


def test_a_client_that_floods_is_closed_with_4429() -> None:
    session = new_session(limits=SessionLimits(rates=Rates(commands=2)))
    effects = [session.receive(COMMANDS[0], 100.0) for _ in range(1211)]
    assert {code_of(effect) for effect in effects[10:1210]} == {"rate_limited"}
    assert not any(isinstance(effect, Close) for effect in effects[:1210])
    assert isinstance(effects[1210], Close)
    assert effects[1210].code is CloseCode.RATE


def test_a_client_that_slows_down_is_not_closed() -> None:
    session = new_session(limits=SessionLimits(rates=Rates(commands=2)))
    for quarter in range(400):
        effect = session.receive(COMMANDS[0], 100.0 + quarter / 4)
        assert not isinstance(effect, Close)


def test_publishes_and_their_bytes_have_rates_of_their_own() -> None:
    session = new_session(limits=SessionLimits(rates=Rates(commands=0, publishes=1)))
    publish = Publish("t", data=b"1")
    assert [session.receive(publish, 100.0) is publish for _ in range(6)] == [True] * 5 + [False]
    assert session.receive(COMMANDS[0], 100.0) is COMMANDS[0]
    session = new_session(limits=SessionLimits(rates=Rates(publish_bytes=10)))
    large = Publish("t", binary=b"x" * 1000)
    assert session.receive(large, 100.0) is large
    effect = session.receive(publish, 101.0)
    assert isinstance(effect, Reply)
    assert (code_of(effect), effect.limit) == ("rate_limited", "publish_bytes_per_second")
    assert session.receive(publish, 100.0 + 96.0) is publish


def expired_session() -> Session:
    session = new_session(authenticated=False)
    session.admit(100.0, remaining=60.0)
    assert session.expire(164.9) is None
    assert code_of(session.expire(165.0)) == "token_expired"
    return session


def test_an_expired_session_may_only_renew_and_ping() -> None:
    session = expired_session()
    assert session.state is SessionState.EXPIRED
    assert [code_of(session.receive(command, 166.0)) for command in COMMANDS] == ["token_expired"] * 3
    authenticate = Authenticate("new")
    assert session.receive(authenticate, 166.0) is authenticate
    assert session.receive(Ping(), 166.0) == Reply(Pong())


def test_without_renewal_the_grace_ends_in_4401() -> None:
    session = expired_session()
    assert session.expire(174.9) is None
    effect = session.expire(175.0)
    assert isinstance(effect, Close)
    assert (effect.code, code_of(effect)) == (CloseCode.UNAUTHENTICATED, "token_expired")
    assert session.expire(176.0) is None


def test_renewal_in_the_grace_goes_on() -> None:
    session = expired_session()
    session.admit(170.0, remaining=60.0)
    assert session.receive(COMMANDS[0], 171.0) is COMMANDS[0]
    assert session.deadline == 235.0
    session.admit(171.0)
    assert session.deadline is None


@pytest.mark.parametrize(
    ("error", "code"),
    [(SubjectBlocked("blocked"), CloseCode.BLOCKED), (TooMany("connections"), CloseCode.TOO_MANY)],
)
def test_some_credentials_end_the_connection_at_once(error, code) -> None:
    effect = new_session(authenticated=False).deny(error, 1)
    assert isinstance(effect, Close)
    assert effect.code is code


def test_wrong_credentials_count_only_in_a_row_and_only_when_wrong() -> None:
    session = new_session(authenticated=False)
    for _ in range(5):
        assert isinstance(session.deny(Unavailable("no keys yet"), None), Reply)
        assert isinstance(session.deny(Unauthenticated("wrong"), None), Reply)
        session.admit(100.0)


@pytest.mark.parametrize("expired", [False, True])
def test_a_credential_that_nobody_could_judge_is_not_blamed_for_the_end(expired: bool) -> None:
    session = expired_session() if expired else new_session(authenticated=False)
    session.deny(Unavailable("no keys now"), None)
    effect = session.expire(175.0)
    assert isinstance(effect, Close)
    assert (effect.code, code_of(effect)) == (CloseCode.UNAVAILABLE, "unavailable")


def test_a_wrong_credential_after_one_that_nobody_could_judge_is_blamed() -> None:
    session = expired_session()
    session.deny(Unavailable("no keys now"), None)
    session.deny(Unauthenticated("wrong"), None)
    effect = session.expire(175.0)
    assert isinstance(effect, Close)
    assert effect.code is CloseCode.UNAUTHENTICATED


def test_a_closed_session_stays_closed() -> None:
    session = new_session()
    session.close()
    session.admit(100.0, remaining=1.0)
    assert (session.state, session.deadline) == (SessionState.CLOSED, None)


@given(
    st.builds(Rates, *[st.sampled_from([0.0, 1.0, 3.0])] * 3),
    st.lists(st.floats(0, 1), max_size=60),
    st.sampled_from(["authenticated", "unauthenticated", "leaving", "closed"]),
)
def test_a_plain_publish_passes_exactly_where_any_publish_does(
    rates: Rates, pauses: list[float], state: str
) -> None:
    short, long = (
        new_session(authenticated=state != "unauthenticated", limits=SessionLimits(rates=rates))
        for _ in range(2)
    )
    for session in (short, long):
        if state == "leaving":
            session.leave()
        elif state == "closed":
            session.close()
    publish, now = Publish("t", data=b"1"), 100.0
    for pause in pauses:
        now += pause
        received = publish if short.admits_plain_publish(now) else short.receive(publish, now)
        assert received == long.receive(publish, now)

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.observability.logs import Masking, configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_records_are_an_object_a_line_where_no_person_looks(stream: io.StringIO) -> None:
    configure_logs(stream=stream)
    structlog.get_logger("gateway.test").info("opened\nat once", session="s", count=3)
    (record,) = records(stream)
    assert list(record)[:4] == ["time", "level", "logger", "event"]
    assert record["event"] == "opened\nat once"
    assert (record["level"], record["logger"], record["session"], record["count"]) == (
        "info",
        "gateway.test",
        "s",
        3,
    )


def test_the_records_of_libraries_go_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler(stream))
    configure_logs(stream=stream)
    logging.getLogger("uvicorn.error").warning("%s away", "going")
    (record,) = records(stream)
    assert (record["event"], record["level"], record["logger"]) == ("going away", "warning", "uvicorn.error")


def test_every_record_carries_the_fields_of_its_process(stream: io.StringIO) -> None:
    configure_logs(stream=stream, fields={"worker": 2})
    structlog.get_logger("a").info("one", count=3)
    logging.getLogger("b").info("two")
    assert [(record["event"], record["worker"]) for record in records(stream)] == [("one", 2), ("two", 2)]
    assert list(records(stream)[0]) == ["time", "level", "logger", "event", "worker", "count"]


def test_less_severe_records_are_left_out(stream: io.StringIO) -> None:
    configure_logs(stream=stream, level="warning")
    structlog.get_logger("a").info("no")
    logging.getLogger("b").info("no")
    structlog.get_logger("c").warning("yes")
    assert [record["event"] for record in records(stream)] == ["yes"]


def test_people_get_a_line_without_colours_in_a_file(stream: io.StringIO) -> None:
    configure_logs(stream=stream, form="console")
    structlog.get_logger("gateway").info("opened", session="s")
    text = stream.getvalue()
    assert "opened" in text
    assert "session=s" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_masked_wherever_they_are(stream: io.StringIO, form: Any) -> None:
    configure_logs(stream=stream, form=form, secrets=["hunter22", "hunter22-longer", 'quo"te\n1'])
    log = structlog.get_logger("gateway")
    log.info("hunter22", a={"hunter22": ["hunter22-longer"]}, b=b"hunter22", c={"hunter22"}, d='quo"te\n1')
    try:
        int("hunter22-longer")
    except ValueError:
        log.exception("failed")
        logging.getLogger("x").exception("failed with %s", "hunter22")
    text = stream.getvalue()
    assert "hunter22" not in text
    assert "longer" not in text
    assert "quo" not in text
    assert text.count("ValueError: invalid literal for int() with base 10: '***'") == 2


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET /v1/ws?access_token=abc.def&x=1 HTTP/1.1", "GET /v1/ws?access_token=***&x=1 HTTP/1.1"),
        ("/a?x=1&token=abc", "/a?x=1&token=***"),
        ("/a?access%5ftoken=abc&x=%20", "/a?access%5ftoken=***&x=%20"),
        ("/a?%61ccess_token=abc d", "/a?%61ccess_token=*** d"),
        ("/a?access%255ftoken=abc", "/a?access%255ftoken=***"),
        ("/a?token%s=abc&x%20y=z", "/a?token%s=abc&x%20y=z"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("nothing token here, bearer of news", "nothing token here, bearer of news"),
    ],
)
def test_tokens_are_masked_by_where_they_stand(text: str, masked: str) -> None:
    assert Masking().text(text) == masked


@pytest.mark.parametrize(
    "written", ["abc/de+f g==", "abc%2Fde%2Bf%20g%3D%3D", "abc/de%2bf+g%3d=", "abc%252Fde%252Bf+g%253D%253D"]
)
def test_a_secret_is_masked_in_a_query_however_it_is_written(written: str) -> None:
    masked = Masking(["abc/de+f g=="]).text(f"POST /v1/hooks/h?code={written}&x=1%20 HTTP/1.1")
    assert masked == "POST /v1/hooks/h?code=***&x=1%20 HTTP/1.1"


def test_a_very_short_secret_does_not_tear_up_the_log() -> None:
    assert Masking(["e"]).text("hello") == "hello"


def test_records_keep_their_order_whichever_way_they_come(stream: io.StringIO) -> None:
    configure_logs(stream=stream)
    for number in range(3):
        structlog.get_logger("a").warning("own", number=number)
        logging.getLogger("b").warning("a library's")
    assert [record["event"] for record in records(stream)] == ["own", "a library's"] * 3


@pytest.mark.parametrize("value", ["\ud800", 1 << 70, "grün ☂", float("inf"), {1: None}, object, b"\xff"])
def test_any_value_makes_a_line_of_ascii(stream: io.StringIO, value: Any) -> None:
    binary = io.BytesIO()
    configure_logs(stream=io.TextIOWrapper(binary, encoding="ascii"))
    structlog.get_logger("a").warning("x", value=value)
    assert "value" in json.loads(binary.getvalue())


def test_a_log_that_nobody_reads_any_more_is_no_error(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(stream=stream)
    stream.close()
    structlog.get_logger("a").error("x")
    assert capsys.readouterr() == ("", "")


def test_an_error_comes_with_its_traceback(stream: io.StringIO) -> None:
    configure_logs(stream=stream)
    structlog.get_logger("gateway").error("failed", exc_info=ValueError("why"))
    (record,) = records(stream)
    assert record["exception"] == "ValueError: why"


few_letters = st.text("abc ?&=\n", max_size=20)


@given(
    st.lists(few_letters.filter(lambda text: len(text) >= 4), min_size=1, max_size=5), st.lists(few_letters)
)
def test_no_known_secret_survives(secrets: list[str], between: list[str]) -> None:
    masked = Masking(secrets).text("".join(a + b for a, b in zip(between, secrets * 9, strict=False)))
    assert not any(secret in masked for secret in secrets)

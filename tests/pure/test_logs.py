"""Lines of the log: what is written, what never is, and that nobody waits for them."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from contextlib import suppress

import pytest

from arbiter.logs import MOST_LINES, JsonLines, TextLines, Writer, told, written

LOG = logging.getLogger("arbiter.test")


def record(message: str, *arguments: object, **more: object) -> logging.LogRecord:
    made = LOG.makeRecord("arbiter.test", logging.INFO, __file__, 1, message, arguments, None)
    made.created = 1_764_346_000.25
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_a_line_for_people_has_time_level_who_what_and_the_values() -> None:
    values = told({"alias": "fast", "reason": "two words", "weight": 0.25, "error": None})
    assert TextLines().format(record("%s", "rollout.step", **values)) == (
        "2025-11-28T16:06:40.250Z info    arbiter.test: rollout.step "
        'alias=fast reason="two words" weight=0.25'
    )


def test_a_line_for_programs_is_one_json_object() -> None:
    values = told({"alias": "fast", "weight": 0.25, "error": None})
    assert json.loads(JsonLines().format(record("it\nmoved", **values))) == {
        "time": "2025-11-28T16:06:40.250Z",
        "level": "info",
        "logger": "arbiter.test",
        "message": "it\nmoved",
        "alias": "fast",
        "weight": 0.25,
    }


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_nothing_that_somebody_says_begins_a_line_of_its_own(lines: logging.Formatter) -> None:
    made = record("a\nb\rc", **told({"reason": "d\ne"}))
    assert len(lines.format(made).splitlines()) == 1


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_of_an_exception_its_class_and_places_are_written_and_not_its_words(
    lines: logging.Formatter,
) -> None:
    made = record("it failed")
    try:
        int("the prompt")
    except ValueError as first:
        error = KeyError("the prompt")
        error.__cause__ = first
        made.exc_info = (type(error), error, error.__traceback__)
    line = lines.format(made)
    assert "the prompt" not in line
    assert "ValueError; then " in line
    assert "KeyError" in line
    assert "test_logs.py" in line


def test_lines_are_written_while_it_is_open_from_the_level_on_that_was_asked_for() -> None:
    stream = io.StringIO()
    with written(form="json", level="info", stream=stream):
        LOG.debug("too little")
        LOG.info("enough")
        logging.getLogger("uvicorn.error").info("of the server")
        logging.getLogger("elsewhere").info("of somebody else")
        logging.getLogger("elsewhere").warning("worth a word")
    LOG.warning("too late")
    found = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert found == ["enough", "of the server", "worth a word"]


def test_at_the_level_of_debugging_everybody_is_heard() -> None:
    stream = io.StringIO()
    with written(form="text", level="debug", stream=stream):
        logging.getLogger("elsewhere").debug("of somebody else")
    assert "of somebody else" in stream.getvalue()


class _Stopped(io.StringIO):
    """A terminal that was stopped, until it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait()
        return super().write(text)


def test_whoever_does_not_read_loses_lines_and_holds_nobody_up() -> None:
    stream = _Stopped()
    with written(form="json", level="info", stream=stream):
        for number in range(MOST_LINES + 500):
            LOG.info("line %d", number)
        stream.goes_on.set()
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    lost = [line["message"] for line in found if "were lost" in line["message"]]
    assert len(lost) == 1
    assert 490 <= int(lost[0].split()[0]) <= 500
    assert found[-1]["message"].startswith("line ")


def test_a_pipe_that_nobody_reads_any_more_ends_the_writing_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", encoding="utf-8")
    with written(form="text", level="info", stream=stream):
        LOG.info("into nothing")
    with suppress(BrokenPipeError):
        stream.close()


def test_a_line_that_cannot_be_made_ends_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    writer = Writer(stream)
    writer.emit(record("%d", "no number"))
    writer.emit(record("the next"))
    writer.close()
    assert stream.getvalue() == "the next\n"
    assert "Logging error" in capsys.readouterr().err

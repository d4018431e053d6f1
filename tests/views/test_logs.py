"""The log: its two forms, its fields, and what never stands in it."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynaview.views.cli.logs import JsonFormatter, UtcFormatter, subjects
from tests.support.rebuilding import Held, item
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness

SECRET = "hunter-tooth"


def record(template: str, *given: object, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("dynaview.views", logging.WARNING, "", 1, template, given, info)


def test_a_line_of_json_names_what_it_is_about() -> None:
    line = json.loads(JsonFormatter().format(record("view %s, shard %s: %s", "cards", "shard-1", 'lost "all"\n')))
    assert {"time", "level", "logger", "message", "worker", "version", "view", "shard"} == set(line)
    assert (line["view"], line["shard"], line["level"]) == ("cards", "shard-1", "warning")
    assert line["message"] == 'view cards, shard shard-1: lost "all"\n'
    assert line["worker"].endswith(f":{os.getpid()}")


@pytest.mark.parametrize(
    ("template", "given", "found"),
    [
        ("view %s: %d dead letters", ("cards", 3), {"view": "cards"}),
        ("stream %s, shard %s: %s", ("arn", "s", "x"), {"stream": "arn", "shard": "s"}),
        ("rebuilding %s: %s", ("view cards", "x"), {}),
        ("stopping", (), {}),
        ("table %s: its stream is on now (%s)", ("shop", "NEW"), {"table": "shop"}),
        ("worker %s: lease lost: view %s", ("w", "x"), {"worker": "w"}),
    ],
)
def test_the_subject_comes_first(template: str, given: tuple[object, ...], found: dict[str, str]) -> None:
    assert subjects(record(template, *given)) == found


@pytest.mark.parametrize("formatter", [JsonFormatter(), UtcFormatter("%(message)s")])
def test_an_error_shows_its_places_and_kinds_and_no_text(formatter: logging.Formatter) -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as first:
            raise RuntimeError(f"a row: {SECRET}") from first
    except RuntimeError as error:
        text = formatter.format(record("thread %s failed", "x", error=error))
    assert SECRET not in text
    for part in ("test_logs.py", "KeyError", "RuntimeError", "which led to"):
        assert part in text


@contextmanager
def listening() -> Iterator[io.StringIO]:
    """All that is logged meanwhile, in both forms, down to debug."""
    heard = io.StringIO()
    handlers = [logging.StreamHandler(heard), logging.StreamHandler(heard)]
    handlers[0].setFormatter(JsonFormatter())
    handlers[1].setFormatter(UtcFormatter("%(message)s"))
    log = logging.getLogger("dynaview")
    before, log.level = log.level, logging.DEBUG
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield heard
    finally:
        for handler in handlers:
            log.removeHandler(handler)
        log.setLevel(before)


def fails(*_: object, **_more: object) -> Any:
    raise RuntimeError(f"a row: {SECRET}")


def of_sink(name: str) -> Callable[[WorkerHarness], None]:
    def spoil(harness: WorkerHarness) -> None:
        Held(harness.sinks["reads"], lambda called, target: fails() if called == name else None)

    return spoil


def of_table(name: str) -> Callable[[WorkerHarness], None]:
    def spoil(harness: WorkerHarness) -> None:
        setattr(harness.table, name, fails)

    return spoil


def of_control(name: str) -> Callable[[WorkerHarness], None]:
    def spoil(harness: WorkerHarness) -> None:
        owner: Any = harness._kept
        *path, last = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, fails)

    return spoil


PLACES: dict[str, Callable[[WorkerHarness], None]] = {
    **{f"sink {name}": of_sink(name) for name in ("write", "prepare", "publish")},
    **{f"table {name}": of_table(name) for name in ("scan",)},
    **{f"control {name}": of_control(name) for name in ("commit", "rebuilds.save_page", "rebuilds.filled")},
}


@pytest.mark.parametrize("place", PLACES)
def test_what_an_unexpected_error_says_reaches_neither_log_nor_state(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    made = WorkerHarness(tmp_path)
    for number in range(20):
        made.table.put(item(number, SECRET))
    with listening() as heard:
        if place.startswith("control"):  # made with the start
            made.start()
            PLACES[place](made)
        else:
            PLACES[place](made)
            made.start()
        try:
            until(lambda: "RuntimeError" in heard.getvalue(), "the error", 20)
        finally:
            made.worker.stop()
            made._kept.close()
    assert SECRET not in heard.getvalue()
    for view in made.control.views():
        assert SECRET not in view.reason
    for rebuild in made.control.rebuilds.all():
        assert SECRET not in rebuild.reason
    made.control.close()

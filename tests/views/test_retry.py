"""What heals is tried again, told once, and given up where somebody waits."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynaview.sinks.port import SinkRefused, SinkUnavailable
from dynaview.sources.errors import IteratorExpired, Trimmed
from dynaview.views.control.errors import ControlError, ControlUnavailable
from dynaview.views.policy import Repeats
from dynaview.views.retry import Retrier, Stop, Stopped

VIEWS = Path(__file__).parents[2] / "views"


class Flaky:
    """Fails with these errors, one after the other, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_without_seconds_it_waits_for_people_too_and_tells_each_trouble_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[str, int]] = []
    retrier = Retrier(None, "view orders", lambda error, times: heard.append((str(error), times)))
    act = Flaky(
        SinkUnavailable("away"), SinkUnavailable("away"), SinkRefused("no rights"), ControlUnavailable("locked")
    )
    assert retrier.insist(act) == "done"
    assert [line.getMessage() for line in caplog.records] == [
        "view orders: away",
        "view orders: no rights",
        "view orders: locked",
    ]
    assert heard == [("away", 1), ("away", 2), ("no rights", 3), ("locked", 4)]


def test_with_seconds_it_raises_what_somebody_has_to_mend_and_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    retrier = Retrier(seconds=20)
    assert retrier.insist(Flaky(SinkUnavailable("away"))) == "done"
    with pytest.raises(SinkRefused):
        retrier.insist(Flaky(SinkRefused("no rights")))
    assert caplog.records == []


def test_it_gives_up_in_time() -> None:
    act = Flaky(*[SinkUnavailable("away")] * 100)
    with pytest.raises(SinkUnavailable):
        Retrier(seconds=0.2).insist(act)
    assert act.calls < 20


@pytest.mark.parametrize("error", [Trimmed("x"), IteratorExpired("x"), ControlError("x"), ZeroDivisionError("x")])
@pytest.mark.parametrize("seconds", [None, 20.0])
def test_what_no_repeating_heals_is_raised_at_once(error: Exception, seconds: float | None) -> None:
    act = Flaky(error)
    with pytest.raises(type(error)):
        Retrier(seconds=seconds).insist(act)
    assert act.calls == 1


def test_nothing_is_begun_after_the_end_but_what_has_to_be_said_then() -> None:
    above = threading.Event()
    retrier = Retrier(Stop(above), "view orders")
    above.set()
    act = Flaky(SinkUnavailable("away"))
    with pytest.raises(Stopped):
        retrier.insist(act)
    assert act.calls == 0
    with pytest.raises(Stopped):
        retrier.finish(act)
    assert act.calls == 1
    assert retrier.finish(act) == "done"


def test_a_trouble_that_lasts_or_flickers_is_told_in_few_lines() -> None:
    at = 0.0
    repeats = Repeats(every=300, clock=lambda: at)
    told: dict[str, list[tuple[int, str | None]]] = {"view one": [], "view two": []}
    for second in range(0, 1200, 5):  # all is well for a moment, then not, for twenty minutes
        at = float(second)
        for place, lines in told.items():
            lines.append((second, repeats.line(place, SinkUnavailable("away"), news=second % 10 == 0)))
    for lines in told.values():
        said = {second: line for second, line in lines if line is not None}
        assert len(said) <= 3 * 4 + 3
        assert said[300] == "still, 61 times in 5 min: away"
    assert repeats.line("view one", SinkRefused("no rights"), news=True) == "no rights"
    at += 3600
    assert repeats.line("view one", SinkUnavailable("away"), news=False) == "away"
    assert len(repeats._known) == 1


def _formats(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("debug", "info", "warning", "error", "critical", "exception")
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            yield node.args[0].value


def test_every_log_line_says_first_what_it_is_about() -> None:
    bare = {
        f"{path.relative_to(VIEWS)}: {text}"
        for path in VIEWS.rglob("*.py")
        for text in _formats(ast.parse(path.read_text()))
        if text.startswith("%s") and not text.startswith(("%s: ", "%s asks: "))
    }
    assert bare == set()

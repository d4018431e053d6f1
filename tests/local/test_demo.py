"""The demo runs on its own servers, tells the truth at the end, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from rich.console import Console

from dynaview.projections.canonical import number_text
from dynaview.views.demo import play as demo
from dynaview.views.demo.arrivals import Arrival
from dynaview.views.demo.screen import Picture, Screen, ViewPicture
from dynaview.views.demo.shop import Event, Shop
from tests.support.processes import Mark

ROOT = Path(__file__).parents[2]


def test_the_demo_shows_the_example_declaration() -> None:
    assert (ROOT / "views" / "demo" / "shop.yaml").read_text() == (ROOT / "examples" / "shop.yaml").read_text()


def test_the_shop_is_the_same_for_the_same_seed_and_consistent() -> None:
    def day(seed: int) -> list[Event]:
        shop = Shop(seed)
        return [*shop.opening(), *(shop.event() for _ in range(1000))]

    events = day(7)
    assert events == day(7)
    assert events != day(8)
    table: dict[tuple[str, str], object] = {}
    for event in events:
        key = event.key["pk"], event.key["sk"]
        assert table.get(key) == event.old
        if event.new is None:
            del table[key]
        else:
            table[key] = event.new


def test_numbers_are_as_dynamodb_gives_them_back() -> None:
    shop = Shop(3)
    items = [event.new for event in [*shop.opening(), *(shop.event() for _ in range(500))] if event.new]
    numbers = [value for item in items for value in item.values() if isinstance(value, Decimal)]
    numbers += [line["price"] for item in items for line in item.get("lines", [])]
    assert len(numbers) > 500
    assert [number for number in numbers if str(number) != number_text(number)] == []


def test_a_day_in_the_shop_has_all_that_a_view_may_meet() -> None:
    shop = Shop(1)
    opening = [*shop.opening()]
    events = [shop.event() for _ in range(450)]
    assert {event.kind for event in opening} == {"insert"}
    assert min(Counter(event.kind for event in events).values()) > 20
    orders = [event for event in events if event.key["sk"].startswith("ORDER#") and event.old and event.new]
    statuses = {(event.old["status"], event.new["status"]) for event in orders if event.old and event.new}
    assert {("DRAFT", "PLACED"), ("PLACED", "DRAFT")} <= statuses  # into the filter, and out of it
    assert any(len(event.old["lines"]) > len(event.new["lines"]) for event in orders if event.old and event.new)


def test_the_demo_tells_equal_from_different(tmp_path: Path, mark: Mark, archives: None) -> None:
    said = io.StringIO()
    console = Console(file=said, width=100)
    verdicts: list[bool] = []

    def tamper(stage: demo.Stage) -> None:
        verdicts.append(demo.summarize(console, stage, Picture(0.0, {})))
        with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
            (key, *_) = client.scan_iter("customer:*", count=1000)
            client.delete(key)

    assert demo.play(console, tmp_path, demo.Settings(seconds=2, rate=30, crash=False), tamper) is False
    assert verdicts == [True]
    assert "customer_card: missing: customer:" in said.getvalue()
    assert "Not every view equals the table." in said.getvalue()
    assert "REDIS_URL" not in os.environ
    assert mark.wait_until_gone(20) == {}


def start(mark: Mark, directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "dynaview.views.cli", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**mark.environment, "TMPDIR": str(directory)},
    )


def test_the_whole_demo_with_its_crash(tmp_path: Path, mark: Mark, archives: None) -> None:
    said, errors = (process := start(mark, tmp_path, "--seconds", "8", "--rate", "20")).communicate(timeout=200)
    assert process.returncode == 0, (said, errors)
    assert errors == ""
    assert "the daemon was killed" in said
    assert "OK: every view equals the table." in said
    assert "DIFFERS" not in said
    for store in ("Redis", "OpenSearch", "Postgres"):
        assert f"        {store}: " in said  # a row that arrived there
    assert mark.processes() == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [("Starting DynamoDB Local", signal.SIGTERM), ("0 s  writing", signal.SIGINT)],
)
def test_an_interrupted_demo_leaves_nothing(
    tmp_path: Path, mark: Mark, archives: None, moment: str, number: signal.Signals
) -> None:
    process = start(mark, tmp_path, "--seconds", "60")
    assert process.stdout is not None
    assert any(moment in line for line in process.stdout)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "Stopped; no process is left."
    assert mark.processes() == {}
    assert list(tmp_path.iterdir()) == []


def picture() -> Picture:
    view = ViewPicture("[red]odd", "Redis", "hash", "following", rows=3, lag=0.2, median=2.5)
    view.last = Arrival("[red]odd", "[bold]k", {"name": "[x]" * 60, "_hidden": 1}, 0.123)
    gone = ViewPicture("gone", "Postgres", "table t", "filling")
    gone.last = Arrival("gone", "k", None, 0.5)
    shown = Picture(10.0, {view.name: view, gone.name: gone, "new": ViewPicture("new", "OpenSearch", "index i")})
    shown.written.update(insert=2, delete=1)
    shown.said.append("[blue]something")
    return shown


@pytest.mark.parametrize("terminal", [True, False])
def test_the_screen_shows_values_as_they_are(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal, color_system=None, legacy_windows=False)
    screen = Screen(console, picture())
    with screen.block():
        screen.update()
    shown = out.getvalue()
    assert "[bold]k" in shown
    assert "[red]odd" in shown
    assert "[x][x]" in shown
    assert "_hidden" not in shown
    assert "is gone" in shown
    assert "3 changes" in shown
    assert "123 ms" in shown


def test_without_a_terminal_a_row_is_told_once() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=120), picture())
    screen.update()
    screen.picture.elapsed = 3.0
    screen.update()
    assert out.getvalue().count("[bold]k") == 1
    assert out.getvalue().count("changes") == 2


def test_the_demo_knows_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    with demo.environment({"dynamodb": "http://127.0.0.1:1"}):
        assert "AWS_PROFILE" not in os.environ
        assert "AWS_SESSION_TOKEN" not in os.environ
        assert os.environ["AWS_ENDPOINT_URL_DYNAMODB"] == "http://127.0.0.1:1"
    assert os.environ["AWS_PROFILE"] == "production"
    assert "DYNAMODB_ENDPOINT" not in os.environ

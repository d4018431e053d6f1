"""What measurements rest on: pages that are served whole, and intervals that mean what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from benchmarks import instructions, stock_lambda
from benchmarks.__main__ import keep
from benchmarks.compare import Compared, Interval, interval, slower
from benchmarks.dollars import on_fargate, on_lambda
from benchmarks.page_server import STREAM, Orders, go, served
from benchmarks.pure_paths import PATHS, YARDSTICK, paths
from benchmarks.records import Pages
from benchmarks.timing import Clock, Contender, Figure, Group, Rates, plain
from benchmarks.workload import FIELDS, KEY
from dynaview.projections.attributes import Shape
from dynaview.sources.session import Session
from dynaview.sources.table import DynamoTable

SHAPE = Shape({*KEY, "quantity"})
ORDERS = Orders(1500, shards=2)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[DynamoTable, str]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made")
    with served(tmp_path, ORDERS) as url:
        session = Session("eu-west-1", url)
        yield DynamoTable(session, "orders"), url
        session.close()


def test_the_page_server_gives_every_change_once(table: tuple[DynamoTable, str]) -> None:
    reader, url = table
    stream = reader.stream(reader.describe().stream_arn or "", SHAPE)
    shards = stream.shards()
    assert [stream.read(stream.open(shard.id, None)).changes for shard in shards] == [[], []]
    go(url)
    seen: list[str] = []
    for shard in shards:
        page = stream.read(stream.open(shard.id, None))
        while page.changes:
            seen += [change.body.sequence for change in page.changes]
            assert page.next is not None
            page = stream.read(page.next)
        assert stream.read(stream.open(shard.id, seen[-1])).changes == []
    assert len(seen) == len(set(seen)) == ORDERS.count


def test_the_page_server_opens_a_shard_of_large_items_where_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages hold as many as fit; the one that holds what comes next may begin before it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made")
    with served(tmp_path, Orders(60, size=40_000)) as url:
        session = Session("eu-west-1", url)
        stream = DynamoTable(session, "orders").stream(STREAM, SHAPE)
        (shard,) = stream.shards()
        go(url)
        last, seen = None, list[str]()
        for _ in range(60):
            page = stream.read(stream.open(shard.id, last))
            sequences = [change.body.sequence for change in page.changes]
            assert len(sequences) < 20
            last = next(sequence for sequence in sequences if last is None or sequence > last)
            seen.append(last)
        assert len(set(seen)) == 60
        assert stream.read(stream.open(shard.id, last)).changes == []
        session.close()


@pytest.mark.parametrize("segments", [1, 2, 7])
def test_the_page_server_scans_every_item_once(table: tuple[DynamoTable, str], segments: int) -> None:
    reader, _ = table
    found = [
        tuple(str(SHAPE.unpack(image)[name]) for name in KEY)
        for segment in range(segments)
        for page in reader.scan(segment, segments, None, SHAPE)
        for image in page.images
    ]
    assert len(found) == len(set(found)) == ORDERS.count


def test_an_interval_holds_its_median_and_narrows_with_equal_rounds() -> None:
    assert interval([2.0, 2.0, 2.0]) == Interval(2.0, 2.0, 2.0)
    found = interval([0.8, 1.0, 1.2, 0.9, 1.1])
    assert found.low < found.median < found.high
    assert found == interval([0.8, 1.0, 1.2, 0.9, 1.1])


def test_only_what_is_below_for_sure_fails() -> None:
    sure = Compared("redis", "follow", Interval(0.7, 0.6, 0.8))
    perhaps = Compared("redis", "verify", Interval(0.85, 0.7, 1.0))
    assert slower([sure, perhaps], 0.9) == [sure]


def test_a_path_that_takes_more_instructions_than_it_may_is_named() -> None:
    allowed = 1 + instructions.TOLERANCE
    baseline = {"decode": 2.0, "project": 1.0}
    assert instructions.too_many({"decode": 2.0 * allowed, "project": 0.5}, baseline) == []
    (line,) = instructions.too_many({"decode": 2.0, "project": allowed + 0.01}, baseline)
    assert line.startswith("project: +16% instructions")


def test_paths_are_measured_by_the_yardstick_so_that_a_faster_interpreter_changes_nothing() -> None:
    counts = {YARDSTICK: 400, **dict.fromkeys(PATHS, 100)}
    halves = {path: count // 2 for path, count in counts.items()}
    assert instructions.measured(counts) == instructions.measured(halves) == dict.fromkeys(PATHS, 0.25)


def test_every_path_that_is_counted_runs_and_has_a_baseline(tmp_path: Path) -> None:
    found = paths(tmp_path)
    assert set(found) == {YARDSTICK, *PATHS}
    kept = msgspec.json.decode(instructions.BASELINE.read_bytes(), type=dict[str, dict[str, float]])
    assert all(set(each) == set(PATHS) for each in kept.values())


def test_results_are_kept_as_json_and_as_a_picture_of_every_ratio(tmp_path: Path) -> None:
    group = Group(
        "a < b",
        [Contender("ours", lambda: Clock(1)), Contender("raw & fast", lambda: Clock(1))],
        [Figure("ours", "raw & fast", 0.8), Figure("raw & fast", "ours")],
    )
    rates = Rates({("a < b", "ours"): [5.0, 6.0, 5.0], ("a < b", "raw & fast"): [10.0, 10.0, 20.0]})
    rates.costs |= {name: [2.0, 3.0, 2.5] for name in rates.rounds}
    keep(tmp_path / "new", plain([group], rates), 3)
    kept = msgspec.json.decode((tmp_path / "new" / "results.json").read_bytes())
    assert [(each["median"], each["low"], each["high"], each["reach"]) for each in kept if "over" in each] == [
        (0.5, 0.25, 0.6, 0.8),
        (2.0, pytest.approx(10 / 6), 4.0, None),
    ]
    picture = ElementTree.parse(tmp_path / "new" / "ratios.svg").getroot()
    bars = [float(each.get("width", "")) for each in picture.iter() if each.get("class") == "bar"]
    assert bars == [400 * 0.5 / 0.8, 400 * 2 / 4]
    assert len([each for each in picture.iter() if each.get("class") == "reach"]) == 1
    assert "ours ÷ raw & fast" in [each.text for each in picture.iter()]


def test_the_stock_handler_makes_the_rows_of_the_view_and_answers_from_where_it_could_not_go_on() -> None:
    event = msgspec.json.decode(Pages(3)[0])
    rows: list[dict[str, object]] = []
    assert stock_lambda.handle(event, rows.extend) == {"batchItemFailures": []}
    assert [set(row) for row in rows] == [set(FIELDS)] * 3
    del event["Records"][1]["dynamodb"]["NewImage"]["status"]
    rows.clear()
    number = event["Records"][1]["dynamodb"]["SequenceNumber"]
    assert stock_lambda.handle(event, rows.extend) == {"batchItemFailures": [{"itemIdentifier": number}]}
    assert len(rows) == 1


def test_dollars_are_those_of_the_published_prices() -> None:
    """A million changes of a millisecond each: a thousand seconds of one processor."""
    assert on_lambda(1000, batch=1000) == pytest.approx(1000 * 1769 / 1024 * 0.0000166667 + 0.0002)
    assert on_fargate(1000, page=1000) == pytest.approx(1000 / 3600 * (0.04048 + 2 * 0.004445) / 0.5 + 0.0002)

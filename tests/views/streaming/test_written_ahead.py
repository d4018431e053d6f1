"""A batch is written while the next one is projected: held against the writer that waits, and its bounds."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr
from dynaview.projections.changes import Body, Change
from dynaview.projections.columns import Columns, ProjectedPage
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import Write
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import Outcome, SinkRefused, Target
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.offsets import Delivery
from tests.support.simple import layout

PATIENCE = 10.0

ODD = -1
"""The value of a change of which no row can be made."""


@dataclass
class Asks:
    """A projection of changes that name their row and its value (None: a delete; ODD: none can be made)."""

    seen: list[int] = field(default_factory=list)
    broken_at: int = 0

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        key, value = asked_of(change)
        if value == ODD:
            error = ProjectionError("odd")
            error.asked = [Write(key, None, version)]
            raise error
        return [Write(key, None if value is None else (value,), version)]

    def page(self, changes: Sequence[Change[Any]], versions: Sequence[int]) -> ProjectedPage | None:
        if self.broken_at in versions:
            raise RuntimeError("a fault")
        self.seen += versions
        if any(asked_of(change)[1] == ODD for change in changes):
            return None
        page = ProjectedPage([], upserts := list[int](), origins := list[Change[Any]]())
        for change, version in zip(changes, versions, strict=True):
            (write,) = self.writes(change, version)
            if write.values is None:
                page.gone.append(write.key)
                page.gone_versions.append(version)
                page.gone_origins.append(change)
            else:
                page.rows.append((write.key, *write.values))
                upserts.append(version)
                origins.append(change)
        page.versions, page.origins = upserts, origins
        return page


@dataclass
class Sends:
    """Writes to a target, one call at a time; says where two meet."""

    calls: list[list[int]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    met: bool = False
    before: Any = None
    _inside: threading.Lock = field(default_factory=threading.Lock)

    def write(self, target: Target, writes: Sequence[Write]) -> list[Outcome]:
        with self._alone(writes):
            return target.write(writes)

    def write_columns(self, target: Target, columns: Columns) -> Mapping[int, Outcome]:
        with self._alone(columns):
            return target.write_columns(columns)

    def _alone(self, writes: Sequence[Write]) -> threading.Lock:
        self.met = self.met or self._inside.locked()
        self.calls.append(sorted(write.version for write in writes))
        self.threads.add(threading.get_ident())
        if self.before is not None:
            self.before()
        return self._inside


def changed(number: int, key: str, value: int | None) -> Change[Any]:
    asked = {"key": Attr(S=key)} if value is None else {"key": Attr(S=key), "value": Attr(N=str(value))}
    return Change("MODIFY", Body(str(number), asked))


def asked_of(change: Change[Any]) -> tuple[str, int | None]:
    key, value = change.body.key["key"].S, change.body.key.get("value")
    assert key is not None
    return key, None if value is None else int(value.N or "")


def delivery(shard: str, first: int, asked: Sequence[tuple[str, int | None]]) -> Delivery:
    numbers = range(first, first + len(asked))
    changes = [changed(number, *each) for number, each in zip(numbers, asked, strict=True)]
    return Delivery(shard, first - 1, first + len(asked) - 1, changes, list(numbers))


def deliveries(pages: Sequence[tuple[str, Sequence[tuple[str, int | None]]]]) -> list[Delivery]:
    found, first = list[Delivery](), 1
    for shard, asked in pages:
        found.append(delivery(shard, first, asked))
        first += len(asked)
    return found


def writer(bound: Asks, limit: int) -> GenerationWriter:
    made = GenerationWriter("one", bound, MemorySink("memory").open(layout("one"), 1))  # type: ignore[arg-type]
    made.target.prepare()
    made.limit = limit
    return made


keys = st.sampled_from("abcdef")
values = st.none() | st.integers(0, 3) | st.just(ODD)
pages = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.lists(st.tuples(keys, values), min_size=1, max_size=9)), max_size=6
)


@given(pages, st.integers(1, 5))
def test_it_ends_as_the_writer_that_waits(
    given_pages: list[tuple[str, list[tuple[str, int | None]]]], limit: int
) -> None:
    found = []
    for ahead in (False, True):
        one, sends = writer(Asks(), limit), Sends()
        letters = one.take(deliveries(given_pages), sends.write, lambda *_: [], sends.write_columns, ahead=ahead)
        one.end()
        assert not sends.met
        rows = sorted((str(row.key), row.version, row.content) for row in one.target.rows())
        found.append((rows, one.drain(), [letter.version for letter in letters], sends.calls))
    assert found[1] == found[0]


def test_the_next_batch_is_projected_while_one_is_written_and_all_are_durable_at_the_end() -> None:
    bound, sends = Asks(), Sends()
    one = writer(bound, 2)
    projected = threading.Event()

    class Watched(Asks):
        def page(self, changes: Sequence[Change[Any]], versions: Sequence[int]) -> ProjectedPage | None:
            if versions[0] > 2:
                projected.set()
            return super().page(changes, versions)

    one.bound = Watched()  # type: ignore[assignment]
    sends.before = lambda: projected.wait(PATIENCE) or pytest.fail("nothing was projected meanwhile")
    one.take(
        deliveries([("s", [(key, 1) for key in "abcdef"])]), sends.write, lambda *_: [], sends.write_columns, ahead=True
    )
    assert sends.calls == [[1, 2], [3, 4], [5, 6]]
    assert one.drain()["s"].counts.applied == 6
    assert one.target.count() == 6
    one.end()


def test_a_batch_that_is_refused_on_its_way_is_not_counted() -> None:
    def refuse() -> None:
        raise SinkRefused("no")

    one, sends = writer(Asks(), 2), Sends(before=refuse)
    with pytest.raises(SinkRefused):
        one.take(
            deliveries([("s", [(key, 1) for key in "abcdef"])]),
            sends.write,
            lambda *_: [],
            sends.write_columns,
            ahead=True,
        )
    assert len(sends.calls) == 1
    assert one.drain() == {}
    one.end()


def test_a_fault_of_the_projection_leaves_no_write_on_its_way() -> None:
    began, free = threading.Event(), threading.Event()
    left: list[bool] = []

    def hold() -> None:
        began.set()
        assert free.wait(PATIENCE)

    one, sends = writer(Asks(broken_at=3), 2), Sends(before=hold)

    def take() -> None:
        with pytest.raises(RuntimeError, match="a fault"):
            one.take(
                deliveries([("s", [(key, 1) for key in "abcd"])]),
                sends.write,
                lambda *_: [],
                sends.write_columns,
                ahead=True,
            )
        left.append(free.is_set())

    taking = threading.Thread(target=take)
    taking.start()
    assert began.wait(PATIENCE)
    free.set()
    taking.join(PATIENCE)
    assert left == [True]
    assert one.target.count() == 2
    one.end()


def test_without_a_second_batch_nothing_leaves_the_thread() -> None:
    one, sends = writer(Asks(), 3), Sends()
    one.take(deliveries([("s", [("a", 1), ("b", 2)])]), sends.write, lambda *_: [], sends.write_columns, ahead=True)
    assert sends.threads == {threading.get_ident()}
    one.end()

"""Workers, leases and the fence, one at a time: who gets what, who is dead, and what a commit may still move."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from dynaview.views.control.errors import LeaseLost, Superseded
from dynaview.views.control.records import Checkpoint, Counts, Fence, Part, Progress, Task
from dynaview.views.control.store import ControlStore
from dynaview.views.control.tables import ownership
from dynaview.views.states import ViewState
from dynaview.views.status import all_status
from dynaview.views.workers.assignment import assign, halves, share
from dynaview.views.workers.coordinator import CoordinatorSettings, ShardCoordinator
from tests.support.until import until

SECONDS = 20.0


@pytest.fixture(params=["sqlite", "postgres", "pooler"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControlStore]:
    url = f"sqlite:///{tmp_path / 'control.db'}"
    if request.param != "sqlite":
        # Through the pooler each transaction may run in another session.
        server = sa.make_url(str(request.getfixturevalue(f"{request.param}_url"))).set(drivername="postgresql+psycopg")
        name = f"crew_{uuid.uuid4().hex}"
        engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        url = server.set(database=name).render_as_string(hide_password=False)
    made = ControlStore(url)
    made.add_view("one", "shop", "memory", "f")
    yield made
    made.close()


def enlist(control: ControlStore, *names: str, group: str = "g") -> None:
    for name in names:
        control.leases.enlist(name, group, "shop", "host", 1, SECONDS)
        control.leases.join(name)
    assert control.leases.take_ownership("one", group)


def later(control: ControlStore, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the database's clock on."""
    clock = control._database.clock
    monkeypatch.setattr(control._database, "clock", lambda: clock() + seconds)


def fence(owner: str, **epochs: int) -> Fence:
    return Fence("g", owner, {shard.replace("_", "-"): epoch for shard, epoch in epochs.items()})


def progress(position: int, fenced: Fence | None, read: int = 1) -> Progress:
    part = Part(Checkpoint(position), Counts(read=read, applied=read))
    return Progress({"shard-0": part}, fence=fenced)


# Assignment

workers = st.integers(1, 6).map(lambda count: [f"worker-{number}" for number in range(count)])
shards = st.integers(0, 40).map(lambda count: {f"shard-{number}": None for number in range(count)})


@given(shards=shards, before=workers, after=workers)
def test_shards_are_spread_evenly_and_no_more_move_than_have_to(
    shards: dict[str, str | None], before: list[str], after: list[str]
) -> None:
    first = assign(shards, {}, before)
    second = assign(shards, dict(first), after)
    for plan, crew in ((first, before), (second, after)):
        assert plan.keys() == shards.keys()
        numbers = [Counter(plan.values())[worker] for worker in crew]
        assert max(numbers) - min(numbers) <= 1
    stays = set(before) & set(after)
    load = Counter(first.values())
    least = len(shards) // len(after)
    # Those that stay give up what is above their share, and no shard moves between them.
    moved = [shard for shard in shards if first[shard] in stays and second[shard] != first[shard]]
    assert len(moved) <= sum(max(0, load[worker] - least) for worker in stays)
    if set(after) >= set(before):
        assert all(second[shard] not in before for shard in moved)
    assert assign(shards, dict(second), after) == second  # it has come to rest


def test_children_stay_with_their_parents_worker_where_it_has_room() -> None:
    owners: dict[str, str | None] = {"a": "one", "b": "two"}
    assert assign({"c": "a", "d": "b"}, owners, ["one", "two"]) == {"c": "one", "d": "two"}
    split = assign({"c": "a", "d": "a", "b": None}, owners, ["one", "two"])
    assert sorted(Counter(split.values()).values()) == [1, 2]
    assert split["b"] == "two"


views = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(1, 20), min_size=1)


@given(costs=views)
def test_views_are_dealt_into_halves_that_cost_about_the_same(costs: dict[str, float]) -> None:
    dealt = halves(costs)
    assert dealt.keys() == costs.keys()
    load = [sum(cost for view, cost in costs.items() if dealt[view] == half) for half in (0, 1)]
    assert abs(load[0] - load[1]) <= max(costs.values())
    assert halves(dict(reversed(costs.items()))) == dealt


@given(count=st.integers(1, 12), before=workers, after=workers, ended=st.sets(st.integers(0, 11)))
def test_a_shard_is_read_by_two_only_where_workers_would_stand_idle(
    count: int, before: list[str], after: list[str], ended: set[int]
) -> None:
    tasks: dict[Task, str | None] = {
        Task(f"shard-{number}", half): None for number in range(count) for half in ((0,) if number in ended else (0, 1))
    }
    able = count - len({number for number in ended if number < count})
    first = share(tasks, {}, before)
    second = share(tasks, dict(first), after)
    for plan, crew in ((first, before), (second, after)):
        assert plan.keys() == tasks.keys()
        readers = {shard: {plan[task] for task in tasks if task.shard == shard} for shard, _ in tasks}
        split = sum(len(each) == 2 for each in readers.values())
        assert split == min(able, max(0, len(crew) - count))
        busy = len(set(plan.values()))
        assert busy == min(len(crew), count + split)
        numbers = Counter(worker for each in readers.values() for worker in each)
        assert max(numbers.values()) - min(numbers[worker] for worker in crew) <= 1
    assert share(tasks, dict(second), after) == second  # it has come to rest
    if len(after) > count and set(after) >= set(before):
        now = {shard for shard, _ in tasks if len({first[task] for task in tasks if task.shard == shard}) == 2}
        then = {shard for shard, _ in tasks if len({second[task] for task in tasks if task.shard == shard}) == 2}
        assert now <= then  # what two read goes on being read by two


def test_a_half_of_a_child_stays_with_the_worker_of_its_parents() -> None:
    owners: dict[Task, str | None] = {Task("a", 0): "one", Task("a", 1): "two"}
    tasks: dict[Task, str | None] = {Task("b", half): "a" for half in (0, 1)}
    assert share(tasks, owners, ["one", "two"]) == {Task("b", 0): "one", Task("b", 1): "two"}


def test_nobody_gets_anything_where_nobody_is() -> None:
    assert share({Task("a"): None}, {Task("a"): "gone"}, []) == {}
    assert assign({"a": None}, {"a": "gone"}, []) == {}
    assert assign({"a": None}, {"a": "gone"}, ["one"]) == {"a": "one"}


# Leases and the fence


def test_a_lease_has_one_owner_until_it_is_given_back(control: ControlStore) -> None:
    enlist(control, "a", "b")
    assert control.leases.acquire("a", "g", ["shard-0", "shard-1"]) == {"shard-0": 1, "shard-1": 1}
    assert control.leases.acquire("b", "g", ["shard-0"]) == {}
    control.leases.release("b", "g", ["shard-0"])  # not its own
    assert control.leases.acquire("b", "g", ["shard-0"]) == {}
    control.leases.release("a", "g", ["shard-0"])
    assert control.leases.acquire("b", "g", ["shard-0"]) == {"shard-0": 2}
    control.leases.resign("a")
    assert control.leases.acquire("b", "g", ["shard-1"]) == {"shard-1": 2}


def test_a_commit_without_the_lease_moves_nothing(control: ControlStore) -> None:
    enlist(control, "a", "b")
    control.leases.acquire("a", "g", ["shard-0"])
    control.commit("one", progress(5, fence("a", shard_0=1)), 5.0)
    control.leases._remove_dead("a", lost=True)
    assert control.leases.acquire("b", "g", ["shard-0"]) == {"shard-0": 2}
    control.commit("one", progress(7, fence("b", shard_0=2)), 7.0)
    for late in (fence("a", shard_0=1), fence("a", shard_0=2), fence("b", shard_0=1), fence("b", shard_1=1)):
        with pytest.raises(LeaseLost):
            control.commit("one", progress(9, late), 9.0)
    with pytest.raises(LeaseLost):
        control.states.report("one", ViewState.GAP, "it was asleep", 0, fence("a"))
    with pytest.raises(LeaseLost):
        control.leases.acquire("a", "g", ["shard-9"])
    record = control.view("one")
    assert record is not None
    assert (record.counts.read, record.watermark, record.state) == (2, 7.0, "starting")
    assert control.checkpoints("one")["shard-0"].sequence == 7


def test_the_same_worker_with_an_older_epoch_moves_nothing(control: ControlStore) -> None:
    enlist(control, "a")
    control.leases.acquire("a", "g", ["shard-0"])
    control.leases.release("a", "g", ["shard-0"])
    assert control.leases.acquire("a", "g", ["shard-0"]) == {"shard-0": 2}
    with pytest.raises(LeaseLost):
        control.commit("one", progress(5, fence("a", shard_0=1)), None)
    control.commit("one", progress(5, fence("a", shard_0=2)), None)


def test_a_view_that_another_group_keeps_cannot_be_moved(control: ControlStore) -> None:
    """The leases of the old group are still there: its ownership is what has gone."""
    enlist(control, "a")
    control.leases.acquire("a", "g", ["shard-0"])
    with control._database.write() as connection:
        connection.execute(ownership.update().values(grp="other"))
    for act in (fence("a", shard_0=1), fence("a")):
        with pytest.raises(LeaseLost):
            control.commit("one", progress(5, act), None)


def test_a_commit_of_an_earlier_step_moves_nothing(control: ControlStore) -> None:
    late = progress(5, None)
    late.revision = 1
    with pytest.raises(Superseded):
        control.commit("one", late, 5.0)
    assert control.checkpoints("one") == {}


def test_the_watermark_only_rises_and_a_known_shard_keeps_its_checkpoint(control: ControlStore) -> None:
    control.commit("one", progress(5, None), 9.0)
    control.commit("one", Progress(known=["shard-0", "shard-1"], tips={"shard-0": 3.5}), 8.0)
    record = control.view("one")
    assert record is not None
    assert record.watermark == 9.0
    kept = control.checkpoints("one")
    assert (kept["shard-0"].sequence, kept["shard-0"].tip) == (5, 3.5)
    assert kept["shard-1"] == Checkpoint()


# Who is dead


def test_a_worker_whose_registration_has_expired_is_dead_by_the_databases_clock(
    control: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    enlist(control, "a", "b")
    monkeypatch.setattr(time, "time", lambda: 10.0) if control._database.file is None else None  # a clock that differs
    control.leases.acquire("a", "g", ["shard-0"])
    later(control, SECONDS - 1, monkeypatch)
    assert [member.id for member in control.leases.living("g")] == ["a", "b"]
    assert control.leases.renew("b", SECONDS)
    later(control, 2, monkeypatch)
    assert [member.id for member in control.leases.living("g", but="b")] == ["b"]
    assert control.leases.acquire("b", "g", ["shard-0"]) == {"shard-0": 2}
    assert not control.leases.renew("a", SECONDS)  # it begins anew


def test_a_worker_that_nobody_has_missed_goes_on(control: ControlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the control store was away for longer than a registration lasts."""
    enlist(control, "a")
    control.leases.acquire("a", "g", ["shard-0"])
    later(control, 2 * SECONDS, monkeypatch)
    assert [member.id for member in control.leases.living("g", but="a")] == ["a"]
    assert control.leases.renew("a", SECONDS)
    control.commit("one", progress(5, fence("a", shard_0=1)), None)


def test_a_worker_without_its_sign_of_life_is_dead_at_once(control: ControlStore) -> None:
    enlist(control, "a")
    other = ControlStore(control._database._engine.url.render_as_string(hide_password=False))
    enlist(other, "b")
    assert [member.id for member in control.leases.living("g")] == ["a", "b"]
    other.close()
    until(lambda: [member.id for member, _ in control.leases.by_view()["one"]] == ["a"], "its sign of life to go")
    assert [member.id for member in control.leases.living("g")] == ["a"]


def test_status_shows_workers_and_their_shards(control: ControlStore) -> None:
    enlist(control, "a", "b")
    control.leases.acquire("a", "g", ["shard-0", "shard-1", "job: fill one"])
    shown = all_status(control)[0]["workers"]
    assert [(worker["worker"], worker["host"], worker["pid"], worker["shards"]) for worker in shown] == [
        ("a", "host", 1, 2),
        ("b", "host", 1, 0),
    ]


def test_status_shows_who_reads_for_the_half_that_a_view_is_in(control: ControlStore) -> None:
    enlist(control, "a", "b")
    control.add_view("two", "shop", "memory", "f")
    assert control.leases.take_ownership("two", "g", 1)
    control.leases.acquire("a", "g", [Task("shard-0", 0).resource, Task("shard-1", 0).resource])
    control.leases.acquire("b", "g", [Task("shard-0", 1).resource])
    shown = {each["view"]: [worker["shards"] for worker in each["workers"]] for each in all_status(control)}
    assert shown == {"one": [2, 0], "two": [0, 1]}


def test_workers_that_deal_the_views_otherwise_are_another_group(control: ControlStore) -> None:
    marks = {"one": "f", "two": "f"}
    groups = [
        ShardCoordinator(control, "shop", marks, halves=dealt)
        for dealt in (None, {"one": 0, "two": 1}, {"one": 1, "two": 0})
    ]
    assert len({each.group for each in groups}) == 3
    assert [each.take_ownership("two") for each in groups] == [True, False, False]
    for each in groups:
        each.stop()


def test_a_job_is_held_by_one_worker_until_it_is_gone(control: ControlStore) -> None:
    one, two = (
        ShardCoordinator(control, "shop", {"one": "f"}, settings=CoordinatorSettings(look_every=0.0)) for _ in range(2)
    )
    assert one.hold("purge")
    assert one.hold("purge")
    assert not two.hold("purge")
    one.drop("purge")
    assert two.hold("purge")
    assert not one.hold("purge")
    two.stop()
    assert one.hold("purge")
    one.stop()
    assert not one.hold("purge")

"""Who keeps a view: workers with the same views share it, one with others stands by."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from dynaview.sinks.memory import MemorySink
from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.declarations.load import load
from dynaview.views.workers.coordinator import ShardCoordinator
from tests.support.scripted import ScriptedTable
from tests.support.until import until

HOLDER = """
import sys, time
from dynaview.views.control.store import ControlStore
from dynaview.views.workers.coordinator import ShardCoordinator
control = ControlStore(sys.argv[1])
coordinator = ShardCoordinator(control, "shop", {"one": "another"})
print(coordinator.take_ownership("one"), flush=True)
time.sleep(60)
"""


def holder(url: str) -> subprocess.Popen[str]:
    """Another process that keeps view ``one``, declared in another way."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


@pytest.fixture(params=["sqlite", "postgres", "pooler"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'control.db'}"
    server = sa.make_url(str(request.getfixturevalue(f"{request.param}_url"))).set(drivername="postgresql+psycopg")
    name = f"ownership_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


def test_ownership_is_free_again_when_its_process_is_killed(url: str) -> None:
    control = ControlStore(url)
    process = holder(url)
    coordinator = ShardCoordinator(control, "shop", {"one": "mine", "two": "mine"})
    try:
        assert not coordinator.take_ownership("one")
        assert coordinator.take_ownership("two")
        process.kill()
        process.wait()
        begun = time.monotonic()
        until(lambda: coordinator.take_ownership("one"), "the ownership of a process that was killed")
        assert time.monotonic() - begun < coordinator.settings.lease / 2  # not only when its registration expired
        assert coordinator.take_ownership("one")  # it has it
    finally:
        process.kill()
        process.wait()
        coordinator.stop()
        control.close()


def test_workers_with_the_same_views_share_them(url: str) -> None:
    control = ControlStore(url)
    one, two = (ShardCoordinator(control, "shop", {"one": "mine"}) for _ in range(2))
    assert one.take_ownership("one")
    assert two.take_ownership("one")
    other = ShardCoordinator(control, "shop", {"one": "declared in another way"})
    assert not other.take_ownership("one")
    one.stop()
    assert not other.take_ownership("one")
    two.stop()
    assert other.take_ownership("one")
    other.stop()
    control.close()


def test_a_second_daemon_stands_by_and_goes_on_when_the_first_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(
        """
sources: {shop: {table: shop, region: eu-west-1}}
sinks: {cache: {redis: "redis://127.0.0.1:1"}}
views:
  one: {source: shop, sink: cache, key: "x:{pk}:{sk}", fields: {pk: pk, sk: sk}}
"""
    )
    table = ScriptedTable(clock=time.time)
    table.put({"pk": "a", "sk": "b"})
    declaration = load([file], {})
    process = holder(declaration.control)
    daemon = Daemon(
        declaration, open_source=lambda _source: table, open_sink=lambda declared: MemorySink(declared.name)
    )
    try:
        daemon.start()
        until(lambda: "standing by" in caplog.text, "the second daemon to find the view taken")
        assert daemon.control.view("one") is None  # not a word about a view that is another's
        process.kill()
        process.wait()
        until(lambda: (view := daemon.control.view("one")) is not None and view.counts.read == 1, "the stand-by")
    finally:
        process.kill()
        process.wait()
        daemon.stop()


def test_a_control_store_in_memory_is_refused() -> None:
    with pytest.raises(ControlError, match="has to last"):
        ControlStore("sqlite://")

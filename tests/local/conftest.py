from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from rich.console import Console

from dynaview.local import jars, servers
from tests.support.processes import Mark


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mark]:
    """Marks what a test starts; nothing may be left of it, and nothing stays, even where the test fails."""
    mark = Mark()
    for name, value in mark.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")  # these servers live for seconds: start quickly
    mark.environment["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1"
    yield mark
    monkeypatch.undo()
    left = mark.wait_until_gone(20)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}


@pytest.fixture(scope="session")
def archives() -> None:
    """Skips (or fails) the tests that need the Java archives where these cannot be had."""
    try:
        jars.fetch([jar for name in servers.NAMES for jar in jars.locked(name)], Console(stderr=True))
    except servers.DownloadError as error:
        if os.environ.get("DYNAVIEW_REQUIRE_SERVERS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))

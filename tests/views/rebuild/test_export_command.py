"""``dynaview rebuild --from-export`` on a real table and in real stores, with the daemon and without it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.attributes import Shape, value
from dynaview.views.verify.compare import compare
from tests.support.exports import write_export
from tests.support.real_servers import STORES, RealServers
from tests.support.until import until


def export(real: RealServers, folder: Path) -> Path:
    """The table as it is now."""
    at = time.time()
    pages = real.table.scan(0, 1, None, Shape(None))
    items = [{name: value(attr) for name, attr in image.items()} for page in pages for image in page.images]
    arn = real.table.describe().arn
    said: dict[str, Any] = {"tableArn": arn, "tableId": None, "exportArn": f"{arn}/export/01700000000000-0a1b2c3d"}
    return write_export(folder, items, time=at, **said)


def rebuild(real: RealServers, place: Path, *rest: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dynaview.views.cli", "rebuild", *map(real.view, STORES)]
    command += ["-f", str(real.file), "--from-export", str(place), "--json", *rest]
    return subprocess.run(command, env=real.environment, capture_output=True, text=True, timeout=180, check=False)


def equal(real: RealServers) -> bool:
    return all(
        compare(real.declaration.views[real.view(store)], real.table, real.target(store, 2)).equal for store in STORES
    )


@pytest.mark.parametrize("daemon", [True, False])
def test_all_stores_show_the_table_again(tmp_path: Path, urls: dict[str, str], dynamodb: Any, daemon: bool) -> None:
    with RealServers(tmp_path, urls, dynamodb) as real:
        real.start()
        real.put(0, 60, "before")
        real.wait_counted()
        place = export(real, tmp_path / "export")
        real.put(40, 30, "since")
        for number in range(0, 60, 7):
            real.delete(number)
        real.wait_counted()
        if not daemon:
            real.daemon.stop()

        def write() -> None:
            for number in range(0, 100, 10):
                real.put(number, 5, "during")

        writing = threading.Thread(target=write)
        writing.start()
        done = rebuild(real, place, "--yes")
        writing.join()
        assert done.returncode == 0, done.stderr
        told = {each["view"]: each for each in map(json.loads, done.stdout.splitlines())}
        for store in STORES:
            found = told[real.view(store)]
            assert (found["phase"], found["items"], found["of_items"], found["read_units"]) == ("done", 60, 60, 0.0)
        with real.process():  # what came behind the command's end
            until(lambda: equal(real), "all stores to show the table", 60)


def test_an_export_of_another_table_is_told_in_one_line(tmp_path: Path, urls: dict[str, str], dynamodb: Any) -> None:
    with RealServers(tmp_path, urls, dynamodb) as real:
        real.start()
        place = write_export(tmp_path / "export", [{"pk": "a"}], time=time.time())
        done = rebuild(real, place)
        assert done.returncode == 1
        assert "is an export of arn:aws:dynamodb:eu-west-1:000000000000:table/shop, not of" in done.stderr
        assert "Traceback" not in done.stderr
        assert all(real.state(store) == "following" for store in STORES)

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
from tests.support.stand import STORES, Stand
from tests.support.until import until


@pytest.fixture
def urls(dynamodb_endpoint: str, redis_url: str, opensearch_url: str, postgres_url: str) -> dict[str, str]:
    return {"dynamodb": dynamodb_endpoint, "redis": redis_url, "opensearch": opensearch_url, "postgres": postgres_url}


def export(stand: Stand, folder: Path) -> Path:
    """The table as it is now."""
    at = time.time()
    pages = stand.table.scan(0, 1, None, Shape(None))
    items = [{name: value(attr) for name, attr in image.items()} for page in pages for image in page.images]
    arn = stand.table.describe().arn
    said: dict[str, Any] = {"tableArn": arn, "tableId": None, "exportArn": f"{arn}/export/01700000000000-0a1b2c3d"}
    return write_export(folder, items, time=at, **said)


def rebuild(stand: Stand, place: Path, *rest: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dynaview.views.cli", "rebuild", *map(stand.view, STORES)]
    command += ["-f", str(stand.file), "--from-export", str(place), "--json", *rest]
    return subprocess.run(command, env=stand.environment, capture_output=True, text=True, timeout=180, check=False)


def equal(stand: Stand) -> bool:
    return all(
        compare(stand.declaration.views[stand.view(store)], stand.table, stand.target(store, 2)).equal
        for store in STORES
    )


@pytest.mark.parametrize("daemon", [True, False])
def test_all_stores_show_the_table_again(tmp_path: Path, urls: dict[str, str], dynamodb: Any, daemon: bool) -> None:
    with Stand(tmp_path, urls, dynamodb) as stand:
        stand.start()
        stand.put(0, 60, "before")
        stand.wait_counted()
        place = export(stand, tmp_path / "export")
        stand.put(40, 30, "since")
        for number in range(0, 60, 7):
            stand.delete(number)
        stand.wait_counted()
        if not daemon:
            stand.daemon.stop()

        def write() -> None:
            for number in range(0, 100, 10):
                stand.put(number, 5, "during")

        writing = threading.Thread(target=write)
        writing.start()
        done = rebuild(stand, place, "--yes")
        writing.join()
        assert done.returncode == 0, done.stderr
        told = {each["view"]: each for each in map(json.loads, done.stdout.splitlines())}
        for store in STORES:
            found = told[stand.view(store)]
            assert (found["phase"], found["items"], found["of_items"], found["read_units"]) == ("done", 60, 60, 0.0)
        with stand.process():  # what came behind the command's end
            until(lambda: equal(stand), "all stores to show the table", 60)


def test_an_export_of_another_table_is_told_in_one_line(tmp_path: Path, urls: dict[str, str], dynamodb: Any) -> None:
    with Stand(tmp_path, urls, dynamodb) as stand:
        stand.start()
        place = write_export(tmp_path / "export", [{"pk": "a"}], time=time.time())
        done = rebuild(stand, place)
        assert done.returncode == 1
        assert "is an export of arn:aws:dynamodb:eu-west-1:000000000000:table/shop, not of" in done.stderr
        assert "Traceback" not in done.stderr
        assert all(stand.state(store) == "following" for store in STORES)

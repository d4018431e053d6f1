"""One look at an SQLite control store past SQLAlchemy, whose import costs more than everything else that ``dynaview
status`` does. A test holds it to what the stores themselves answer."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dynaview.views.control import rows
from dynaview.views.control.records import JOB, Generation, Rebuild, VerificationResult, ViewRecord, WorkerRecord
from dynaview.views.control.worker_locks import is_locked, lock_of

SCHEMA = 12
"""The schema that is looked at: the newest, see `dynaview.views.control.migrations`."""

_PREFIX = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Standing:
    """All views that were ever started, and what is known of each; generations are the oldest first."""

    views: Sequence[ViewRecord]
    generations: Mapping[str, Sequence[Generation]]
    letters: Mapping[str, int]
    verifications: Mapping[str, VerificationResult]
    rebuilds: Mapping[str, Rebuild]
    workers: Mapping[str, Sequence[tuple[WorkerRecord, int]]]


def glance(url: str) -> Standing | None:
    """What stands in a control store; None where it is no SQLite file of this dynaview that can be read right now:
    `ControlStore` then says what it is. Nothing is made or changed."""
    if not url.startswith(_PREFIX) or "?" in url or "%" in url:
        return None
    file = Path(url.removeprefix(_PREFIX))
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            connection.isolation_level = None
            connection.execute("BEGIN")  # all of it at one moment
            if [row[0] for row in connection.execute("SELECT schema_version FROM dynaview_control")] != [SCHEMA]:
                return None
            return _standing(connection, file)
    except sqlite3.Error:
        return None


def _standing(connection: sqlite3.Connection, file: Path) -> Standing:
    generations: defaultdict[str, list[Generation]] = defaultdict(list)
    for row in connection.execute("SELECT * FROM dynaview_generations ORDER BY generation"):
        generations[row["view"]].append(rows.generation(row))
    views = connection.execute(
        "SELECT v.*, g.generation, g.fingerprint, g.filled FROM dynaview_views v "
        "JOIN dynaview_generations g ON g.view = v.name AND g.role = 'live' ORDER BY v.name"
    )
    letters = connection.execute(
        "SELECT view, count(*) AS letters FROM dynaview_dead_letters l WHERE NOT EXISTS (SELECT 1 FROM "
        "dynaview_generations g WHERE g.view = l.view AND g.role = 'live' AND g.generation > l.generation) "
        "GROUP BY view"
    )
    verifications = connection.execute("SELECT view, result FROM dynaview_verifications")
    rebuilds = connection.execute("SELECT * FROM dynaview_rebuilds")
    taken = connection.execute(
        "SELECT owner, resource FROM dynaview_leases WHERE owner IS NOT NULL AND resource NOT LIKE ?", [f"{JOB}%"]
    )
    ownership = connection.execute("SELECT * FROM dynaview_ownership")
    return Standing(
        views=[rows.view_record(row) for row in views],
        generations=generations,
        letters={row["view"]: row["letters"] for row in letters},
        verifications={row["view"]: rows.verification(row["result"]) for row in verifications},
        rebuilds={row["view"]: rows.rebuild(row) for row in rebuilds},
        workers=rows.workers_of_views(ownership, taken, _living(connection, file)),
    )


def _living(connection: sqlite3.Connection, file: Path) -> Iterator[WorkerRecord]:
    found = connection.execute("SELECT * FROM dynaview_workers WHERE expires > ? ORDER BY started, id", [time.time()])
    return (rows.worker(row) for row in found if is_locked(lock_of(file, row["id"])))

"""A control store that stands becomes, by its migrations, what a new one is.

The file ``schema_N.sql`` beside this one holds the tables that migrations begin with. Where this test fails, a table
was changed without a migration: add one to `dynaview.views.control.migrations`. (Before the first release the baseline
may move instead: raise `BASELINE`, and write the file again from `tables.meta`.)
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from dynaview.views.control import migrations
from dynaview.views.control.store import ControlStore

BASELINE = Path(__file__).with_name(f"schema_{migrations.BASELINE}.sql")


def shape(file: Path) -> dict[str, Any]:
    """Columns and keys of every table, in whatever order they came."""
    with sqlite3.connect(file) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, Any] = {}
        for name in names:
            columns = {row[1:] for row in connection.execute(f"PRAGMA table_info('{name}')")}
            unique = {
                tuple(sorted(column for _, _, column in connection.execute(f"PRAGMA index_info('{index}')")))
                for _, index, is_unique, *_ in connection.execute(f"PRAGMA index_list('{name}')")
                if is_unique
            }
            found[name] = columns, unique
    connection.close()
    return found


def test_a_store_that_stands_becomes_what_a_new_one_is(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    connection = sqlite3.connect(old)
    connection.executescript(BASELINE.read_text())
    connection.execute("INSERT INTO dynaview_control (schema_version) VALUES (?)", [migrations.BASELINE])
    connection.commit()
    connection.close()
    for file in (old, new):
        ControlStore(f"sqlite:///{file}").close()
    assert shape(old) == shape(new)
    assert "dynaview_views" in shape(new)

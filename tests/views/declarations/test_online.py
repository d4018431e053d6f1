"""What servers say of a declaration: a table that does not answer at once is asked again."""

from __future__ import annotations

import pytest

from dynaview.sinks.memory import MemorySink
from dynaview.sources.errors import SourceError, SourceUnavailable, TableMissing, Throttled
from dynaview.views.declarations.online import ATTEMPTS, check
from tests.support.scripted import ScriptedTable
from tests.views.declarations.planning import VIEWS, Declare


@pytest.mark.parametrize(
    ("error", "times", "asked", "well"),
    [
        (Throttled, ATTEMPTS - 1, ATTEMPTS, True),
        (SourceUnavailable, ATTEMPTS, ATTEMPTS, False),
        (TableMissing, 1, 1, False),
    ],
)
def test_a_table_that_may_answer_is_asked_again(
    declare: Declare, error: type[SourceError], times: int, asked: int, well: bool
) -> None:
    table = ScriptedTable()
    table.fail("describe", error, times=times)
    found = check(declare(VIEWS), lambda source: table, lambda declared: MemorySink(declared.name))
    assert table.counts()["describe"] == asked
    assert (found.problems == []) is well

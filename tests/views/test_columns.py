"""Columns: aligned, narrower where a terminal is, and never pushed apart by one long cell."""

from __future__ import annotations

from dynaview.views.cli.columns import PADDED, aligned, fitted

ROWS = [("VIEW", "SINK", "READ", "LAG"), ("orders", "search", "1,234", "1.0 s"), ("cards", "cache", "7", "unknown")]


def test_words_stand_left_and_numbers_right() -> None:
    assert aligned(ROWS, 2) == [
        "VIEW    SINK     READ      LAG",
        "orders  search  1,234    1.0 s",
        "cards   cache       7  unknown",
    ]


def test_one_long_cell_pads_no_other_beyond_what_is_read_at_a_glance() -> None:
    lines = aligned([("a", "end"), ("x" * 500, "end")], 2)
    assert lines[0] == f"a{' ' * (PADDED + 1)}end"
    assert lines[1] == f"{'x' * 500}  end"


def test_a_narrow_terminal_does_without_what_matters_least() -> None:
    assert fitted(ROWS, ("SINK", "READ"), 200) == ([list(row) for row in ROWS], [])
    kept, left_out = fitted(ROWS, ("SINK", "READ"), 25)
    assert left_out == ["SINK"]
    assert max(map(len, aligned(kept, 1))) <= 25
    kept, left_out = fitted(ROWS, ("SINK", "READ"), 1)
    assert (kept[0], left_out) == (["VIEW", "LAG"], ["SINK", "READ"])

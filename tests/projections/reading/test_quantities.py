"""Durations and shares, there and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.quantities import (
    DURATION,
    SHARE,
    duration,
    duration_text,
    share,
    share_text,
)


@given(st.integers(0, 3650 * 86_400) | st.floats(0, 3650 * 86_400))
def test_a_duration_comes_back_as_it_was(seconds: float) -> None:
    text = duration_text(seconds)
    assert re.search(DURATION, text)
    assert duration(text) == seconds


@given(st.floats(0, 1))
def test_a_share_comes_back_as_it_was(number: float) -> None:
    text = share_text(number)
    assert re.search(SHARE, text)
    assert share(text) == number


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (90, "90s"), (2.5, "2.5s"), (900, "15m"), (86_400, "24h"), (604_800, "7d"), (129_600, "36h")],
)
def test_durations_are_shown_as_people_write_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0.05, "5%"), (0.125, "12.5%"), (1, "100%"), (0, "0%"), (1e-7, "0.00001%")]
)
def test_shares_are_shown_as_percentages(number: float, text: str) -> None:
    assert share_text(number) == text

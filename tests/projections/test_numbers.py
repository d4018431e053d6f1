"""Reading numbers: the short way for what DynamoDB writes, held against the long one."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import AttributeValueError, checked_number, number

digits = st.text("0123456789", max_size=40)
signs, points = st.sampled_from(["", "", "-", "+"]), st.sampled_from(["", ".", "E", "E-"])
texts = st.one_of(
    st.builds("{}{}{}{}".format, signs, digits, points, digits),
    st.text("0123456789.-+eE_ \u0664\u00b2", max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str),
)


def told(read: Callable[[str], Decimal], text: str) -> tuple[object, ...] | str:
    try:
        return read(text).as_tuple()
    except AttributeValueError as error:
        return str(error)


@given(texts)
def test_both_ways_read_a_number_alike(text: str) -> None:
    assert told(number, text) == told(checked_number, text)


@pytest.mark.parametrize("text", ["0", "10", "12.5", "12.50", "0.0000001", "007", "1.", ".5", "1" * 38, "." + "1" * 38])
def test_both_ways_read_what_is_usual_and_what_is_at_the_limits_alike(text: str) -> None:
    assert number(text).as_tuple() == checked_number(text).as_tuple()

"""Functions over exact values, where JSON's own cases end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from dynaview.projections.compiler.jmespath import translate_alone
from dynaview.projections.expressions import parse
from dynaview.projections.functions import FunctionError

LONG = Decimal("1234567890123456789012345678901234567.8")
"""38 digits; Python's own context would round it to 28."""
SMALL = Decimal("0.05")
MORE = Decimal("1234567890123456789012345678901234567.85")


def search(expression: str, **data: Any) -> Any:
    return translate_alone(parse(expression).tree, "test")(data)


def test_numbers_stay_exact() -> None:
    assert search("abs(n)", n=LONG.copy_negate()) == LONG
    assert search("sum([n, m])", n=LONG, m=SMALL) == MORE
    assert search("sum([n, m, o])", n=LONG, m=Decimal("1E+125"), o=Decimal("-1E+125")) == LONG
    assert search("max([n, m])", n=LONG, m=MORE) == MORE
    assert search("ceil(n)", n=LONG) == 1234567890123456789012345678901234568
    assert search("floor(n)", n=LONG) == 1234567890123456789012345678901234567
    assert search("to_number(s)", s=str(LONG)) == LONG
    assert search("to_string(n)", n=LONG) == str(LONG)
    assert search("to_string([n])", n=Decimal("1E+3")) == "[1000]"
    assert search("n == m", n=LONG, m=MORE) is False
    assert search("n < m", n=LONG, m=MORE) is True
    assert search("sort(l)", l=[MORE, LONG]) == [LONG, MORE]


def test_averages_are_rounded_to_38_digits() -> None:
    assert search("avg(l)", l=[Decimal(1), Decimal(1), Decimal(0)]) == Decimal("0." + "6" * 37 + "7")
    assert search("avg(l)", l=[LONG, LONG]) == LONG


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1_000", "٣", "0x10", "1e99999", "1.", " "])
def test_to_number_takes_only_numbers(text: str) -> None:
    assert search("to_number(s)", s=text) == (1 if text == "1." else None)


def test_bytes_are_opaque() -> None:
    assert search("type(b)", b=b"\x00") == "binary"
    assert search("b == c", b=b"\x00", c=b"\x00") is True
    assert search("to_string(b)", b=b"\x00\x01") == '"AAE="'
    assert search("b || 'x'", b=b"") == b""
    with pytest.raises(FunctionError, match="found binary"):
        search("length(b)", b=b"\x00")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("length(n)", "length() takes string or array or object, found number"),
        ("sum(l)", "sum() takes an array of numbers, found string"),
        ("sort(m)", "sort() takes an array of numbers throughout, found string"),
        ("join(',', n)", "join() takes array, found number"),
        ("sort_by(o, &k)", "sort_by() takes an array of number or strings, found null"),
    ],
)
def test_errors_name_function_and_types_and_no_value(expression: str, message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        search(expression, n=Decimal(4711), l=["secret"], m=[Decimal(1), "secret"], o=[{"x": "secret"}])
    assert str(caught.value) == message


def test_what_cannot_stay_exact_is_refused() -> None:
    with pytest.raises(FunctionError, match="more than 1000 digits"):
        search("sum([to_number(a), to_number(b)])", a="1e900", b="1e-900")

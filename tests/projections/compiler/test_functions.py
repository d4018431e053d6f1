"""Functions over exact values, where JSON's own cases end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from dynaview.projections.added_functions import ADDED
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


# Added to JMESPath's own


def test_added_functions_answer_null_for_null() -> None:
    for name, function in ADDED.items():
        others = ["`1`" if "number" in kind else "'seconds'" for kind in function.parameters[1:]]
        if name == "date_part":
            others = ["'year'"]
        assert search(f"{name}({', '.join(['missing', *others])})") is None, name


def test_arithmetic_is_exact() -> None:
    assert search("add(n, m, n)", n=LONG, m=SMALL) == Decimal("2469135780246913578024691357802469135.65")
    assert search("subtract(n, n)", n=LONG) == 0
    assert search("multiply(n, n)", n=Decimal("1.0000000000000000000000000000000000001")) == Decimal(
        "1.00000000000000000000000000000000000020000000000000000000000000000000000001"
    )
    assert search("divide(`1`, `3`)") == Decimal("0." + "3" * 38)
    assert search("[modulo(`-7.5`, `2`), modulo(`7.5`, `-2`)]") == [Decimal("-1.5"), Decimal("1.5")]
    assert search("round(n)", n=LONG) == 1234567890123456789012345678901234568
    assert search("[round(`-0.5`), round(`2.5`), round(`1250`, `-2`)]") == [-1, 3, 1300]
    assert str(search("round(`1.5`, `3`)")) == "1.5"
    assert search("add(length(s), `0.5`)", s="ab") == Decimal("2.5")
    assert search("add(`1`, missing)") is None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("upper(n)", "upper() takes string, found number"),
        ("split(s, '')", "split() looks for a text that is not empty"),
        ("replace(s, '', 'x')", "replace() looks for a text that is not empty"),
        ("substring(s, `0.5`)", "substring() counts in whole numbers"),
        ("substring(s, `0`, `-1`)", "substring() takes a length of at least 0"),
        ("add(s, `1`)", "add() takes number, found string"),
        ("divide(n, `0`)", "divide() by 0"),
        ("modulo(n, `0`)", "modulo() by 0"),
        ("round(n, `1e9`)", "round() takes fewer than 1000 places"),
        ("date_part(n, 'year')", "date_part() of a number says what it counts, as in date_part(…, 'seconds')"),
        ("date_part(n, 'year', 'days')", "date_part() knows the units seconds, milliseconds, microseconds"),
        ("date_part('2026-03-01', 'decade')", "date_part() knows year, quarter"),
        ("timestamp('2026-02-30')", "timestamp() was given text with a day that does not exist"),
        ("timestamp(`1e17`, 'seconds')", "timestamp() was given a number outside the years 1 to 9999"),
    ],
)
def test_wrong_arguments_of_added_functions(expression: str, message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        search(expression, n=Decimal(1), s="x")
    assert str(caught.value).startswith(message)


def test_text_and_times() -> None:
    assert search("[substring(s, `1`), substring(s, `-2`), substring(s, `1`, `1`), substring(s, `9`)]", s="abc") == [
        "bc",
        "bc",
        "b",
        "",
    ]
    assert search("trim(s, 'x ')", s=" xabx") == "ab"
    at = "2026-12-31T23:59:58.5Z"
    parts = {"year": 2026, "quarter": 4, "month": 12, "day": 31, "hour": 23, "minute": 59, "second": 58}
    parts |= {"weekday": 4, "week": 53, "yearday": 365}
    for part, expected in parts.items():
        assert search(f"date_part(at, '{part}')", at=at) == expected
    assert search("date_part(at, 'epoch')", at=at) == Decimal("1798761598.5")
    assert search("date_part(n, 'year', 'milliseconds')", n=Decimal(1_700_000_000_000)) == 2023
    assert search("[date_part(at, 'year'), timestamp(at)]", at=" ") == [None, None]

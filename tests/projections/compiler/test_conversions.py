"""Conversions at their edges; the ordinary cases stand in docs/types.md."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.canonical import number_text
from dynaview.projections.conversions import ConversionError, convert_default, converter

DIGITS = st.decimals(allow_nan=False, allow_infinity=False).filter(lambda number: abs(number.adjusted()) < 900)


def refused(type_: str, value: Any, unit: Any = None) -> str:
    with pytest.raises(ConversionError) as caught:
        converter(type_, unit)(value)
    return str(caught.value)


@pytest.mark.parametrize(("type_", "bits"), [("integer", 32), ("bigint", 64)])
@pytest.mark.parametrize("wrap", [Decimal, str, int])
def test_ranges_of_whole_numbers(type_: str, bits: int, wrap: Any) -> None:
    convert = converter(type_)
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1
    assert [convert(wrap(least)), convert(wrap(most))] == [least, most]
    for beyond in (least - 1, most + 1, 10**100):
        message = refused(type_, wrap(beyond))
        assert message.startswith(f"wanted {type_}, found")
        assert str(beyond) not in message


def test_whole_numbers_are_ints_without_fraction() -> None:
    assert type(converter("integer")(Decimal("7.000"))) is int
    assert converter("integer")("-0012") == -12
    assert converter("integer")(3.0) == 3
    fractions: list[Any] = [Decimal("0.5"), Decimal("1E-130"), 0.5, "1.0"]
    for wrong in [*fractions, "1e3", " 1", "٣", "", True, None, b"1", [], {}]:
        refused("integer", wrong)


def test_doubles() -> None:
    assert converter("double")(Decimal("0.1")) == 0.1
    assert converter("double")(Decimal("9.9E+125")) == 9.9e125
    assert converter("double")(Decimal("1E-130")) == 1e-130
    assert converter("double")("1e-3") == 0.001
    assert converter("double")(2) == 2.0
    for wrong in (Decimal("1E+400"), float("inf"), float("nan"), "inf", "nan", "1e400", 10**400, True, "x"):
        refused("double", wrong)


@given(DIGITS)
def test_decimals_keep_every_digit(number: Decimal) -> None:
    kept = converter("decimal")(number)
    assert (kept, number_text(kept)) == (number, number_text(number))
    assert converter("decimal")(str(number)) == number
    assert converter("decimal")(number_text(number)) == number
    assert converter("text")(number) == number_text(number)


OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=OFFSETS))
def test_timestamps_in_any_zone_are_the_same_moment(moment: datetime) -> None:
    try:
        made = converter("timestamp")(moment.isoformat())
    except ConversionError:
        assert moment.year in (1, 9999)
        return
    assert made == moment
    assert made.tzinfo is UTC
    assert converter("date")(moment.isoformat()) == made.date()


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_timestamps_from_numbers_are_exact_to_the_microsecond(microseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    assert converter("timestamp", "seconds")(Decimal(f"{microseconds}E-6")) == moment
    assert converter("timestamp", "milliseconds")(Decimal(f"{microseconds}E-3")) == moment
    assert converter("timestamp", "microseconds")(Decimal(microseconds)) == moment
    assert converter("timestamp", "seconds")(str(Decimal(f"{microseconds}E-6"))) == moment


def test_timestamps_cut_what_is_beyond_the_microsecond() -> None:
    just_before = Decimal("1699999999." + "9" * 28)
    made = converter("timestamp", "seconds")(just_before)
    assert made == datetime(2023, 11, 14, 22, 13, 19, 999999, tzinfo=UTC)


def test_timestamps_without_offset_are_utc() -> None:
    assert converter("timestamp")("2026-03-01 12:00:00.5") == datetime(2026, 3, 1, 12, 0, 0, 500000, tzinfo=UTC)
    east = timezone(timedelta(hours=2))
    assert converter("timestamp")(datetime(2026, 3, 1, tzinfo=east)) == datetime(2026, 2, 28, 22, tzinfo=UTC)
    assert converter("timestamp")(date(2026, 3, 1)) == datetime(2026, 3, 1, tzinfo=UTC)


def test_wrong_timestamps() -> None:
    assert "say what it counts" in refused("timestamp", Decimal(1))
    assert "is no time as in" in refused("timestamp", "yesterday")
    assert "outside the years" in refused("timestamp", Decimal("1E+14"), "seconds")
    assert "Then say so by unit" in refused("timestamp", Decimal(1_700_000_000_000), "seconds")
    assert "unit" not in refused("timestamp", "9999-12-31T23:59:59-05:00", "seconds")
    assert "outside the years" in refused("timestamp", Decimal("-1E+125"), "milliseconds")
    assert refused("date", Decimal(1)).startswith("wanted date, found a number")
    refused("timestamp", True, "seconds")
    refused("timestamp", "x", "seconds")


def test_arrays() -> None:
    assert converter("integer[]")([Decimal(1), None, "2"]) == [1, None, 2]
    assert refused("text[]", "x") == "wanted text[], found text"
    assert refused("text[]", ["x", ["secret"]]) == "an element of text[]: wanted text, found a list"


@pytest.mark.parametrize("type_", ["string", "any[]", "json[]", "text[][]", "", "TEXT"])
def test_types_that_do_not_exist(type_: str) -> None:
    with pytest.raises(ValueError, match="is not a field type"):
        converter(type_)


@pytest.mark.parametrize(
    ("type_", "plain", "default"),
    [
        ("text", None, None),
        ("text", "x", "x"),
        ("integer", 7, 7),
        ("decimal", 0.1, Decimal("0.1")),
        ("double", 1, 1.0),
        ("boolean", False, False),
        ("timestamp", datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("timestamp", "2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("date", date(2026, 3, 1), date(2026, 3, 1)),
        ("json", {"a": [0.1, None]}, {"a": [Decimal("0.1"), None]}),
        ("any", 0.1, Decimal("0.1")),
        ("text[]", ["a", 1], ["a", "1"]),
        ("text[]", [], []),
        ("binary", b"x", b"x"),
    ],
)
def test_defaults(type_: str, plain: Any, default: Any) -> None:
    made = convert_default(type_, plain)
    assert made == default
    assert type(made) is type(default)


@pytest.mark.parametrize(
    ("type_", "plain"),
    [
        ("integer", "x"),
        ("integer", 0.5),
        ("text", []),
        ("any", date(2026, 3, 1)),
        ("any", float("nan")),
        ("binary", "x"),
    ],
)
def test_wrong_defaults(type_: str, plain: Any) -> None:
    with pytest.raises(ConversionError):
        convert_default(type_, plain)

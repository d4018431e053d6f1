"""Moments and dates written as text: one grammar, held by docs/types.md.

It is RFC 3339, with what ISO 8601 people write beside it (a date alone, a year or a month, the compact form, an offset
of hours) and what AppSync writes (AWSDate with its offset, AWSDateTime; AWSTimestamp is a number)::

    moment  = date ("T" | " ") time [offset]
    date    = YYYY-MM-DD | YYYYMMDD
    time    = hh[:mm[:ss[.f]]] | hhmm[ss[.f]]        24:00:00 ends the day; f has any number of digits, after . or ,
    offset  = Z | ±hh[:mm[:ss]] | ±hhmm              without one: UTC
    day     = YYYY-MM-DD [Z | ±hh:mm[:ss]] | YYYYMMDD | YYYY-MM | YYYY        a year alone begins with no 0

``T`` and ``Z`` may be small. All else is refused for its own reason.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Final, Literal, TypeAlias

Unit: TypeAlias = Literal["seconds", "milliseconds", "microseconds"]
"""What a number counts since 1970."""

UNITS: Final[tuple[Unit, ...]] = ("seconds", "milliseconds", "microseconds")

YEARS: Final = " outside the years 1 to 9999"

_DATE = r"(?:([0-9]{4})-([0-9]{2})-([0-9]{2})|([0-9]{4})([0-9]{2})([0-9]{2}))"
_FRACTION = r"(?:[.,]([0-9]+))?"
_TIME = rf"([0-9]{{2}})(?::([0-9]{{2}})(?::([0-9]{{2}}){_FRACTION})?|([0-9]{{2}})(?:([0-9]{{2}}){_FRACTION})?)?"
_OFFSET = r"([Zz]|[+-][0-9]{2}(?::[0-9]{2}(?::[0-9]{2})?|[0-9]{2})?)?"

_COMMON = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_MOMENT = re.compile(rf"{_DATE}[Tt ]{_TIME}{_OFFSET}")
_DAY = re.compile(rf"{_DATE}(?:(?<=-[0-9]{{2}})([Zz]|[+-][0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}})?))?")
_PART = re.compile(r"([1-9][0-9]{3}|[0-9]{4}(?=-))(?:-([0-9]{2}))?")

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_TIME_ALONE = re.compile(rf"(?=[Tt]?[0-9]{{2}}:)[Tt]?{_TIME}{_OFFSET}")
_LONG_YEAR = re.compile(r"(?:[+-][0-9]{4,}|[0-9]{5,})-[0-9]{2}(?:-|\Z)")
_WEEK = re.compile(r"[0-9]{4}-?W[0-9]{2}|[0-9]{4}-?[0-9]{3}(?:[Tt ]|\Z)")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACES = {"seconds": 6, "milliseconds": 3, "microseconds": 0}
_LARGEST = 10**18
"""More microseconds than fit the years 1 to 9999."""
_EXACT = Context(prec=2200, Emax=5000, Emin=-5000)


class TimeError(ValueError):
    """Text that is no moment or day. Its text goes on after "found text" and shows nothing of the value."""


def moment(text: str) -> datetime:
    """The moment in UTC; of a day its beginning, where its offset says. Raises `TimeError`.

    Digits beyond the microsecond are cut off.
    """
    if _COMMON.fullmatch(text):
        try:
            found = datetime.fromisoformat(text)
            return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            pass  # the rest knows the reason
    written = _MOMENT.fullmatch(text)
    if written is not None:
        return _moment(written)
    on, offset = _written_day(text)
    return _shifted(datetime(on.year, on.month, on.day, tzinfo=UTC), offset)


def day(text: str) -> date:
    """The day as it is written, whatever its offset; of a moment its day in UTC. Raises `TimeError`."""
    return moment(text).date() if _MOMENT.fullmatch(text) else _written_day(text)[0]


def _moment(written: re.Match[str]) -> datetime:
    groups = written.groups()
    on = _date(*(groups[:3] if groups[0] else groups[3:6]))
    minute, second, fraction = groups[7:10] if groups[7] else groups[10:13]
    hours, minutes, seconds, fraction = int(groups[6]), int(minute or 0), int(second or 0), fraction or "0"
    microseconds = int(fraction[:6].ljust(6, "0"))
    ends = hours == 24 and not (minutes or seconds or fraction.strip("0"))
    leap = seconds == 60 and minutes == 59
    if not (hours < 24 or ends) or minutes > 59 or not (seconds < 60 or leap):
        raise TimeError(" with a time of day that does not exist")
    since = timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds)
    at = _shifted(datetime(on.year, on.month, on.day, tzinfo=UTC), groups[13], since)
    if leap and (at.hour, at.minute) != (0, 0):
        raise TimeError(" with a second 60 that was no leap second")
    return at


def _written_day(text: str) -> tuple[date, str | None]:
    """The day and its offset."""
    written = _DAY.fullmatch(text)
    if written is not None:
        groups = written.groups()
        return _date(*(groups[:3] if groups[0] else groups[3:6])), groups[6]
    part = _PART.fullmatch(text)
    if part is not None:
        return _date(part[1], part[2] or "01", "01"), None
    raise TimeError(_reason(text))


def _date(year: str, month: str, day_: str) -> date:
    if year == "0000":
        raise TimeError(YEARS)
    try:
        return date(int(year), int(month), int(day_))
    except ValueError:
        raise TimeError(" with a day that does not exist") from None


def _shifted(local: datetime, offset: str | None, since: timedelta = timedelta(0)) -> datetime:
    """`since` after `local`, which is of that offset, in UTC."""
    try:
        return local + (since - _offset(offset))
    except OverflowError:
        raise TimeError(YEARS) from None


def _offset(text: str | None) -> timedelta:
    if text is None or text in "Zz":
        return timedelta(0)
    digits = text[1:].replace(":", "").ljust(6, "0")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise TimeError(" with an offset that does not exist")
    size = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -size if text[0] == "-" else size


def _reason(text: str) -> str:
    if text != text.strip():
        return " with blanks around a time"
    if _NUMBER.fullmatch(text):
        return " of digits only: say what they count (unit: seconds, milliseconds or microseconds)"
    if _TIME_ALONE.fullmatch(text):
        return " of a time of day without its date: keep it as text"
    if _LONG_YEAR.match(text):
        return YEARS
    if _WEEK.match(text):
        return " of a week or a day of the year, where a date as in 2026-03-01 is wanted"
    return " that is no time as in 2026-03-01 or 2026-03-01T10:30:00Z"


def since_1970(count: Decimal, unit: Unit) -> datetime:
    """The moment so many `unit` after 1970 began, or before; what is beyond the microsecond is cut off downwards.
    Raises `TimeError`."""
    microseconds = count.scaleb(_PLACES[unit], _EXACT)
    # The bound keeps the whole number small.
    if not -_LARGEST < microseconds < _LARGEST:
        raise TimeError(YEARS)
    try:
        return _EPOCH + timedelta(microseconds=math.floor(microseconds))
    except OverflowError:
        raise TimeError(YEARS) from None


def seconds_of(at: datetime) -> Decimal:
    """The exact seconds from 1970 to `at`."""
    since = at - _EPOCH
    return Decimal(since.days * 86_400 + since.seconds) + Decimal(since.microseconds).scaleb(-6)


def with_zone(at: datetime) -> datetime:
    """A moment in UTC; without a zone it is taken as UTC. Raises `TimeError`."""
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise TimeError(YEARS) from None


def timestamp_text(value: datetime) -> str:
    """The one way dynaview writes a timestamp as text: ISO 8601 in UTC with Z, fractions only where there are any."""
    return with_zone(value).replace(tzinfo=None).isoformat() + "Z"

"""Values of options as people write them."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime

import click

from dynaview.views.budget import Capacity

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(_ctx: click.Context, _option: click.Parameter, written: str | None) -> float | None:
    """ISO 8601 (without an offset it is UTC), or seconds since 1970."""
    if written is None:
        return None
    try:
        at = float(written)
    except ValueError:
        try:
            read = datetime.fromisoformat(written)
        except ValueError:
            raise click.BadParameter("give ISO 8601 (2026-01-31T12:00:00Z) or seconds since 1970") from None
        at = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    if not 0 <= at < 1e11:
        raise click.BadParameter("not a time in seconds since 1970")
    return at


def past(ctx: click.Context, option: click.Parameter, written: str | None) -> float | None:
    """A time as `moment` reads it, or how long ago it was: 90s, 10m, 2h, 1d."""
    matched = re.fullmatch(r"(\d+)([smhd])", written or "")
    if matched is not None:
        return time.time() - int(matched[1]) * UNITS[matched[2]]
    at = moment(ctx, option, written)
    if at is not None and at > time.time():
        raise click.BadParameter("this is in the future")
    return at


def duration(_ctx: click.Context, _option: click.Parameter, written: str | None) -> float | None:
    """A duration: 90s, 15m, 24h, 7d, or 0; in seconds."""
    if written is None:
        return None
    matched = re.fullmatch(r"(\d+)([smhd])", written)
    if matched is not None:
        return float(int(matched[1]) * UNITS[matched[2]])
    if written == "0":
        return 0.0
    raise click.BadParameter("give a duration such as 90s, 15m, 24h or 7d")


def capacity(_ctx: click.Context, _option: click.Parameter, written: str | None) -> Capacity:
    """Read units a second (200), or a percentage of what is provisioned (25%)."""
    if written is None:
        return Capacity()
    try:
        number = float(written.removesuffix("%"))
    except ValueError:
        number = -1.0
    if written.endswith("%") and 0 < number <= 100:
        return Capacity(share=number / 100)
    if not written.endswith("%") and 0 < number < math.inf:
        return Capacity(units=number)
    raise click.BadParameter("give read units a second, such as 200, or a share of what is provisioned, such as 25%")


def capacity_text(capacity: Capacity) -> str:
    """What `capacity` reads as this one; empty for none."""
    if capacity.units is not None:
        return f"{capacity.units:g}"
    return "" if capacity.share is None else f"{capacity.share * 100:g}%"


def share(_ctx: click.Context, _option: click.Parameter, written: str | None) -> float | None:
    """A percentage (1%) or a number (0.01): above 0, up to 1."""
    if written is None:
        return None
    try:
        found = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise click.BadParameter("give a share such as 1% or 0.01")
    return found

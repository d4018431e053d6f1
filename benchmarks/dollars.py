"""Dollars per million changes, reckoned from measured processor time and published prices (docs/benchmarks.md)."""

from __future__ import annotations

from benchmarks import stock_lambda
from benchmarks.records import PAGE

LAMBDA_GB_SECOND = 0.0000166667
LAMBDA_REQUEST = 0.20 / 1e6
LAMBDA_GB = 1769 / 1024
"""The memory that comes with one processor."""

FARGATE_PROCESSOR_HOUR = 0.04048
FARGATE_GB_HOUR = 0.004445
FARGATE_GB = 2
"""The least memory that a task with one processor has."""

STREAM_READ = 0.02 / 100_000
"""A GetRecords; those of Lambda's own poller cost nothing."""

BUSY = 0.5
"""The share of a daemon's paid processor time that it is taken to use."""


def on_lambda(microseconds: float, batch: int = PAGE) -> float:
    """A million changes that take so long each, so many an invocation; its waiting for the store is left out."""
    return microseconds * LAMBDA_GB * LAMBDA_GB_SECOND + 1e6 / batch * LAMBDA_REQUEST


def on_fargate(microseconds: float, page: int = PAGE) -> float:
    """A million changes through a daemon on one processor, read by so many a page."""
    hour = FARGATE_PROCESSOR_HOUR + FARGATE_GB * FARGATE_GB_HOUR
    return microseconds / 3600 * hour / BUSY + 1e6 / page * STREAM_READ


def dollars(contender: str, microseconds: float) -> float | None:
    """A million changes through a contender that is run for money, of so much processor time a change."""
    match contender:
        case stock_lambda.NAME:
            return on_lambda(microseconds)
        case "end to end":
            return on_fargate(microseconds)
    return None

"""What following and scanning cost, in the units that AWS bills: from what a table is, not from what was measured."""

from __future__ import annotations

LATENCY = 0.5
"""The longest wait, in seconds, between two reads of an idle shard where its source says nothing else."""

POLLS = 250.0
"""Reads of idle shards a second, of all shards together; above that they wait longer than their latency."""

BEATS = 200
"""Idle views that say their watermark within a second, at the most: each costs the control store a transaction."""

MONTH = 30 * 86_400.0
"""Seconds."""

READ_UNIT = 4096
"""Bytes that one read unit reads, strongly consistent."""

GIGABYTE = 2**30


def stream_reads(shards: int, latency: float | None, seconds: float = MONTH) -> float:
    """GetRecords requests that following takes in so many seconds while nothing happens in the table. A shard that
    gives records is read more often: once a page of them, and a handful of times until it rests again."""
    return seconds * min(shards / (LATENCY if latency is None else latency), POLLS)


def control_commits(views: int, seconds: float = MONTH) -> float:
    """Transactions of the control store in so many seconds, of one worker of so many views in which nothing happens."""
    return seconds * min(views, BEATS)


def read_units(size: int) -> int:
    """What a strongly consistent scan of so many bytes takes."""
    return -(-size // READ_UNIT)


def export_units(size: int) -> float:
    """What a full export is billed by: gigabytes."""
    return size / GIGABYTE

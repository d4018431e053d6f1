"""Views kept in Postgres: one table a generation, a SQL view for readers, one guarded statement a batch."""

from __future__ import annotations

from dynaview.sinks.postgres.sink import PostgresSink

__all__ = ["PostgresSink"]

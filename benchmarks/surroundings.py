"""Where a measurement was made: machine, interpreter, and the versions of servers and clients."""

from __future__ import annotations

import os
import platform
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import redis

CLIENTS = ("boto3", "hiredis", "msgspec", "opensearch-py", "psycopg", "redis", "sqlalchemy")


def surroundings(urls: Mapping[str, str]) -> dict[str, Any]:
    """All of it, as plain data; of servers, those that `urls` name by their variables."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "clients": {name: version(name) for name in CLIENTS},
        "servers": {name: _SERVERS[name](url) for name, url in urls.items() if name in _SERVERS},
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _redis(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        found: Any = client.info("server")
    return f"{found.get('server_name', 'redis')} {found.get('valkey_version', found['redis_version'])}"


def _postgres(url: str) -> str:
    with psycopg.connect(url) as connection:
        return f"postgres {connection.info.parameter_status('server_version')}"


def _opensearch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return f"opensearch {msgspec.json.decode(answer.read())['version']['number']}"


_SERVERS = {"REDIS_URL": _redis, "DATABASE_URL": _postgres, "OPENSEARCH_URL": _opensearch}

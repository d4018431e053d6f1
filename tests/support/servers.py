"""The servers that soaks and measurements run against: those that the environment names, else local ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dynaview.local import servers as local


@contextmanager
def servers(names: Sequence[str] = local.NAMES) -> Iterator[dict[str, str]]:
    """REDIS_URL, OPENSEARCH_URL, DATABASE_URL and DYNAMODB_ENDPOINT with dummy credentials, set in the environment;
    of those, what the servers called `names` ask for."""
    wanted = [local.VARIABLES[name] for name in names]
    given = {name: os.environ[name] for name in wanted if name in os.environ}
    if len(given) == len(wanted):
        yield given
        return
    with tempfile.TemporaryDirectory() as folder, local.started(names, Path(folder)) as started:
        variables = local.environment({name: server.url for name, server in started.items()})
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            yield variables
        finally:
            os.environ.clear()
            os.environ.update(before)

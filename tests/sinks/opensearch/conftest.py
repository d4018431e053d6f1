"""One OpenSearch for all tests here, views of names of their own, and a faulty line to it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opensearchpy import OpenSearch

from dynaview.projections.rows import Field, Layout, OpenSearchOptions
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.limits import Limits
from dynaview.sinks.opensearch.target import OpenSearchTarget
from tests.sinks.opensearch.line import Line, opened

FIELDS = (Field("name", "text"), Field("total", "decimal"), Field("count", "integer"))
SETTINGS = {"number_of_shards": 1, "number_of_replicas": 0}

_numbers = itertools.count()
_run = uuid4().hex[:8]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody knows, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{key}", "-out", f"{made}"]
    subprocess.run(command, check=True, capture_output=True)
    made.write_text(made.read_text() + key.read_text())
    return made


@pytest.fixture
def line(opensearch_url: str) -> Iterator[Line]:
    with opened(opensearch_url) as made:
        yield made


@pytest.fixture
def limited(line: Line) -> Iterator[Callable[..., OpenSearchSink]]:
    """Makes sinks at the other end of `line` that ask for as much at once as they are told."""
    sinks: list[OpenSearchSink] = []

    def made(**limits: int) -> OpenSearchSink:
        sinks.append(OpenSearchSink("search", line.url, {"timeout": 20}, Limits(**limits)))
        return sinks[-1]

    yield made
    for sink in sinks:
        sink.close()


@pytest.fixture
def through(limited: Callable[..., OpenSearchSink]) -> OpenSearchSink:
    """A sink at the other end of `line`."""
    return limited()


@pytest.fixture(scope="session")
def sink(opensearch_url: str) -> Iterator[OpenSearchSink]:
    made = OpenSearchSink("search", opensearch_url, {})
    yield made
    made.close()


@pytest.fixture(scope="session")
def store(opensearch_url: str) -> Iterator[OpenSearch]:
    """The server as anybody else sees it."""
    client = OpenSearch(opensearch_url, timeout=60)
    yield client
    client.close()


def new_layout(
    fields: tuple[Field, ...] | None = FIELDS,
    mappings: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    index: str = "",
) -> Layout:
    """A layout for an index that nothing else uses."""
    name = index or f"opensearch-{_run}-{next(_numbers)}"
    return Layout(name, (), fields, OpenSearchOptions(name, SETTINGS | (settings or {}), mappings or {}))


@pytest.fixture(scope="session")
def layout() -> Callable[..., Layout]:
    return new_layout


@pytest.fixture(scope="module", autouse=True)
def tidied(store: OpenSearch) -> Iterator[None]:
    """A node holds a thousand shards at most."""
    yield
    store.indices.delete(index=f"opensearch-{_run}-*")


@pytest.fixture(scope="module")
def standing(sink: OpenSearchSink) -> OpenSearchTarget:
    """A target that the tests of a module share."""
    made = sink.open(new_layout(), 1)
    made.prepare()
    return made


@pytest.fixture
def target(sink: OpenSearchSink, layout: Callable[..., Layout]) -> OpenSearchTarget:
    made = sink.open(layout(), 1)
    made.prepare()
    return made

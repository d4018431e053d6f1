"""Addresses from the environment: substitution, checks, and what of a URL may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dynaview.projections.declaration import SinkKind
from dynaview.projections.reading.schema import SINK_SCHEMES

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\{)|(\$))")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,19})://")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?(?::\d{1,5})?(?:,[A-Za-z0-9._-]+(?::\d{1,5})?)*")
_PATH = re.compile(r"[A-Za-z0-9._/-]*")

_CONTROL_SCHEMES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")
_MEANT = {
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "http": "opensearch",
    "https": "opensearch",
    "postgresql": "postgres",
    "postgres": "postgres",
}
_EXAMPLES = {
    "redis": "redis://host:6379/0, or rediss:// for TLS",
    "opensearch": "https://host:9200",
    "postgres": "postgresql://host:5432/name",
}


class AddressError(ValueError):
    """An address that cannot be used. Its text shows nothing of the address but a known scheme."""


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace ``${NAME}`` and ``${NAME:-default}`` (where NAME is missing or empty); ``$$`` stands for one ``$``.

    Raises `AddressError` naming every variable that is missing.
    """
    missing: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        name, default, brace, _ = found.groups()
        if brace:
            raise AddressError("a ${ that is not ${NAME} or ${NAME:-default}; write $$ for a $ itself")
        if name is None:
            return "$"
        value = environ.get(name, "")
        if not value and default is not None:
            return str(default)
        if name not in environ:
            missing.append(name)
        return value

    result = _VARIABLE.sub(replaced, text)
    if missing:
        names = " and ".join(dict.fromkeys(missing))
        raise AddressError(f"the environment variable {names} is not set: set it, or write ${{{missing[0]}:-default}}")
    return result


def check_sink_url(kind: SinkKind, url: str) -> None:
    """Raises `AddressError` where `url` can't be a store of this kind."""
    example = _EXAMPLES[kind]
    if not url.strip():
        raise AddressError(f"the URL is empty: it looks like {example}")
    found = _SCHEME.match(url)
    if found is None:
        raise AddressError(f"not a URL: it looks like {example}")
    if found[1] not in SINK_SCHEMES[kind]:
        meant = _MEANT.get(found[1])
        hint = f" ({found[1]}:// is for {meant})" if meant else ""
        raise AddressError(f"a URL of the wrong kind{hint}: it looks like {example}")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise AddressError("the URL holds blanks or control characters: percent-encode them")
    rest = url[found.end() :]
    if found[1] == "unix":
        if not rest.rpartition("@")[2].startswith("/"):
            raise AddressError("the URL of a socket names its path: unix:///run/redis.sock")
        return
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    if not _is_authority(host) or "@" in rest[len(authority) :].partition("?")[0]:
        raise AddressError(
            f"host and port can't be read: it looks like {example}; percent-encode what is not a letter or digit in "
            "user and password"
        )
    if not host and not (kind == "postgres" and ("host=" in rest or rest.startswith("/"))):
        raise AddressError(f"the URL names no host: it looks like {example}")


def check_control_url(url: str) -> None:
    """Raises `AddressError` where `url` can't be a control store."""
    found = re.match(r"([a-z][a-z0-9+]{1,19}):", url)
    if found is None or found[1] not in _CONTROL_SCHEMES:
        raise AddressError(
            "not a URL of SQLite or PostgreSQL: it looks like sqlite:///dynaview.db or postgresql://host/name"
        )


def safe_url(url: str) -> str:
    """What may be shown of a URL: scheme, host, port and path. What can't be told apart from a secret is left out."""
    found = _SCHEME.match(url)
    if found is None or found[1] not in _MEANT:
        return "…"
    before, question, query = url[found.end() :].partition("?")
    if question and "@" in query:
        return f"{found[1]}://…"  # the question mark may be part of a password
    shown = before.rpartition("@")[2].partition("#")[0]
    authority, slash, path = shown.partition("/")
    if not _is_authority(authority) or not _PATH.fullmatch(path) or "#" in before.rpartition("@")[0]:
        return f"{found[1]}://…"
    return f"{found[1]}://{authority}{slash}{path}"


def _is_authority(text: str) -> bool:
    ports = re.findall(r":(\d+)(?:,|\Z)", text)
    return _AUTHORITY.fullmatch(text) is not None and all(0 < int(port) < 65_536 for port in ports)

"""Addresses from the environment: substitution and checks."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from dynaview.projections.declaration import SinkKind
from dynaview.projections.reading.schema import SINK_SCHEMES
from dynaview.projections.urls import SCHEME, AddressError, host_of

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\{)|(\$))")

CONTROL = "sqlite:///dynaview.db"
"""The control store where nothing is said of one."""

_RELATIVE = re.compile(r"(sqlite:///)(?!/|file:|:memory:)(.+)")
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


def substitute(text: str, environ: Mapping[str, str], *, braces: bool = False) -> str:
    """Replace ``${NAME}`` and ``${NAME:-default}`` (where NAME is missing or empty); ``$$`` stands for one ``$``.

    `braces` says that the text is a template: a brace in a variable stands for itself. Raises `AddressError`, which
    names every variable that is missing.
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
            value = str(default)
        elif name not in environ:
            missing.append(name)
        return value.replace("{", "{{").replace("}", "}}") if braces else value

    result = _VARIABLE.sub(replaced, text)
    if missing:
        names = " and ".join(dict.fromkeys(missing))
        raise AddressError(f"the environment variable {names} is not set: set it, or write ${{{missing[0]}:-default}}")
    return result


def emptied(text: str, environ: Mapping[str, str]) -> str:
    """Why what `text` was replaced by is empty, for messages: the variables that are; empty where none is."""
    names = [found[1] for found in _VARIABLE.finditer(text) if found[1] and not environ.get(found[1])]
    return f": the environment variable {' and '.join(dict.fromkeys(names))} is empty" if names else ""


def check_sink_url(kind: SinkKind, url: str) -> None:
    """Raises `AddressError` where `url` can't be a store of this kind."""
    example = _EXAMPLES[kind]
    if not url.strip():
        raise AddressError(f"the URL is empty: it looks like {example}")
    found = SCHEME.match(url)
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
    host = host_of(url, example)
    if not host and not (kind == "postgres" and ("host=" in rest or rest.startswith("/"))):
        raise AddressError(f"the URL names no host: it looks like {example}")


def check_control_url(url: str) -> None:
    """Raises `AddressError` where `url` can't be a control store."""
    found = re.match(r"([a-z][a-z0-9+]{1,19}):", url)
    if found is None or found[1] not in _CONTROL_SCHEMES:
        raise AddressError(
            "not a URL of SQLite or PostgreSQL: it looks like sqlite:///dynaview.db or postgresql://host/name"
        )
    if found[1] != "sqlite":
        host_of(url, "postgresql://host:5432/name")


def beside(url: str, folder: str) -> str:
    """The URL of a control store; a relative path of SQLite is relative to the declaration, as every path in it."""
    found = _RELATIVE.fullmatch(url)
    return url if found is None else found[1] + posixpath.join(folder, found[2])


def check_endpoint(url: str) -> None:
    """Raises `AddressError` where `url` can't be an endpoint of AWS."""
    example = "http://localhost:8000"
    if not url.startswith(("http://", "https://")):
        raise AddressError(f"an endpoint looks like {example}")
    if not host_of(url, example):
        raise AddressError(f"the URL names no host: it looks like {example}")


_TABLE_ARN = re.compile(r"arn:aws[a-z-]*:dynamodb:(?P<region>[a-z0-9-]+):\d{12}:table/[A-Za-z0-9_.-]+")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")


def region_of(table: str) -> str | None:
    """The region of a table that is named by its ARN; None for a plain name. Raises `AddressError` for what is neither:
    a table's name holds no colon."""
    if not table.startswith("arn:"):
        return None
    found = _TABLE_ARN.fullmatch(table)
    if found is None:
        stream = " (it is the ARN of something in it: leave out what follows the table's name)" * ("/stream/" in table)
        raise AddressError(f"not the ARN of a table, as in arn:aws:dynamodb:eu-west-1:123456789012:table/shop{stream}")
    return found["region"]


def check_role(arn: str) -> None:
    """Raises `AddressError` where `arn` can't be a role's."""
    if _ROLE_ARN.fullmatch(arn) is None:
        raise AddressError("not the ARN of a role, as in arn:aws:iam::123456789012:role/reader")

"""URLs that may hold secrets: what of them is shown, in messages and logs alike, and where their host stands.

A password with a character that was not percent-encoded (``/``, ``?``, ``#``, ``@``) ends up where a host, a port, a
path or a query is looked for. So what cannot be told apart from a secret counts as one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,19})://")

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?(?::\d{1,5})?(?:,[A-Za-z0-9._-]+(?::\d{1,5})?)*")
_USER = re.compile(r"[^@\[\]\s]*")
_PATH = re.compile(r"[A-Za-z0-9._/-]*")
_SHOWN = frozenset(
    ("redis", "rediss", "unix", "http", "https", "postgresql", "postgres", "postgresql+psycopg", "sqlite", "s3")
)


class AddressError(ValueError):
    """An address that cannot be used. Its text shows nothing of the address but a known scheme."""


def safe_url(url: str) -> str:
    """What may be shown of a URL: scheme, host, port and path. What can't be told apart from a secret is left out."""
    found = SCHEME.match(url)
    if found is None or found[1] not in _SHOWN:
        return "…"
    before, question, query = url[found.end() :].partition("?")
    if found[1] == "sqlite":
        return f"sqlite://{before}"  # a file, which has no password
    if question and "@" in query:
        return f"{found[1]}://…"  # the question mark may be part of a password
    shown = before.rpartition("@")[2].partition("#")[0]
    authority, slash, path = shown.partition("/")
    if not is_authority(authority) or not _PATH.fullmatch(path) or "#" in before.rpartition("@")[0]:
        return f"{found[1]}://…"
    return f"{found[1]}://{authority}{slash}{path}"


def host_of(url: str, example: str) -> str:
    """Host and port, several with commas between them; may be empty. Raises `AddressError` where they can't be told
    from the rest; `example` is for its remedy."""
    found = SCHEME.match(url)
    rest = url[found.end() :] if found else url
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, _, host = authority.rpartition("@")
    # Clients do not agree about what these mean here.
    if not is_authority(host) or not _USER.fullmatch(user) or "@" in rest[len(authority) :].partition("?")[0]:
        raise AddressError(
            f"host and port can't be read: it looks like {example}; percent-encode what is not a letter or digit in "
            "user and password"
        )
    return host


def is_authority(text: str) -> bool:
    """Whether it can be host and port."""
    ports = re.findall(r":(\d+)(?:,|\Z)", text)
    return _AUTHORITY.fullmatch(text) is not None and all(0 < int(port) < 65_536 for port in ports)


def refuse_tls_options(url: str, options: Mapping[str, Any]) -> None:
    """Raises `AddressError` where a URL asks for a plain connection, and the options beside it for a verified one."""
    found = SCHEME.match(url)
    secure = {"redis": "rediss", "http": "https"}.get(found[1]) if found else None
    if found is None or (secure is None and found[1] != "unix"):
        return
    remedy = f"write {secure}:// in the URL, or leave" if secure else "a socket needs none: leave"
    if options.get("ca_file"):
        raise AddressError(f"ca_file says whom to trust, but {found[1]}:// is not encrypted: {remedy} ca_file out")
    if options.get("verify") and secure and not is_local(host_of(url, f"{found[1]}://host")):
        raise AddressError(f"verify asks for a certificate, but {found[1]}:// has none: {remedy} verify out")


def is_local(hosts: str) -> bool:
    """Whether hosts, with or without ports and with commas between them, are this machine: loopback or a socket."""
    return all(_is_local(host) for host in hosts.split(","))


def _is_local(host: str) -> bool:
    name = re.sub(r"^\[(.*)\](:\d+)?$|^([^:]*):\d+$", r"\1\3", host).lower()
    if name in ("", "localhost") or name.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

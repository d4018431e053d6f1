"""Whether hosts are this machine, and options that contradict a URL."""

from __future__ import annotations

from typing import Any

import pytest

from dynaview.projections.urls import AddressError, is_local, refuse_tls_options
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.redis import RedisSink


@pytest.mark.parametrize(
    ("hosts", "local"),
    [
        ("localhost", True),
        ("LOCALHOST:5432", True),
        ("127.0.0.1", True),
        ("127.8.8.8:1", True),
        ("[::1]", True),
        ("[::1]:5432", True),
        ("::1", True),
        ("/run/postgresql", True),
        ("@abstract", True),
        ("", True),
        ("localhost,127.0.0.1:9", True),
        ("localhost,db", False),
        ("db", False),
        ("localhost.example.com", False),
        ("10.0.0.1:5432", False),
        ("0.0.0.0", False),
        ("[2001:db8::1]:5432", False),
    ],
)
def test_this_machine(hosts: str, local: bool) -> None:
    assert is_local(hosts) is local


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("redis://cache", {"ca_file": "/ca.pem"}, "ca_file .* write rediss:// in the URL, or leave ca_file out"),
        ("redis://localhost", {"ca_file": "/ca.pem"}, "ca_file"),
        ("unix:///run/redis.sock", {"ca_file": "/ca.pem"}, "a socket needs none"),
        ("redis://user:secret@cache", {"verify": True}, "verify .* write rediss://"),
        ("http://search:9200", {"ca_file": "/ca.pem"}, "write https://"),
        ("http://search:9200", {"verify": True}, "write https://"),
    ],
)
def test_options_that_a_plain_connection_would_ignore(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(AddressError, match=said) as refused:
        refuse_tls_options(url, options)
    assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match=said):
        (OpenSearchSink if url.startswith("http") else RedisSink)("store", url, options)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://cache", {"verify": False}),
        ("redis://localhost", {"verify": True}),
        ("http://127.0.0.1:9200", {"verify": True}),
        ("rediss://cache", {"verify": True, "ca_file": "/ca.pem"}),
        ("https://search", {"verify": True, "ca_file": "/ca.pem"}),
        ("unix:///run/redis.sock", {"verify": True}),
    ],
)
def test_options_that_make_sense(url: str, options: dict[str, Any]) -> None:
    refuse_tls_options(url, options)

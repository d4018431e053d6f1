"""Tokens of RDS in place of a password: one for each connection, for host, port, user and region."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dynaview.sinks.port import SinkRefused
from dynaview.sinks.postgres import PostgresSink
from dynaview.views.control.errors import ControlError, ControlUnavailable
from dynaview.views.control.store import ControlStore
from tests.support.rds import Door, door

REGION = "eu-west-1"
AWS = {"auth": "aws", "region": REGION}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    return monkeypatch


@pytest.fixture
def rds(postgres_url: str, aws: pytest.MonkeyPatch) -> Iterator[Door]:
    (folder,) = parse_qs(urlsplit(postgres_url).query)["host"]
    with door(folder) as made:
        yield made


def address(rds: Door, postgres_url: str, more: str = "") -> str:
    return f"postgresql://postgres@127.0.0.1:{rds.port}{urlsplit(postgres_url).path}?sslmode=disable{more}"


def shown(token: str) -> dict[str, str]:
    parts = urlsplit(f"https://{token}")
    return {name: value for name, (value,) in parse_qs(parts.query).items()} | {"at": parts.netloc}


def test_each_connection_shows_a_token_of_its_own(rds: Door, postgres_url: str, aws: pytest.MonkeyPatch) -> None:
    sink = PostgresSink("reads", address(rds, postgres_url), AWS)
    assert sink.check().startswith("PostgreSQL ")
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIA2")
    assert sink.check().startswith("PostgreSQL ")  # over the connection that stands
    (token,) = rds.tokens
    found = shown(token)
    assert (found["Action"], found["DBUser"], found["X-Amz-Expires"]) == ("connect", "postgres", "900")
    assert found["at"] == f"127.0.0.1:{rds.port}"
    assert found["X-Amz-Credential"].startswith("AKIA1/")
    assert found["X-Amz-Credential"].endswith(f"/{REGION}/rds-db/aws4_request")
    sink.close()
    again = PostgresSink("reads", address(rds, postgres_url), AWS)
    again.check()
    again.close()
    assert shown(rds.tokens[1])["X-Amz-Credential"].startswith("AKIA2/")


def test_a_token_that_is_not_taken_names_what_to_grant(rds: Door, postgres_url: str) -> None:
    rds.takes = lambda token: False
    sink = PostgresSink("reads", address(rds, postgres_url), AWS)
    with pytest.raises(
        SinkRefused, match=r"allow rds-db:connect on the database user postgres to .* and GRANT rds_iam TO postgres"
    ) as error:
        sink.check()
    sink.close()
    assert "X-Amz" not in str(error.value)


def test_the_control_store_logs_in_by_tokens_too(rds: Door, postgres_url: str, aws: pytest.MonkeyPatch) -> None:
    url = address(rds, postgres_url, f"&auth=aws&region={REGION}")
    store = ControlStore(url)
    store.views()
    store.close()
    assert {shown(token)["DBUser"] for token in rds.tokens} == {"postgres"}
    rds.takes = lambda token: False
    with pytest.raises(ControlUnavailable, match=r"does not take the token of RDS: GRANT rds_iam .* rds-db:connect"):
        ControlStore(url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        aws.delenv(name)
    with pytest.raises(ControlUnavailable, match="no AWS credentials are found"):
        ControlStore(url)


HOST = "shop.c1.eu-west-1.rds.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        (f"postgresql://u:p@{HOST}/d", {"auth": "aws"}, "takes the place of a password"),
        (f"postgresql://{HOST}/d", {"auth": "aws"}, "needs the database's user"),
        (f"postgresql://u@{HOST}/d?sslmode=prefer", {"auth": "aws"}, "needs an encrypted line"),
        ("postgresql://u@db.example.com/d", {"auth": "aws"}, "does not tell the region"),
        (f"postgresql://u@{HOST}/d", AWS | {"region": "eu-north-1"}, "which is in eu-west-1"),
        (f"postgresql://u@{HOST},b.{HOST}/d", {"auth": "aws"}, "needs one host"),
        (f"postgresql://u@{HOST}/d", {"region": REGION}, "write auth: aws beside"),
    ],
)
def test_what_does_not_go_together_is_refused(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PostgresSink("reads", url, options)


def test_the_region_is_that_of_the_host() -> None:
    PostgresSink("reads", f"postgresql://u@{HOST}/d", {"auth": "aws"}).close()
    PostgresSink("reads", f"postgresql://u@proxy-1.proxy-c1.{REGION}.rds.amazonaws.com/d", {"auth": "aws"}).close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://u:p@{HOST}/d?auth=aws", "takes the place of a password"),
        (f"postgresql://u@{HOST}/d?auth=iam", "auth= is aws, or left out"),
        ("postgresql://u@db.example.com/d?auth=aws", "does not tell the region"),
    ],
)
def test_a_control_store_that_cannot_be_logged_in_to_is_refused(url: str, said: str) -> None:
    with pytest.raises(ControlError, match=said):
        ControlStore(url)

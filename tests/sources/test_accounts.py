"""Tables of other accounts: profiles, roles whose credentials end, endpoints, and what is said where one is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.attributes import Shape
from dynaview.projections.declaration import At, SourceDeclaration
from dynaview.sources.accounts import ASSUME, assumed_as, credentials_of, session_of
from dynaview.sources.errors import AccessDenied, CredentialsMissing, SourceUnavailable
from dynaview.sources.port import ScanPage
from dynaview.sources.table import open_table
from tests.sources.sts import AS, ROLE, TABLE, WHO, Account

PAGES = 6

DENIED = f"User: {WHO} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"


def dynamodb(operation: str, asked: dict[str, Any]) -> Any:
    if operation == "DescribeTable":
        table = {"TableName": "shop", "TableArn": TABLE, "TableStatus": "ACTIVE"}
        return {"Table": table | {"KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}}
    assert operation == "Scan"
    assert asked["TableName"] == TABLE
    number = int(asked["ExclusiveStartKey"]["pk"]["S"]) + 1 if "ExclusiveStartKey" in asked else 0
    key = {"pk": {"S": str(number)}}
    return {"Items": [key], "Count": 1} | ({"LastEvaluatedKey": key} if number < PAGES - 1 else {})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    made = Account(dynamodb)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUSER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-user")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", made.url)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield made
    made.close()


def source(account: Account, **more: Any) -> SourceDeclaration:
    at = At("sources.shop", "dynaview.yaml", 1)
    return replace(SourceDeclaration("shop", TABLE, "eu-west-1", account.url, at, role_arn=ROLE), **more)


def test_a_table_is_read_as_the_role_that_is_assumed_once(account: Account) -> None:
    table = open_table(source(account, external_id="the-id"))
    assert account.assumed == []  # nothing is asked before it is needed
    assert [table.describe().arn for _ in range(3)] == [TABLE] * 3
    (asked,) = account.assumed
    assert (asked["RoleArn"], asked["ExternalId"], asked["RoleSessionName"]) == (ROLE, "the-id", "dynaview")
    assert asked["by"] == "AKIAUSER"
    assert account.used == ["ASIA1"] * 3
    assert assumed_as(source(account)) == AS


def test_credentials_that_end_in_the_middle_of_a_scan_are_renewed(account: Account) -> None:
    account.lasts = 60.0
    pages = list(open_table(source(account)).scan(0, 1, None, Shape(None)))
    assert len(pages) == PAGES
    assert len(set(account.used)) == len(account.used) == PAGES + 1
    assert account.used[-1] == account.key


def test_a_role_that_is_taken_away_in_the_middle_of_a_scan_is_told_and_the_scan_goes_on_later(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account.lasts = 60.0
    table = open_table(source(account, external_id="only-we-know"))
    pages: list[ScanPage[Any]] = []
    with pytest.raises(AccessDenied) as denied:  # noqa: PT012 - what is read before it is needed
        for page in table.scan(0, 1, None, Shape(None)):
            pages.append(page)
            if len(pages) == 2:
                account.refused = DENIED
    assert (denied.value.action, denied.value.resource) == (ASSUME, ROLE)
    assert f"grant {ASSUME} on {ROLE} to {WHO}" in denied.value.remedy
    assert "external_id" in denied.value.remedy
    assert "only-we-know" not in str(denied.value)
    account.refused = None
    pages += table.scan(0, 1, pages[-1].position, Shape(None))
    assert len(pages) == PAGES
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_principal_is_asked_for_where_the_refusal_does_not_name_it(account: Account) -> None:
    account.refused = "no"
    with pytest.raises(AccessDenied, match=f"to {WHO}, .* asks for no external ID"):
        open_table(source(account)).describe()


def test_credentials_that_are_over_already_are_the_clock_s_fault(account: Account) -> None:
    account.lasts = -5.0
    with pytest.raises(CredentialsMissing, match="this machine's clock"):
        open_table(source(account)).describe()


def test_a_token_service_that_does_not_answer_heals_by_itself(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    with pytest.raises(SourceUnavailable, match="AssumeRole"):
        open_table(source(account)).describe()


def test_the_user_s_credentials_that_are_missing_are_told(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CredentialsMissing, match="AssumeRole"):
        open_table(source(account)).describe()


def test_a_profile_is_whose_credentials_are_used(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text("[profile other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    account.key = "AKIAOTHER"
    assert open_table(source(account, role_arn=None, profile="other")).describe().arn == TABLE
    account.assumed.clear()
    assert open_table(source(account, profile="other")).describe().arn == TABLE
    assert account.assumed[0]["by"] == "AKIAOTHER"
    with pytest.raises(CredentialsMissing, match=r"nobody.*~/\.aws/config"):
        open_table(source(account, profile="nobody"))


def test_endpoints(account: Account) -> None:
    private = source(account, role_arn=None, endpoint=None, fips=True)
    session = session_of(private)
    assert session.tables.meta.endpoint_url == "https://dynamodb-fips.eu-west-1.amazonaws.com"
    assert session.streams.meta.endpoint_url == "https://streams.dynamodb-fips.eu-west-1.amazonaws.com"
    session.close()
    both = session_of(source(account, endpoint="https://tables", streams_endpoint="https://streams"))
    assert (both.tables.meta.endpoint_url, both.streams.meta.endpoint_url) == ("https://tables", "https://streams")
    both.close()


def test_exports_are_read_with_the_credentials_of_the_source(account: Account) -> None:
    session = credentials_of(source(account))
    assert session is not None
    found = session.get_credentials()
    assert found is not None
    assert found.get_frozen_credentials().access_key == account.key == "ASIA1"
    assert credentials_of(source(account, role_arn=None)) is None

"""The page of rights: its policies are what the code asks for, and with what it grants everything works on real
stores, and nothing else does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
import yaml
from psycopg.sql import SQL, Identifier

from dynaview.local import servers
from dynaview.sinks.opensearch.errors import rights
from dynaview.sinks.redis.errors import translate
from tests.support.processes import Mark, wait_for

from .conftest import Clone

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


def blocks(clone: Clone, language: str) -> list[str]:
    """The fenced blocks of the page in a language."""
    text = (clone.root / "docs" / "rights.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_policies_name_exactly_what_is_called(clone: Clone) -> None:
    policies = [json.loads(block) for block in blocks(clone, "json")]
    statements = [each for policy in policies for each in policy["Statement"]]
    stores = ("es:", "aoss:", "rds-db:", "elasticache:")
    lambdas = ("sqs:", "logs:", "dynamodb:ListStreams")  # what AWS asks for in the name of a Lambda function
    by_aws = {"s3:AbortMultipartUpload", "s3:PutObject"}  # what DynamoDB does in the name of who asks for an export
    granted = [action for each in statements if "Principal" not in each for action in each["Action"]]
    allowed = [action for action in granted if not action.startswith((*stores, *lambdas)) and action not in by_aws]
    text = "".join(path.read_text() for path in (clone.root / "sources").glob("*.py"))
    called = set(
        re.findall(
            r'"((?:Describe|Get|Update|Batch|Assume)[A-Z][A-Za-z]+|ExportTable[A-Za-z]+|Scan|ListObjectsV2)"', text
        )
    )
    called -= {"GetCallerIdentity"}  # which needs no right
    elsewhere = {"GetObject": "s3:GetObject", "ListObjectsV2": "s3:ListBucket", "AssumeRole": "sts:AssumeRole"}
    assert sorted(allowed) == sorted(elsewhere.get(each, f"dynamodb:{each}") for each in called)


def test_what_another_account_grants_on_its_table_is_what_following_needs(clone: Clone) -> None:
    """The policies of the table and of its stream allow together what a role's own policy does."""
    follow, *others = (
        json.loads((clone.root / "deploy/iam" / f"{name}.json").read_text())["Statement"]
        for name in ("follow", "resource-table", "resource-stream")
    )
    assert [each["Action"] for each in follow] == [each["Action"] for policy in others for each in policy]


def test_the_methods_of_opensearch_are_those_that_are_used(clone: Clone) -> None:
    policies = [json.loads(block) for block in blocks(clone, "json")]
    granted = {action for policy in policies for each in policy["Statement"] for action in each["Action"]}
    text = "".join(path.read_text() for path in (clone.root / "sinks/opensearch").glob("*.py"))
    used = {f"es:ESHttp{method.capitalize()}" for method in re.findall(r'"(GET|HEAD|POST|PUT|DELETE)"', text)}
    assert used == {action for action in granted if action.startswith("es:")}


def test_the_role_of_opensearch_is_that_of_its_errors(clone: Clone) -> None:
    writer = yaml.safe_load(blocks(clone, "yaml")[0])["WRITER"]
    said = rights("INDEX")
    (index,) = writer["index_permissions"]
    assert all(group in said for group in (*writer["cluster_permissions"], *index["allowed_actions"]))
    assert set(re.findall(r"\b(?:cluster|create|manage)_\w+|\bmanage\b|\bcrud\b", said)) == {
        *writer["cluster_permissions"],
        *index["allowed_actions"],
    }


def test_the_user_of_redis_is_that_of_its_errors(clone: Clone) -> None:
    (line,) = [block.strip() for block in blocks(clone, "text") if "WRITER" in block]
    said = str(translate(redis.exceptions.NoPermissionError("NOPERM"), "Redis"))
    assert line.partition(" resetkeys ")[2] in said


@dataclass(frozen=True, slots=True)
class Tenant:
    """What the page makes on the real servers, by names of its own."""

    name: str
    control_url: str
    postgres_url: str
    redis_url: str

    def reader(self, url: str) -> str:
        return url.replace(f"{self.name}_writer", f"{self.name}_reader")


@pytest.fixture
def tenant(clone: Clone, postgres_url: str, redis_url: str) -> Iterator[Tenant]:
    name = f"rights{uuid.uuid4().hex[:8]}"
    words = {"WRITER": f"{name}_writer", "READER": f"{name}_reader", "CONTROL": f"{name}_control"}
    words |= {"FAMILY": f"{name}:", "SECRET": "secret"}
    at = urlsplit(redis_url)
    writers = f"postgresql://{name}_writer@{urlsplit(postgres_url).netloc.rpartition('@')[2]}"
    query = urlsplit(postgres_url).query

    def filled(block: str) -> str:
        block = re.sub(r"\bSCHEMA SCHEMA\b", f"SCHEMA {name}_reads", block)
        return re.sub("|".join(words), lambda word: words[word[0]], block)

    with psycopg.connect(postgres_url, autocommit=True) as admin, redis.Redis.from_url(redis_url) as cache:
        admin.execute(f"CREATE ROLE {name}_reader LOGIN".encode())
        for block in blocks(clone, "sql"):
            for statement in filled(block).split(";\n"):
                if statement.strip():
                    admin.execute(statement.encode())
        for block in blocks(clone, "text"):
            cache.execute_command(*filled(block).split())
        yield Tenant(
            name,
            f"{writers}/{name}_control?{query}",
            f"{writers}{urlsplit(postgres_url).path}?{query}",
            f"redis://{name}_writer:secret@{at.hostname}:{at.port}{at.path}",
        )
        cache.acl_deluser(f"{name}_writer", f"{name}_reader")
        for key in cache.scan_iter(f"*{name}:*"):
            cache.delete(key)
        admin.execute(f"DROP DATABASE {name}_control WITH (FORCE)".encode())
        admin.execute(f"DROP SCHEMA {name}_reads CASCADE".encode())
        admin.execute(f"DROP OWNED BY {name}_reader; DROP ROLE {name}_reader; DROP ROLE {name}_writer".encode())


DECLARATION = """
sources: {shop: {table: NAME, endpoint: "${DYNAMODB_ENDPOINT}"}}
sinks:
  cache: {redis: "${REDIS_URL}"}
  reads: {postgres: "${DATABASE_URL}"}
control: "${CONTROL_URL}"
views:
  card: {source: shop, sink: cache, type: hash, key: "NAME:card:{pk}", fields: {pk: pk, name: name}}
  text: {source: shop, sink: cache, type: string, key: "NAME:text:{pk}", fields: {pk: pk, name: name}}
  tagged: {source: shop, sink: cache, type: string, key: "NAME:tag:{{{pk}}}:x", fields: {pk: pk, name: name}}
  names: {source: shop, sink: cache, type: set, key: "NAME:names", member: "{pk}", fields: {pk: pk}}
  people:
    source: shop
    sink: reads
    schema: NAME_reads
    table: people
    key: pk
    fields: {pk: {from: pk, type: text}, name: {from: name, type: text}}
"""


@pytest.mark.timeout(600)  # half a dozen commands, one after the other
def test_with_these_rights_everything_works_and_nothing_else_does(
    tenant: Tenant, tmp_path: Path, dynamodb_endpoint: str, dynamodb: DynamoDBClient, postgres_url: str, redis_url: str
) -> None:
    table = tenant.name
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for key in "abc":
        dynamodb.put_item(TableName=table, Item={"pk": {"S": key}, "name": {"S": f"Name {key}"}})
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.replace("NAME", tenant.name))
    mark = Mark()
    environment = mark.environment | servers.CREDENTIALS
    environment |= {"DYNAMODB_ENDPOINT": dynamodb_endpoint, "CONTROL_URL": tenant.control_url}
    environment |= {"REDIS_URL": tenant.redis_url, "DATABASE_URL": tenant.postgres_url}

    def dynaview(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dynaview.views.cli", *arguments, "-f", str(file)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def well(*arguments: str) -> str:
        done = dynaview(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    well("validate", "--online")
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "dynaview.views.cli", "run", "-f", str(file)]
        daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        said = tmp_path / "log"
        assert wait_for(lambda: said.read_text().count("first fill is complete") == 5, 90), said.read_text()
        dynamodb.delete_item(TableName=table, Key={"pk": {"S": "a"}})
        dynamodb.put_item(TableName=table, Item={"pk": {"S": "b"}, "name": {"S": "New"}})
        well("rebuild", "card", "people", "--yes")
        well("verify")
    finally:
        daemon.terminate()
        daemon.wait(60)
    assert mark.wait_until_gone(30) == {}
    assert "WARNING" not in (tmp_path / "log").read_text()
    readers_see_the_rows_and_change_none(tenant)
    nothing_else_is_allowed(tenant, postgres_url, redis_url)
    dynamodb.delete_table(TableName=table)


def readers_see_the_rows_and_change_none(tenant: Tenant) -> None:
    people = Identifier(f"{tenant.name}_reads", "people")
    with psycopg.connect(tenant.reader(tenant.postgres_url)) as reader:
        rows = reader.execute(SQL("SELECT pk, name FROM {} ORDER BY pk").format(people)).fetchall()
        assert rows == [("b", "New"), ("c", "Name c")]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(SQL("DELETE FROM {}").format(people))
    with redis.Redis.from_url(tenant.reader(tenant.redis_url), decode_responses=True) as cache:
        assert cache.hget(f"{tenant.name}:card:b", "name") == "New"
        assert cache.smembers(f"{tenant.name}:names") == {"b", "c"}
        with pytest.raises(redis.exceptions.NoPermissionError):
            cache.delete(f"{tenant.name}:card:b")


def nothing_else_is_allowed(tenant: Tenant, postgres_url: str, redis_url: str) -> None:
    other = f"{tenant.name}other"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE TABLE public.{other} ()".encode())
        try:
            with psycopg.connect(tenant.postgres_url, autocommit=True) as writer:
                for statement in (f"SELECT FROM public.{other}", f"CREATE TABLE public.{other}2 ()", "CREATE ROLE x"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        writer.execute(statement.encode())
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(tenant.reader(tenant.control_url))
        finally:
            admin.execute(f"DROP TABLE public.{other}".encode())
    with redis.Redis.from_url(tenant.redis_url) as writer_cache:
        for words in (
            ("GET", other),
            ("SET", f"_v{{{other}:a}}", "1"),
            ("FLUSHALL",),
            ("KEYS", "*"),
            ("CONFIG", "GET", "*"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                writer_cache.execute_command(*words)

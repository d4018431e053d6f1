"""``dynaview doctor``: everything is looked at, and each problem has something to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from dynaview.local import servers
from dynaview.projections.declaration import SinkDeclaration, SourceDeclaration
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import Danger, SinkUnavailable
from dynaview.sources.errors import AccessDenied, CredentialsMissing, TableMissing
from dynaview.sources.rights import Rights, Tried
from dynaview.views.cli import cli
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.doctor.examination import Means, examine
from dynaview.views.doctor.findings import Finding
from dynaview.views.doctor.machine import disk, memory
from tests.support.scripted import ScriptedTable
from tests.support.worker_harness import CARDS, READS, SINKS

ALL = ("DescribeTable", "Scan", "BatchGetItem", "DescribeStream", "GetShardIterator", "GetRecords")


class Hospital:
    """A declaration whose tables and stores say what a test lays ready."""

    def __init__(self, folder: Path) -> None:
        file = folder / "dynaview.yaml"
        file.write_text(f"control: sqlite:///{folder}/control.db\n{SINKS}\nviews:{CARDS}{READS}")
        self.declaration = load([file], {})
        self.table = ScriptedTable()
        self.role_refused: AccessDenied | None = None
        self.rights = Rights([Tried(f"dynamodb:{action}") for action in ALL], 0.4)
        self.sinks = {"cache": MemorySink("cache", in_place=True), "reads": MemorySink("reads")}

    def found(self, area: str, name: str) -> list[Finding]:
        return [each for each in self.findings() if (each.area, each.name) == (area, name)]

    def wrong(self, area: str, name: str) -> list[tuple[str, str]]:
        return [(each.what, each.do) for each in self.found(area, name) if not each.ok]

    def findings(self) -> list[Finding]:
        def open_sink(declared: SinkDeclaration) -> MemorySink:
            return self.sinks[declared.name]

        means = Means(lambda source: self.table, open_sink, self._rights, self._assumed)
        return list(examine(self.declaration, means))

    def _assumed(self, source: SourceDeclaration) -> str:
        if self.role_refused is not None:
            raise self.role_refused
        return "arn:aws:sts::222222222222:assumed-role/reader/dynaview"

    def _rights(self, source: SourceDeclaration) -> Rights:
        return self.rights


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def test_all_is_well_before_the_first_start_but_for_views_that_have_none(hospital: Hospital) -> None:
    findings = hospital.findings()
    assert [each for each in findings if not each.ok] == []
    assert hospital.found("control", "control")[0].what == "not made yet: dynaview run makes it"
    told = [each.what for each in hospital.found("source", "shop")]
    assert told == [
        "table shop, key pk, sk, about 0 items, a stream with NEW_AND_OLD_IMAGES", f"may do {', '.join(ALL)}",
    ]  # fmt: skip
    assert not (Path(hospital.declaration.control.removeprefix("sqlite:///"))).exists()


def test_each_missing_right_is_named(hospital: Hospital) -> None:
    resource = "arn:aws:dynamodb:eu-west-1:1:table/shop/stream/*"
    denied = AccessDenied("GetRecords on shop is not allowed", "dynamodb:GetRecords", resource)
    hospital.rights.tried[-1] = Tried("dynamodb:GetRecords", denied)
    assert hospital.wrong("source", "shop") == [
        ("dynamodb:GetRecords is not allowed", f"grant dynamodb:GetRecords on {resource}")
    ]
    assert "may do DescribeTable, Scan" in hospital.found("source", "shop")[1].what


def test_a_role_is_told_and_where_it_is_refused_nothing_else_is_asked(hospital: Hospital) -> None:
    role = "arn:aws:iam::222222222222:role/reader"
    shop = replace(hospital.declaration.sources["shop"], role_arn=role)
    hospital.declaration = replace(hospital.declaration, sources={"shop": shop})
    assert hospital.found("source", "shop")[0].what == "read as arn:aws:sts::222222222222:assumed-role/reader/dynaview"
    hospital.role_refused = AccessDenied("AssumeRole was refused", "sts:AssumeRole", role, f"grant it on {role} to me")
    (finding,) = hospital.found("source", "shop")
    assert (finding.what, finding.do, finding.ok) == ("AssumeRole was refused", f"grant it on {role} to me", False)


def test_a_table_without_a_stream_and_views_that_a_stream_cannot_serve(hospital: Hospital) -> None:
    hospital.table = ScriptedTable(streaming=False)
    ((what, do),) = hospital.wrong("source", "shop")
    assert (what.endswith("no stream"), do.startswith("dynaview run --enable-stream")) == (True, True)
    hospital.table = ScriptedTable(view_type="KEYS_ONLY")
    ((what, do),) = hospital.wrong("view", "cards")
    assert "the stream carries KEYS_ONLY" in what
    assert "dynaview.yaml:" in do


def test_a_table_that_does_not_answer_is_told_and_stores_are_still_looked_at(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise TableMissing("there is no table shop")

    monkeypatch.setattr(hospital.table, "describe", missing)
    hospital.rights = Rights([Tried("dynamodb:DescribeTable", TableMissing("there is no table shop"))])
    assert hospital.wrong("source", "shop") == [("there is no table shop", TableMissing.default_remedy)]
    assert len(hospital.found("sink", "cache")) == 1

    def nobody(source: SourceDeclaration) -> Rights:
        raise CredentialsMissing("no credentials")

    monkeypatch.setattr(hospital, "_rights", nobody)
    assert hospital.wrong("source", "shop")[-1] == ("no credentials", CredentialsMissing.default_remedy)


@pytest.mark.parametrize(("skew", "what"), [(61.0, "61 s ahead of AWS's"), (-400.0, "400 s behind AWS's")])
def test_a_clock_that_is_wrong(hospital: Hospital, skew: float, what: str) -> None:
    hospital.rights.skew = skew
    ((told, do),) = hospital.wrong("machine", "clock")
    assert told == f"this machine's clock is {what}"
    assert "NTP" in do


def test_a_store_in_danger_and_one_that_is_away(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hospital.sinks["cache"], "dangers", lambda: [Danger("it is nearly full", "make it larger")])

    def away() -> str:
        raise SinkUnavailable("reads is away")

    monkeypatch.setattr(hospital.sinks["reads"], "check", away)
    assert hospital.wrong("sink", "cache") == [("it is nearly full", "make it larger")]
    assert hospital.wrong("sink", "reads")[0][0] == "reads is away"


def test_views_in_the_control_store(hospital: Hospital) -> None:
    control = ControlStore(hospital.declaration.control)
    control.add_view("cards", "shop", "cache", "f")
    try:
        assert hospital.found("view", "cards") == [
            Finding("view", "cards", "starting", False, "dynaview status says more")
        ]
        assert hospital.wrong("view", "reads") == [("never started", "dynaview run starts it")]
    finally:
        control.close()


def test_a_control_store_that_cannot_be_used(hospital: Hospital, tmp_path: Path) -> None:
    (tmp_path / "control.db").write_text("no database at all, but text")
    ((what, do),) = hospital.wrong("control", "control")
    assert "control.db" in what
    assert "name another store with control:" in do


def test_memory_and_disk(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9999999 kB\nMemAvailable:    2097152 kB\n")
    (found,) = memory(meminfo, tmp_path)
    assert (found.ok, found.what) == (True, "2.0 GiB of memory are free")
    (tmp_path / "memory.max").write_text(f"{512 * 2**20}\n")
    (tmp_path / "memory.current").write_text(f"{412 * 2**20}\n")
    (found,) = memory(meminfo, tmp_path)
    assert (found.ok, found.what) == (False, "100 MiB of memory are free")
    assert list(memory(tmp_path / "none", tmp_path / "none")) == []
    assert disk(tmp_path / "a" / "b.db").what.endswith(f"are free in {tmp_path}")
    assert not disk(tmp_path / "b.db", least=10**18).ok


@pytest.fixture
def shop(
    dynamodb: Any,
    dynamodb_endpoint: str,
    redis_url: str,
    postgres_url: str,
    opensearch_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A declaration of the real servers, as the working folder."""
    name = f"doctor-{uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    dynamodb.put_item(TableName=name, Item={"pk": {"S": "a"}, "sk": {"S": "b"}})
    prefix = name.replace("-", "_")
    (tmp_path / "dynaview.yaml").write_text(f"""
sources: {{shop: {{table: {name}, region: {servers.REGION}, endpoint: "{dynamodb_endpoint}"}}}}
sinks:
  cache: {{redis: "{redis_url}"}}
  search: {{opensearch: "{opensearch_url}"}}
  reads: {{postgres: "{postgres_url}"}}
views:
  cards: {{source: shop, sink: cache, key: "{prefix}:{{pk}}:{{sk}}", fields: {{pk: pk, sk: sk}}}}
  found: {{source: shop, sink: search, index: "{prefix}", key: "{{pk}}:{{sk}}", fields: {{pk: pk, sk: sk}}}}
  rows: {{source: shop, sink: reads, table: "{prefix}", key: [pk, sk], fields: {{pk: pk, sk: sk}}}}
""")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**40)
    )  # however full this machine is
    yield tmp_path
    dynamodb.delete_table(TableName=name)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *words])


def test_the_command_on_real_servers(shop: Path) -> None:
    done = run()
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert f"ok    source shop: may do {', '.join(ALL)}" in done.stdout.splitlines()
    for store in ("Valkey", "OpenSearch", "PostgreSQL"):
        assert f": {store} " in done.stdout
    shown = json.loads(run("--json").stdout)
    assert all(each.keys() == {"area", "name", "ok", "what", "do"} for each in shown)
    assert {each["area"] for each in shown} == {"machine", "control", "source", "sink"}
    assert not (shop / "dynaview.db").exists()


def test_the_command_says_what_is_wrong_and_ends_with_1(shop: Path) -> None:
    file = shop / "dynaview.yaml"
    file.write_text(file.read_text().replace("table: doctor-", "table: no-doctor-"))
    done = run()
    assert done.exit_code == 1
    assert "WRONG source shop: DescribeTable on no-doctor-" in done.stdout
    assert "      do: check the table's name" in done.stdout
    assert "Traceback" not in done.output

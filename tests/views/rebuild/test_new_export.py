"""``dynaview rebuild --export``: DynamoDB is asked for an export, which is waited for and read, in real stores."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dynaview.projections.attributes import Shape, value
from dynaview.sources.errors import BadExport
from dynaview.sources.export_request import Destination
from dynaview.views.cli import cli
from dynaview.views.cli.new_export import new_export
from dynaview.views.control.records import Options
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.verify.compare import compare
from tests.sources.bucket import NAME, Bucket
from tests.sources.stub import Answer, Stub
from tests.support.exporting import Exporting
from tests.support.exports import TABLE_ARN, write_export
from tests.support.real_servers import STORES, RealServers
from tests.support.until import until

DECLARATION = """
control: "sqlite:///{folder}/control.db"
sources: {{shop: {{table: shop, region: eu-west-1, endpoint: "{url}"}}}}
sinks: {{cache: {{redis: "redis://localhost:1"}}}}
views:
  one: {{source: shop, sink: cache, type: string, key: "one:{{pk}}", fields: {{pk: pk}}}}
"""


@contextmanager
def exporting(real: RealServers, root: Path) -> Iterator[tuple[Exporting, dict[str, str]]]:
    """AWS as the command sees it: exports go into a bucket whose objects lie under `root`."""

    def write(prefix: str, arn: str) -> Path:
        pages = real.table.scan(0, 1, None, Shape(None))
        items = [{name: value(attr) for name, attr in image.items()} for page in pages for image in page.images]
        said: dict[str, Any] = {"tableArn": arn.partition("/export/")[0], "tableId": None, "exportArn": arn}
        real.delete(5)  # the export knows nothing of it, the stream does
        return write_export(root / prefix, items, export_id=arn.rpartition("/")[2], time=time.time(), **said)

    bucket = Bucket(root)
    try:
        with Exporting(real.environment["DYNAMODB_ENDPOINT"], write) as aws:
            changed = {"DYNAMODB_ENDPOINT": aws.url, "AWS_ENDPOINT_URL_S3": bucket.url}
            yield aws, {**real.environment, **changed}
    finally:
        bucket.close()


def rebuild(real: RealServers, environment: dict[str, str], *rest: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dynaview.views.cli", "rebuild", *map(real.view, STORES)]
    command += ["-f", str(real.file), "--export", f"s3://{NAME}/views/nightly/", "--json", *rest]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


def equal(real: RealServers) -> bool:
    return all(
        compare(real.declaration.views[real.view(store)], real.table, real.target(store, 2)).equal for store in STORES
    )


def test_the_table_is_exported_once_and_every_store_is_filled_from_that(
    tmp_path: Path, urls: dict[str, str], dynamodb: Any
) -> None:
    with RealServers(tmp_path, urls, dynamodb) as real, exporting(real, tmp_path / "s3") as (aws, environment):
        real.start()
        real.put(0, 40, "before")
        real.wait_counted()
        real.daemon.stop()
        real.delete(3)  # nobody follows: the stream tells of it
        aws.lose = 2  # the client asks twice by itself
        done = rebuild(real, environment, "--yes")
        assert done.returncode == 0, done.stderr
        told = {each["view"]: each for each in map(json.loads, done.stdout.splitlines())}
        for store in STORES:
            found = told[real.view(store)]
            assert (found["phase"], found["items"], found["read_units"]) == ("done", 39, 0.0)
        place = f"s3://{NAME}/views/nightly/AWSDynamoDB/01700000000000-0a1b2c3d"
        assert f"exports the table to {place}" in done.stderr
        assert len(aws.made) == 1, "the lost answer is asked for again, and not the export"
        assert {each["ClientToken"] for each in aws.asked} == set(aws.made)
        assert (aws.asked[0]["S3Bucket"], aws.asked[0]["S3Prefix"]) == (NAME, "views/nightly")
        until(lambda: equal(real), "all stores to show the table", 30)


LOST = Answer.error("InternalServerError", 500)
TABLE = Answer.of(
    {
        "Table": {
            "TableName": "shop",
            "TableArn": TABLE_ARN,
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "TableStatus": "ACTIVE",
        }
    }
)
ACCEPTED = Answer.of({"ExportDescription": {"ExportArn": f"{TABLE_ARN}/export/1-a", "ExportStatus": "IN_PROGRESS"}})
PLACE = "s3://b/p/AWSDynamoDB/1-a"


def status(word: str, **more: str) -> Answer:
    """What AWS says of an export."""
    return Answer.of({"ExportDescription": {"ExportStatus": word, **more}})


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A server of scripted answers."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = Stub()
    yield server
    server.close()


def export(stub: Stub, tmp_path: Path, pause: Callable[[float], None] = lambda _: None) -> str:
    """What the command does before it asks for a rebuild, by a clock that stands a minute on at each look."""
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(url=stub.url, folder=tmp_path))
    source = load([file], {}).sources["shop"]
    return new_export(source, "s3://b/p/", ["one", "two"], pause=pause, clock=itertools.count(0.0, 60.0).__next__)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([Answer.error("TableNotFoundException")], "cannot be exported: "),
        ([TABLE, Answer.error("PointInTimeRecoveryUnavailableException")], "aws dynamodb update-continuous-backups"),
        ([TABLE, Answer.error("ExportConflictException")], "name another prefix"),
        ([TABLE, Answer.error("AccessDeniedException")], f"grant dynamodb:ExportTableToPointInTime on {TABLE_ARN}"),
        ([TABLE, Answer.error("UnknownOperationException")], "this server makes no exports: leave --export out"),
        (
            [TABLE, ACCEPTED, status("FAILED", FailureCode="S3AccessDenied", FailureMessage="the bucket")],
            "failed: S3AccessDenied (the bucket). It takes s3:PutObject",
        ),
        ([TABLE, ACCEPTED, status("FAILED")], "failed: no reason is said. It takes"),
        ([TABLE, ACCEPTED, Answer.error("ExportNotFoundException")], "does not know the export"),
        (
            [TABLE, ACCEPTED, Answer.error("AccessDeniedException")],
            f"To read it once it is completed: dynaview rebuild one two --from-export {PLACE}",
        ),
    ],
)
def test_what_stands_against_an_export_is_told_in_one_line(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: list[Answer], told: str
) -> None:
    stub.say(*answers)
    with pytest.raises(SystemExit) as ended:
        export(stub, tmp_path)
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("dynaview: ")
    assert told in last


def test_what_passes_is_waited_for_and_said(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = [LOST, LOST]  # the client asks twice by itself
    stub.say(TABLE, *lost, TABLE, ACCEPTED, *lost, status("IN_PROGRESS"), status("COMPLETED"))
    pauses: list[float] = []
    assert export(stub, tmp_path, pauses.append) == PLACE
    assert pauses == [1.0, 1.0, 2.0, 4.0]
    tokens = [each.parameters["ClientToken"] for each in stub.asked if each.operation == "ExportTableToPointInTime"]
    assert (len(tokens), len(set(tokens))) == (3, 1)
    said = capsys.readouterr().err.splitlines()
    assert "still exported, 60 s by now (DescribeExport on " in said[1]
    assert said[-1].startswith("shop: exported (")


def test_an_export_that_is_never_answered_for_is_given_up(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.say(TABLE, LOST)
    with pytest.raises(SystemExit):
        export(stub, tmp_path)
    assert "this heals by itself" in capsys.readouterr().err


def test_whoever_interrupts_the_wait_is_told_how_to_go_on(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    stub.say(TABLE, ACCEPTED)
    with pytest.raises(SystemExit) as ended:
        export(stub, tmp_path, interrupt)
    assert ended.value.code == 130
    assert f"dynaview rebuild one two --from-export {PLACE}" in capsys.readouterr().out


def test_no_export_is_asked_for_where_no_rebuild_could_follow(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(url=stub.url, folder=tmp_path))

    def refused(*words: str) -> str:
        done = CliRunner().invoke(cli, ["rebuild", "one", "-f", str(file), "--export", "s3://b/p", *words])
        assert done.exit_code == 2
        return done.output

    with closing(ControlStore(load([file], {}).control)) as control:
        assert "one was never started" in refused()
        control.add_view("one", "shop", "cache", "print")
        control.rebuilds.request(["one"], "shop", {"one": "print"}, Options())
        assert "a rebuild of one is under way already" in refused()
        assert "leave out --cancel" in refused("--cancel")
        assert "leave out --from-export" in refused("--from-export", "x")
    assert stub.asked == []


@pytest.mark.parametrize(
    ("location", "bucket", "prefix", "place"),
    [
        ("s3://b", "b", "", "s3://b/AWSDynamoDB/1-a"),
        ("s3://b/", "b", "", "s3://b/AWSDynamoDB/1-a"),
        ("S3://b/x/y/", "b", "x/y", "s3://b/x/y/AWSDynamoDB/1-a"),
    ],
)
def test_where_an_export_will_lie(location: str, bucket: str, prefix: str, place: str) -> None:
    found = Destination.of(location)
    assert (found.bucket, found.prefix) == (bucket, prefix)
    assert found.place("arn:aws:dynamodb:eu-west-1:1:table/shop/export/1-a") == place


@pytest.mark.parametrize("location", ["s3://", "s3:///x", "/tmp/x", "https://b.s3.amazonaws.com/x"])
def test_what_is_no_place_for_an_export(location: str) -> None:
    with pytest.raises(BadExport, match="write s3://bucket/prefix"):
        Destination.of(location)

"""Exports in a bucket, through a real S3 client: the same as in a folder, and every error by its own name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from dynaview.projections.attributes import Shape
from dynaview.sources.errors import (
    AccessDenied,
    BadExport,
    CredentialsMissing,
    SourceError,
    SourceUnavailable,
    Throttled,
)
from dynaview.sources.export import LIMITS, Export, ExportLimits, open_export
from dynaview.sources.storage import SUMMARY
from tests.sources.bucket import NAME, Bucket
from tests.support.exports import EXPORT_ID, Change, data_file, write_changes, write_export
from tests.support.scripted import ScriptedTable

ALL = Shape(None)
PREFIX = "nightly/2026 ä"
FOLDER = f"{PREFIX}/AWSDynamoDB/{EXPORT_ID}"

Open = Callable[..., Export]


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    """A bucket of what lies in `tmp_path`."""
    served = Bucket(tmp_path)
    yield served
    served.close()


@pytest.fixture
def opened(bucket: Bucket, boto_session: boto3.Session) -> Open:
    """Opens an export in the bucket."""

    def opened(location: str = f"s3://{NAME}/{FOLDER}", limits: ExportLimits = LIMITS) -> Export:
        found = open_export(location, region="eu-west-1", endpoint=bucket.url, session=boto_session, limits=limits)
        found.check(ScriptedTable().describe())
        return found

    return opened


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"pk": f"p{number:03}", "sk": "s"} for number in range(count)]


def keys(pages: Any) -> list[str]:
    return [key["pk"].S for page in pages for key in page.keys]


def test_a_scan_is_the_same_as_of_a_folder(bucket: Bucket, opened: Open) -> None:
    write_export(bucket.root / PREFIX, numbered(50), files=7)  # more than one answer lists
    for location in (f"s3://{NAME}/{FOLDER}", f"s3://{NAME}/{FOLDER}/", f"S3://{NAME}/{FOLDER}/{SUMMARY}"):
        found = opened(location)
        assert found.place == f"s3://{NAME}/{FOLDER}"
        pages = [page for segment in range(3) for page in found.scan(segment, 3, None, ALL)]
        assert sorted(keys(pages)) == [item["pk"] for item in numbered(50)]


def test_an_export_at_the_top_of_its_bucket(bucket: Bucket, opened: Open) -> None:
    folder = write_export(bucket.root, numbered(5))
    for file in folder.rglob("*"):
        if file.is_file():
            (bucket.root / file.relative_to(folder)).parent.mkdir(exist_ok=True)
            file.rename(bucket.root / file.relative_to(folder))
    found = opened(f"s3://{NAME}")
    assert len(keys(found.scan(0, 1, None, ALL))) == 5


def test_incremental_exports_share_their_data(bucket: Bucket, opened: Open) -> None:
    write_changes(bucket.root / PREFIX, [Change({"pk": "p", "sk": "s"})])
    assert sum(len(page.changes) for page in opened().changes(0, 1, None, ALL)) == 1


def test_the_prefix_above_names_the_exports_in_it(bucket: Bucket, opened: Open) -> None:
    write_export(bucket.root / PREFIX, [])
    with pytest.raises(BadExport, match=f"no DynamoDB export right here.*name it: s3://{NAME}/{FOLDER}"):
        opened(f"s3://{NAME}/{PREFIX}")


@pytest.mark.parametrize("location", [f"s3://{NAME}/nowhere", f"s3://{NAME}"])
def test_nothing_there(opened: Open, location: str) -> None:
    with pytest.raises(BadExport, match="no DynamoDB export right here"):
        opened(location)


def test_data_files_that_are_missing(bucket: Bucket, opened: Open) -> None:
    folder = write_export(bucket.root / PREFIX, numbered(9))
    data_file(folder).unlink()
    with pytest.raises(BadExport, match=f"1 of 3 data files.*copy them to s3://{NAME}/{FOLDER}/data"):
        opened()


def test_a_bucket_that_is_missing(opened: Open) -> None:
    with pytest.raises(BadExport, match=r"s3://other/x: is not there \(NoSuchBucket\)"):
        opened("s3://other/x")


@pytest.mark.parametrize(
    ("key", "refused", "kind", "words"),
    [
        ("list", (403, "AccessDenied"), AccessDenied, f"grant s3:ListBucket on arn:aws:s3:::{NAME}"),
        (f"{FOLDER}/{SUMMARY}", (403, "AccessDenied"), AccessDenied, f"grant s3:GetObject on arn:aws:s3:::{NAME}/"),
        ("list", (403, "InvalidAccessKeyId"), CredentialsMissing, "credentials"),
        ("list", (400, "ExpiredToken"), CredentialsMissing, "credentials"),
        ("list", (403, "RequestTimeTooSkewed"), CredentialsMissing, "clock"),
        (f"{FOLDER}/{SUMMARY}", (503, "SlowDown"), Throttled, "slows down"),
        (f"{FOLDER}/{SUMMARY}", (500, "InternalError"), SourceUnavailable, "tried again"),
        (f"{FOLDER}/{SUMMARY}", (403, "InvalidObjectState"), BadExport, "archived.*restore-object"),
        (f"{FOLDER}/{SUMMARY}", (404, "NoSuchKey"), BadExport, "is not there"),
    ],
)
def test_what_s3_refuses(
    bucket: Bucket, opened: Open, key: str, refused: tuple[int, str], kind: type[SourceError], words: str
) -> None:
    write_export(bucket.root / PREFIX, numbered(3))
    bucket.refuse[key] = refused
    with pytest.raises(kind, match=words) as error:
        opened(limits=ExportLimits(attempts=1))
    assert type(error.value) is kind
    assert bucket.asked.count(key) == 1
    assert f"s3://{NAME}/{FOLDER}" in str(error.value)


def test_nobody_answers(bucket: Bucket, opened: Open) -> None:
    bucket.close()
    with pytest.raises(SourceUnavailable, match="got no answer"):
        opened()


def test_a_body_cut_short_is_read_again(bucket: Bucket, opened: Open) -> None:
    folder = write_export(bucket.root / PREFIX, numbered(30), files=3)
    second = data_file(folder, 1)
    for length in (0, 1, 50, second.stat().st_size - 1):
        found = opened(limits=ExportLimits(page_items=4))
        bucket.cut[f"{FOLDER}/data/{second.name}"] = length
        pages: list[Any] = []
        with pytest.raises(SourceUnavailable):
            pages.extend(found.scan(0, 1, None, ALL))  # what came before the error stays in the list
        assert pages
        pages.extend(found.scan(0, 1, pages[-1].position, ALL))
        assert sorted(keys(pages)) == [item["pk"] for item in numbered(30)]


def test_no_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CredentialsMissing):
        open_export(f"s3://{NAME}/x", region="eu-west-1", endpoint=bucket.url, session=boto3.Session())
    assert bucket.asked == []

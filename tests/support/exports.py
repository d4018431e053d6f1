"""Exports as DynamoDB writes them, from their documentation ("DynamoDB table export output format").

Nothing of ours encodes them, so what reads them is tested against the format and not against itself.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

TABLE = "shop"
TABLE_ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/shop"
EXPORT_ID = "01700000000000-0a1b2c3d"
TIME = 1_700_000_000.0


@dataclass(frozen=True)
class Change:
    """One line of an incremental export."""

    key: Mapping[str, Any]
    new: Mapping[str, Any] | None = None
    old: Mapping[str, Any] | None = None
    micros: int = 1_700_000_100_000_000


def wire(plain: Any) -> dict[str, Any]:
    """One value in DynamoDB JSON."""
    match plain:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": plain}
        case str():
            return {"S": plain}
        case int() | Decimal():
            return {"N": str(plain)}
        case bytes():
            return {"B": base64.b64encode(plain).decode()}
        case list():
            return {"L": [wire(each) for each in plain]}
        case dict():
            return {"M": {name: wire(each) for name, each in plain.items()}}
        case frozenset():
            members = [next(iter(wire(each).items())) for each in plain]  # in no order, as sets are
            return {f"{members[0][0]}S": [text for _, text in members]}
    raise TypeError(type(plain).__name__)


def image(item: Mapping[str, Any]) -> dict[str, Any]:
    """A whole item in DynamoDB JSON."""
    return {name: wire(plain) for name, plain in item.items()}


def dump(line: Any) -> bytes:
    """One line."""
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode()


def write_export(
    root: Path, items: Sequence[Mapping[str, Any]], *, files: int = 3, time: float = TIME, **summary: Any
) -> Path:
    """A full export under `root`; answers its folder. `summary` replaces or (None) removes what its manifest says."""
    said = {"exportTime": _moment(time), "exportType": "FULL_EXPORT"} | summary
    return write_lines(root, [dump({"Item": image(item)}) for item in items], files=files, **said)


def write_changes(
    root: Path,
    changes: Sequence[Change],
    *,
    files: int = 3,
    begin: float = TIME,
    end: float = TIME + 3600,
    view: str = "NEW_AND_OLD_IMAGES",
    export_id: str = EXPORT_ID,
    **summary: Any,
) -> Path:
    """An incremental export under `root`, its data files in the folder that all of them share."""
    found = []
    for change in changes:
        line: dict[str, Any] = {"Metadata": {"WriteTimestampMicros": {"N": str(change.micros)}}}
        line["Keys"] = image(change.key)
        if change.old is not None and view == "NEW_AND_OLD_IMAGES":
            line["OldImage"] = image(change.old)
        if change.new is not None:
            line["NewImage"] = image(change.new)
        found.append(dump(line))
    said = {
        "version": "2023-08-01",
        "exportFromTime": _moment(begin),
        "exportToTime": _moment(end),
        "outputView": view,
        "exportType": "INCREMENTAL_EXPORT",
    }
    return write_lines(root, found, files=files, export_id=export_id, shared=True, **said | summary)


def write_lines(
    root: Path,
    lines: Sequence[bytes],
    *,
    files: int = 3,
    export_id: str = EXPORT_ID,
    shared: bool = False,
    **summary: Any,
) -> Path:
    """An export of these lines, dealt out to `files` data files."""
    top = root / "AWSDynamoDB"
    folder = top / export_id
    data = top / "data" if shared else folder / "data"
    folder.mkdir(parents=True)
    data.mkdir(exist_ok=True)
    (folder / "_started").touch()
    listed = []
    for index in range(files):
        share = lines[index::files]
        name = hashlib.sha256(f"{export_id}{index}".encode()).hexdigest()[:26] + ".json.gz"
        packed = gzip.compress(b"".join(line + b"\n" for line in share))
        (data / name).write_bytes(packed)
        key = f"AWSDynamoDB/{'data' if shared else f'{export_id}/data'}/{name}"
        listed.append(file_line(key, sum(1 for line in share if line.strip()), packed))
    write_list(folder, listed)
    said: dict[str, Any] = {
        "version": "2020-06-30",
        "exportArn": f"{TABLE_ARN}/export/{export_id}",
        "startTime": _moment(TIME),
        "endTime": _moment(TIME + 300),
        "tableArn": TABLE_ARN,
        "tableId": "table-0",
        "s3Bucket": "exports",
        "s3Prefix": "nightly",
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": None,
        "manifestFilesS3Key": f"nightly/AWSDynamoDB/{export_id}/manifest-files.json",
        "billedSizeBytes": 0,
        "itemCount": sum(each["itemCount"] for each in listed),
        "outputFormat": "DYNAMODB_JSON",
    }
    (folder / "manifest-summary.json").write_bytes(dump({k: v for k, v in (said | summary).items() if v is not None}))
    return folder


def file_line(key: str, items: int, packed: bytes) -> dict[str, Any]:
    """What the manifest says of a data file."""
    digest = hashlib.md5(packed, usedforsecurity=False)
    return {
        "itemCount": items,
        "md5Checksum": base64.b64encode(digest.digest()).decode(),
        "etag": f"{digest.hexdigest()}-1",
        "dataFileS3Key": key,
    }


def listing(folder: Path) -> list[dict[str, Any]]:
    """The files manifest of an export."""
    return [json.loads(line) for line in (folder / "manifest-files.json").read_text().splitlines()]


def write_list(folder: Path, listed: Sequence[Mapping[str, Any]]) -> None:
    """Put another files manifest into an export."""
    (folder / "manifest-files.json").write_bytes(b"".join(dump(each) + b"\n" for each in listed))


def data_file(folder: Path, index: int = 0) -> Path:
    """One of a full export's data files, in the order of its manifest."""
    return folder / "data" / str(listing(folder)[index]["dataFileS3Key"]).rpartition("/")[2]


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

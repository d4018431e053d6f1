"""What an export says of itself: its two manifests, read and checked.

The format is that of "DynamoDB table export output format" in the DynamoDB developer guide::

    PREFIX/AWSDynamoDB/EXPORT-ID/manifest-summary.json   of which table and time, how many items
    PREFIX/AWSDynamoDB/EXPORT-ID/manifest-files.json     a line for each data file, with its MD5 and number of items
    PREFIX/AWSDynamoDB/EXPORT-ID/data/NAME.json.gz       full exports; incremental ones share PREFIX/AWSDynamoDB/data

Data files are looked for by their names in both folders, as an export may have been copied anywhere since.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

from dynaview.sources.errors import BadExport
from dynaview.sources.storage import SUMMARY, Storage

Kind: TypeAlias = Literal["full", "incremental"]
ExportView: TypeAlias = Literal["NEW_IMAGE", "NEW_AND_OLD_IMAGES"]

FILES = "manifest-files.json"
_STARTED = "_started"
_FOLDERS = ("data", "../data")
_TABLE_ARN = re.compile(r"arn:[a-z0-9-]+:dynamodb:[a-z0-9-]*:\d*:table/(?P<table>[A-Za-z0-9_.-]+)")
_SHOWN = 3
"""Names in a message."""


class _Summary(msgspec.Struct):
    table_arn: str = msgspec.field(name="tableArn")
    items: int = msgspec.field(name="itemCount")
    format: str = msgspec.field(name="outputFormat")
    export_arn: str = msgspec.field(name="exportArn", default="")
    table_id: str | None = msgspec.field(name="tableId", default=None)
    ended: datetime | None = msgspec.field(name="endTime", default=None)
    time: datetime | None = msgspec.field(name="exportTime", default=None)
    begin: datetime | None = msgspec.field(name="exportFromTime", default=None)
    end: datetime | None = msgspec.field(name="exportToTime", default=None)
    type: str | None = msgspec.field(name="exportType", default=None)
    view: Literal["NEW_IMAGE", "NEW_IMAGES", "NEW_AND_OLD_IMAGES"] | None = msgspec.field(
        name="outputView", default=None
    )  # the documentation uses both spellings of the first
    filter: dict[str, msgspec.Raw] | None = msgspec.field(name="filterSpecification", default=None)


class _File(msgspec.Struct):
    key: str = msgspec.field(name="dataFileS3Key")
    items: int = msgspec.field(name="itemCount")
    md5: str | None = msgspec.field(name="md5Checksum", default=None)


_summary = msgspec.json.Decoder(_Summary)
_files = msgspec.json.Decoder(_File)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file."""

    name: str
    """Where it lies, relative to the export's folder: ``data/NAME.json.gz``."""
    items: int
    md5: str | None
    """Of its compressed bytes, in base64."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export holds. Times are seconds since 1970."""

    kind: Kind
    arn: str
    """The export's own; empty where its manifest does not say."""
    table_arn: str
    table_id: str | None
    table: str
    begin: float
    """From when on an incremental export tells of changes (inclusive). Of a full one it is the same as `end`."""
    end: float
    """The moment whose state a full export holds, and up to which an incremental one brings it (exclusive)."""
    view: ExportView
    """What an incremental export tells of a change."""
    items: int
    files: tuple[DataFile, ...]


def read_manifest(storage: Storage) -> Manifest:
    """The manifest of the export in this folder, whose data files are all there. Raises `BadExport`."""
    place = storage.place(SUMMARY)
    names = storage.names()
    if SUMMARY not in names:
        raise _no_export(storage, names)
    try:
        summary = _summary.decode(storage.read(SUMMARY))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadExport(place, f"is no summary of a DynamoDB export ({error})") from error
    table = _TABLE_ARN.fullmatch(summary.table_arn)
    if table is None:
        raise BadExport(place, "names no DynamoDB table")
    if summary.format != "DYNAMODB_JSON":
        written = (
            "Amazon Ion" if summary.format == "ION" else f"a format that dynaview does not know ({summary.format})"
        )
        raise BadExport(
            place,
            f"the export is written in {written}",
            "export the table once more with --export-format DYNAMODB_JSON",
        )
    if summary.filter:
        raise filtered(place)
    if summary.ended is None:
        raise BadExport(place, "the export has not completed", _WAIT)
    kind, begin, end = _period(place, summary)
    return Manifest(
        kind=kind,
        arn=summary.export_arn,
        table_arn=summary.table_arn,
        table_id=summary.table_id,
        table=table["table"],
        begin=begin,
        end=end,
        view="NEW_AND_OLD_IMAGES" if summary.view == "NEW_AND_OLD_IMAGES" else "NEW_IMAGE",
        items=summary.items,
        files=_data_files(storage, summary.items),
    )


def filtered(place: str) -> BadExport:
    """An export that leaves out items or attributes would make views that lack them."""
    return BadExport(
        place, "the export was filtered: it does not hold the whole table", "export it once more without a filter"
    )


_WAIT = "wait until `aws dynamodb describe-export` says COMPLETED; a FAILED one has to be made again"


def _no_export(storage: Storage, names: frozenset[str]) -> BadExport:
    if _STARTED in names or FILES in names:
        return BadExport(storage.place(), f"the export has not completed: there is no {SUMMARY}", _WAIT)
    inside = [name for name in sorted(names) if name == "AWSDynamoDB" or "-" in name]
    folders = [f"{name}/{each}" for name in inside if name == "AWSDynamoDB" for each in sorted(storage.names(name))]
    found = [folder for folder in (folders + inside)[:50] if SUMMARY in storage.names(folder)]
    remedy = f"name it: {_some([storage.place(folder) for folder in found])}" if found else None
    return BadExport(
        storage.place(),
        f"there is no DynamoDB export right here: no {SUMMARY}",
        remedy or f"name the folder of the export itself (…/AWSDynamoDB/export-id), which holds {SUMMARY}",
    )


def _period(place: str, summary: _Summary) -> tuple[Kind, float, float]:
    match summary.type:
        case None | "FULL_EXPORT" if summary.time is not None:
            at = _seconds(summary.time)
            return "full", at, at
        case "INCREMENTAL_EXPORT" if summary.begin is not None and summary.end is not None:
            return "incremental", _seconds(summary.begin), _seconds(summary.end)
        case None | "FULL_EXPORT" | "INCREMENTAL_EXPORT":
            raise BadExport(place, "does not say of which time the export is")
    raise BadExport(place, f"an export of a type that dynaview does not know: {summary.type[:40]}")


def _data_files(storage: Storage, items: int) -> tuple[DataFile, ...]:
    place = storage.place(FILES)
    try:
        files = _files.decode_lines(storage.read(FILES))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadExport(place, f"is no list of data files ({error})") from error
    listed = sum(file.items for file in files)
    if listed != items:
        raise BadExport(place, f"lists files of {listed} items, but the export has {items}: one of them is cut short")
    names = [file.key.rpartition("/")[2] for file in files]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise BadExport(place, f"lists the same file twice: {_some(twice)}")
    places = _places(storage, names)
    if missing := [name for name in names if name not in places]:
        raise BadExport(
            storage.place(_FOLDERS[0]),
            f"{len(missing)} of {len(names)} data files of the export are missing: {_some(missing)}",
            f"copy them to {storage.place(_FOLDERS[0])}",
        )
    return tuple(DataFile(places[name], file.items, file.md5) for name, file in zip(names, files, strict=True))


def _places(storage: Storage, names: Iterable[str]) -> dict[str, str]:
    """Where each data file lies, those that are found."""
    left = set(names)
    places: dict[str, str] = {}
    for folder in _FOLDERS:
        if not left:
            break
        found = left & storage.names(folder)
        places |= {name: f"{folder}/{name}" for name in found}
        left -= found
    return places


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _some(names: list[str]) -> str:
    """The first few of them."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")

"""An export to S3 that is asked of DynamoDB, whole and as the table is now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import msgspec

from dynaview.sources.errors import BadExport, ExportUnknown, SourceRefused
from dynaview.sources.session import Session, decode

_SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an export is to lie."""

    bucket: str
    prefix: str
    """Without a slash at its end; may be empty."""

    @classmethod
    def of(cls, location: str) -> Self:
        """From ``s3://bucket/prefix``. Raises `BadExport`."""
        if not location.lower().startswith(_SCHEME):
            raise BadExport(location, "no S3 URL", "DynamoDB exports to S3 only: write s3://bucket/prefix")
        bucket, _, prefix = location[len(_SCHEME) :].partition("/")
        if not bucket:
            raise BadExport(location, "names no bucket", "write s3://bucket/prefix")
        return cls(bucket, prefix.strip("/"))

    def place(self, arn: str) -> str:
        """Where the export of this ARN will lie."""
        folder = f"AWSDynamoDB/{arn.rpartition('/')[2]}"
        return f"{_SCHEME}{self.bucket}/{self.prefix}/{folder}" if self.prefix else f"{_SCHEME}{self.bucket}/{folder}"


@dataclass(frozen=True, slots=True)
class RequestedExport:
    """An export that DynamoDB has accepted; whether it is there yet tells `TableReader.exported`."""

    arn: str
    place: str


class _Described(msgspec.Struct):
    arn: str = msgspec.field(name="ExportArn")


class _Answer(msgspec.Struct):
    export: _Described = msgspec.field(name="ExportDescription")


_answer = msgspec.json.Decoder(_Answer)


def request_export(session: Session, table_arn: str, destination: Destination, token: str) -> RequestedExport:
    """Ask for a full export. The same `token` asks for the same one again, so that a lost answer makes no second one.
    Needs dynamodb:ExportTableToPointInTime; AWS writes with the asker's right s3:PutObject. Raises `SourceError`."""
    parameters = {
        "TableArn": table_arn,
        "S3Bucket": destination.bucket,
        "ExportFormat": "DYNAMODB_JSON",
        "ExportType": "FULL_EXPORT",
        "ClientToken": token,
    }
    if destination.prefix:
        parameters["S3Prefix"] = destination.prefix
    try:
        body = session.ask("ExportTableToPointInTime", table_arn, parameters)
    except ExportUnknown as error:
        raise SourceRefused(
            f"{table_arn}: this server makes no exports", "leave --export out: the rebuild then scans the table"
        ) from error
    arn = decode(_answer, "ExportTableToPointInTime", table_arn, body).export.arn
    return RequestedExport(arn, destination.place(arn))

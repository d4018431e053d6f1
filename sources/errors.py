"""What can go wrong with a source, as own types: the one place where AWS's error codes are read.

    SourceError
    ├── SourceUnavailable    network, time-outs, 5xx: heals by itself, try again
    ├── Throttled            AWS asks to slow down: try again later, never give up
    ├── BadPage              an answer cut short or broken in transit: ask for it again
    ├── IteratorExpired      the iterator is older than 15 minutes: open one after the last record that was read
    ├── Trimmed              records were removed before they were read: a gap
    ├── StreamGone           the stream or the shard does not exist (any more): a gap, or an expired shard
    ├── StreamDisabled       the table has no stream that is switched on
    ├── TableMissing         the table does not exist (in this account and region)
    ├── CredentialsMissing   no credentials, or AWS does not accept them
    ├── AccessDenied         the credentials lack an IAM action, which it names
    ├── BadExport            an export to S3 that cannot be used: none, another table's, not whole, not completed
    └── SourceRefused        AWS refuses the request as such and always will
        └── ExportUnknown    AWS does not know the export (any more)

Each says what happened and, in `remedy`, what fixes it. None carries row values or secrets.
"""

from __future__ import annotations

from typing import ClassVar


class SourceError(Exception):
    """A source did not answer with what was asked for."""

    default_remedy: ClassVar[str] = ""

    def __init__(self, what: str, remedy: str | None = None) -> None:
        self.what = what
        self.remedy = self.default_remedy if remedy is None else remedy
        super().__init__(f"{what}: {self.remedy}" if self.remedy else what)


class SourceUnavailable(SourceError):
    """The source cannot be reached, does not answer in time or fails inside (5xx)."""

    default_remedy = "this heals by itself and is tried again; check the network and the endpoint if it lasts"


class Throttled(SourceError):
    """More requests than AWS allows (two readers a shard, ten DescribeStream a second, the table's capacity)."""

    default_remedy = "dynaview slows down and goes on; look for other readers of this stream if it lasts"


class BadPage(SourceError):
    """A body that does not fit its checksum, is cut short or is not what the operation answers with."""

    default_remedy = "the page is asked for again"


class IteratorExpired(SourceError):
    """A shard iterator lives 15 minutes."""

    default_remedy = "a new one is opened after the last record that was read"


class Trimmed(SourceError):
    """DynamoDB keeps stream records for 24 hours; the ones asked for are gone."""

    default_remedy = "the view has to be rebuilt from the table"


class StreamGone(SourceError):
    """The stream or the shard does not exist: switched off more than 24 hours ago, re-created, or expired."""

    default_remedy = "the view has to be rebuilt from the table when records of it were still unread"


class StreamDisabled(SourceError):
    """The table has no stream, or it is switched off."""

    default_remedy = "switch it on with `dynaview run --enable-stream`"


class TableMissing(SourceError):
    """There is no such table in this account and region."""

    default_remedy = "check the table's name, the region, the account and the endpoint"


class CredentialsMissing(SourceError):
    """boto3 found no credentials, could not refresh them, or AWS does not accept them."""

    default_remedy = (
        "give credentials the way the AWS tools take them: environment (AWS_ACCESS_KEY_ID …, AWS_PROFILE), "
        "~/.aws, or the role of this machine"
    )


class AccessDenied(SourceError):
    """The credentials lack `action`, the exact IAM action to grant, such as ``dynamodb:GetRecords``."""

    def __init__(self, what: str, action: str, resource: str, remedy: str | None = None) -> None:
        self.action = action
        self.resource = resource
        super().__init__(what, f"grant {action} on {resource}" if remedy is None else remedy)


class SourceRefused(SourceError):
    """AWS refuses the request as such: a wrong name, region or ARN, or a limit that does not pass."""

    default_remedy = "check the declaration's source: table, region and endpoint"


class BadExport(SourceError):
    """An export to S3 that cannot be used as it is. `place` is the folder, S3 URL or file that is at fault."""

    default_remedy = (
        "copy the export once more, whole, or make another with `aws dynamodb export-table-to-point-in-time`"
    )

    def __init__(self, place: str, what: str, remedy: str | None = None) -> None:
        self.place = place
        super().__init__(f"{place}: {what}", remedy)


class ExportUnknown(SourceRefused):
    """AWS knows nothing of an export: it forgets them after 90 days, and DynamoDB Local makes none."""

    default_remedy = "make sure that it is a completed export of the whole table"

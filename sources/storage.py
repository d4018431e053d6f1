"""Where an export lies: a local folder, or a bucket and prefix of S3.

Both answer the same three questions: what is in a folder, what a small file holds, and a large one piece by piece.
Names are relative to the export's folder, with ``/`` between; ``../data`` is the folder beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import boto3
import botocore.exceptions

from dynaview.sources.errors import BadExport, SourceError
from dynaview.sources.session import client_config, make_client, refusal, translated

PIECE = 256 * 1024
"""Bytes read at once."""

SUMMARY = "manifest-summary.json"

_SCHEME = "s3://"
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404"})


class Storage(Protocol):
    """A folder. Every method raises `BadExport` for what is not there or cannot be read, and where it lies in S3 also
    `SourceUnavailable`, `Throttled`, `AccessDenied` and `CredentialsMissing`. Safe to use from several threads."""

    def place(self, name: str = "") -> str:
        """Where `name` lies, for messages."""

    def names(self, folder: str = "") -> frozenset[str]:
        """What lies directly in `folder`, folders included; empty where there is no such folder."""

    def read(self, name: str) -> bytes:
        """A whole file."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file, up to `PIECE` bytes at a time."""


def open_storage(
    location: str,
    *,
    region: str | None = None,
    endpoint: str | None = None,
    session: boto3.Session | None = None,
    attempts: int = 2,
) -> Storage:
    """The folder that `location` names: a path, or ``s3://bucket/prefix``; its summary may be named as well. No I/O.

    `region`, `endpoint` and `attempts` (requests before an error is raised) are for S3, where they are not the usual
    ones. Raises `BadExport` for a URL that is none of S3, `CredentialsMissing`, `SourceRefused`.
    """
    location = location.removesuffix(SUMMARY)
    if location.lower().startswith(_SCHEME):
        bucket, _, prefix = location[len(_SCHEME) :].partition("/")
        if not bucket:
            raise BadExport(location, "names no bucket", "write s3://bucket/prefix/AWSDynamoDB/export-id")
        client = make_client("s3", region, endpoint, client_config(attempts=attempts), session)
        return Bucket(client, bucket, prefix.rstrip("/"))
    if "://" in location:
        raise BadExport(location, "neither a folder nor an S3 URL", "write a path, or s3://bucket/prefix")
    return Folder(Path(location or "."))


class Folder:
    """A local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, name: str = "") -> str:
        """See `Storage.place`."""
        return os.path.normpath(self._root / name)

    def names(self, folder: str = "") -> frozenset[str]:
        """See `Storage.names`."""
        try:
            return frozenset(path.name for path in (self._root / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except OSError as error:
            raise self._bad(folder, error) from error

    def read(self, name: str) -> bytes:
        """See `Storage.read`."""
        return b"".join(self.pieces(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        """See `Storage.pieces`."""
        try:
            with (self._root / name).open("rb", buffering=0) as file:
                while piece := file.read(PIECE):
                    yield piece
        except OSError as error:
            raise self._bad(name, error) from error

    def _bad(self, name: str, error: OSError) -> BadExport:
        return BadExport(self.place(name), f"cannot be read ({error.strerror or type(error).__name__})")


class Bucket:
    """A prefix in an S3 bucket. Needs s3:GetObject on its objects and s3:ListBucket on the bucket, without which S3
    does not tell a missing file from a forbidden one."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def place(self, name: str = "") -> str:
        """See `Storage.place`."""
        return f"{_SCHEME}{self._bucket}/{self._key(name)}"

    def names(self, folder: str = "") -> frozenset[str]:
        """See `Storage.names`."""
        key = self._key(folder)
        prefix = f"{key}/" if key else ""
        found: set[str] = set()
        with self._asked("ListObjectsV2", folder, "s3:ListBucket", self._bucket):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                found.update(each["Key"][len(prefix) :] for each in page.get("Contents", []))
                found.update(each["Prefix"][len(prefix) : -1] for each in page.get("CommonPrefixes", []))
        return frozenset(found - {""})

    def read(self, name: str) -> bytes:
        """See `Storage.read`."""
        return b"".join(self.pieces(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        """See `Storage.pieces`. A body that ends before its length says so is `SourceUnavailable`, not an end."""
        key = self._key(name)

        def asked() -> Any:
            return self._asked("GetObject", name, "s3:GetObject", f"{self._bucket}/{key}")

        with asked():
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
        try:
            while True:
                with asked():
                    piece: bytes = body.read(PIECE)
                if not piece:
                    return
                yield piece
        finally:
            body.close()

    def _key(self, name: str) -> str:
        prefix = self._prefix
        while name.startswith("../"):  # keys are no paths: S3 knows nothing of folders above
            prefix, name = prefix.rpartition("/")[0], name[3:]
        return f"{prefix}/{name}" if prefix and name else prefix or name

    @contextmanager
    def _asked(self, operation: str, name: str, action: str, resource: str) -> Iterator[None]:
        place = self.place(name)

        def refused(error: botocore.exceptions.ClientError) -> SourceError:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _MISSING:
                return BadExport(place, f"is not there ({code})")
            if code == "InvalidObjectState":
                return BadExport(place, "is archived", "restore it from its archive first: aws s3api restore-object")
            return refusal(operation, place, error, action, f"arn:aws:s3:::{resource}")

        with translated(operation, place, refused):
            yield

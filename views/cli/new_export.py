"""An export that ``dynaview rebuild --export`` has DynamoDB make: asked for once, and waited for."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import NoReturn

import click

from dynaview.projections.declaration import SourceDeclaration
from dynaview.sources.errors import BadPage, SourceError, SourceUnavailable, Throttled
from dynaview.sources.export_request import Destination, RequestedExport
from dynaview.sources.table import DynamoTable, open_table

FIRST, LONGEST = 1.0, 15.0
"""Seconds between two looks at an export: the first, and the longest."""

TRIES = 6
"""How often an export is asked for before somebody is told that it cannot be."""

TELL = 60.0
"""Seconds between two lines that say that it is still waited for."""

_PASSING = (BadPage, SourceUnavailable, Throttled)


def new_export(
    source: SourceDeclaration,
    location: str,
    views: Sequence[str],
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Have the table of a source exported to `location` (``s3://bucket/prefix``), wait for the end, and answer where
    the export lies. What cannot be ends the command with one line and exit code 2; interrupted it ends with 130."""
    try:
        destination = Destination.of(location)
        table = open_table(source)
        asked = _ask(table, destination, pause)
    except SourceError as error:
        _end(f"{source.table} cannot be exported: {error}")
    hint = f"dynaview rebuild {' '.join(views)} --from-export {asked.place}"
    click.echo(f"{source.table}: DynamoDB exports the table to {asked.place}; that takes minutes", err=True)
    try:
        _wait(source, table, asked, hint, pause, clock)
    except KeyboardInterrupt:
        click.echo(
            f"\nnothing was begun. DynamoDB goes on with the export, which nobody can cancel; to read it once it is "
            f"completed: {hint}"
        )
        sys.exit(130)
    return asked.place


def _ask(table: DynamoTable, destination: Destination, pause: Callable[[float], None]) -> RequestedExport:
    """The same token each time: where only the answer was lost, no second export is made (or billed)."""
    token = uuid.uuid4().hex
    for number in range(1, TRIES):
        try:
            return table.export(destination, token)
        except _PASSING:
            pause(_wait_before(number))
    return table.export(destination, token)


def _wait(
    source: SourceDeclaration,
    table: DynamoTable,
    asked: RequestedExport,
    hint: str,
    pause: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    began = told = clock()
    looks = 0
    while True:
        looks += 1
        pause(_wait_before(looks))
        trouble = ""
        try:
            found = table.exported(asked.arn)
        except _PASSING as error:
            trouble = f" ({error})"
        except SourceError as error:
            _end(f"how far the export is cannot be asked: {error}. To read it once it is completed: {hint}")
        else:
            if found is None:
                _end(f"DynamoDB does not know the export {asked.arn} any more: ask for another one")
            if found.status == "COMPLETED":
                click.echo(f"{source.table}: exported ({clock() - began:.0f} s)", err=True)
                return
            if found.status == "FAILED":
                _end(
                    f"the export of {source.table} to {asked.place} failed: {found.failure or 'no reason is said'}. It "
                    "takes s3:PutObject and s3:AbortMultipartUpload on the bucket, and kms:GenerateDataKey on a key of "
                    "your own; nothing was begun"
                )
        if (now := clock()) - told >= TELL:
            told = now
            click.echo(f"{source.table}: still exported, {told - began:.0f} s by now{trouble}", err=True)


def _wait_before(number: int) -> float:
    return min(FIRST * 2.0 ** (number - 1), LONGEST)


def _end(text: str) -> NoReturn:
    click.echo(f"dynaview: {text}", err=True)
    sys.exit(2)

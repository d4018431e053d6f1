"""``dynaview trace``: what became of one item, in every view."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from dynaview.projections.canonical import json_encoder
from dynaview.projections.changes import STREAM_SPAN
from dynaview.sources.errors import SourceError
from dynaview.views.cli.beside import printable
from dynaview.views.cli.options import files_option, found_control, load_files
from dynaview.views.control.errors import ControlError
from dynaview.views.dead_letters import key_text
from dynaview.views.preview.view_preview import plain_item
from dynaview.views.retry import Retrier
from dynaview.views.trace import service
from dynaview.views.trace.passing import Passed
from dynaview.views.trace.records import RowTrace, Standing, ViewTrace
from dynaview.views.trace.service import Passing, Trace, TraceError, encodable, trace


@click.command("trace")
@click.argument("views", nargs=-1)
@files_option
@click.option("--key", required=True, metavar="JSON", help="The item's key.")
@click.option("--values", is_flag=True, help="Also show what is in the item and in the rows.")
@click.option("--deep", is_flag=True, help="Look through all rows of the views for those of the item (may take long).")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    metavar="S",
    help="Seconds that a view gets to catch up where rows differ.",
)
@click.option("--follow", is_flag=True, help="Then show its changes as they pass, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, see docs/operations.md.")
def command(
    views: tuple[str, ...],
    files: tuple[Path, ...],
    key: str,
    values: bool,
    deep: bool,
    timeout: float,
    follow: bool,
    as_json: bool,
) -> None:
    """Follow one item through VIEWS (default: all): what it is now, which rows it should give, and what stores hold.

    For each view it says whether the rows are right, and if not why: filtered, a dead letter, still behind, or wrong,
    with the command that fixes it. Nothing is changed. --follow goes on with the item's changes as its stream brings
    them, and what each asks of the views.

    \b
    Examples:
      dynaview trace --key '{"pk": "CUSTOMER#c1", "sk": "ORDER#o1"}'
      dynaview trace orders --key '{"pk": "CUSTOMER#c1", "sk": "PROFILE"}' --json
      dynaview trace --key '{"pk": "CUSTOMER#c1", "sk": "ORDER#o1"}' --follow

    Exit code 0: every view is right. 1: one is not. 2: asked in a wrong way, or something could not be read. 130: ended
    by Ctrl-C.
    """  # fmt: skip
    declaration = load_files(files)
    for name in views:
        if name not in declaration.views:
            raise click.UsageError(f"no view is called {name}; there are {', '.join(sorted(declaration.views))}")
    names = list(dict.fromkeys(views)) or list(declaration.views)
    try:
        with found_control(declaration, 2) as control:
            found = trace(declaration, control, key, names, timeout=timeout, deep=deep)
            if as_json:
                click.echo(msgspec.json.format(found.json(values), indent=2).decode())
            else:
                for line in lines(found, values):
                    click.echo(line)
            if follow:
                _follow(
                    service.follow(
                        declaration, control, key, names, Retrier(subject="trace", on_error=_notice, seconds=60.0)
                    ),
                    as_json,
                )
    except TraceError as error:
        raise click.UsageError(f"--key {printable(key)}: {printable(str(error))}") from None
    except (ControlError, SourceError) as error:
        click.echo(f"dynaview: {printable(str(error))}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    verdicts = {each.verdict for each in found.views}
    sys.exit(2 if "unknown" in verdicts else 0 if verdicts == {"right"} else 1)


def _follow(passing: Passing, as_json: bool) -> None:
    for name, reason in passing.refused.items():
        click.echo(f"{name}: {printable(reason)}", err=True)
    click.echo(f"changes of the item in {passing.source} as they pass; Ctrl-C ends it", err=True)
    for passed in passing.changes:
        if as_json:
            click.echo(json_encoder.encode(encodable(passed.plain())).decode())
        else:
            for line in _passed_lines(passed):
                click.echo(printable(line))


def _passed_lines(passed: Passed) -> Iterator[str]:
    by = " by its time to live" if passed.by_ttl else ""
    yield f"{_clock(passed.time)} {passed.event}{by}, change {int(passed.sequence)}"
    for name, asks in passed.asks.items():
        parts = [f"upsert {key_text(key)}" for key in asks.upserts] + [
            f"delete {key_text(key)}" for key in asks.deletes
        ]
        if asks.reason:
            parts.insert(0, f"dead letter: {asks.reason}")
        yield f"  {name}: {', '.join(parts) or 'nothing to do'}"


def _notice(error: Exception, attempt: int) -> None:
    if attempt == 1:
        click.echo(f"waiting: {printable(str(error))}", err=True)


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def lines(found: Trace, values: bool) -> Iterator[str]:
    """The trace for people."""
    for source, image in found.items.items():
        yield f"{source}: the table has {'no such item' if image is None else 'the item'}"
        if values:
            yield from (f"  {printable(name)}: {_text(value)}" for name, value in plain_item(image or {}).items())
    for note in found.notes:
        yield printable(note)
    for each in found.views:
        yield ""
        yield from (printable(line) for line in _view(each, values))


def _view(each: ViewTrace, values: bool) -> Iterator[str]:
    yield f"{each.view}: {each.verdict}{f': {each.do}' if each.do else ''}"
    if each.state:
        lag = "unknown" if each.lag is None else f"{each.lag:.1f} s"
        yield f"  {each.state}, generation {each.generation}, lag {lag}"
    if each.result and each.result != "rows":
        yield f"  the item gives no row: {each.result.replace('-', ' ')}: {each.reason}"
    for row in each.rows:
        yield from _row(row, values)
    for letter in each.letters:
        yield f"  dead letter {letter.id} of {_clock(letter.created)}, {letter.kind}: {letter.reason}"
    for note in each.notes:
        yield f"  {note}"


def _row(row: RowTrace, values: bool) -> Iterator[str]:
    yield f"  row {key_text(row.key)}: {'asked for' if row.values is not None else 'not asked for'}"
    if values and row.values is not None:
        yield from (f"      {name}: {_text(value)}" for name, value in row.values.items())
    if row.fault:
        yield f"    the store could not hold it: {row.fault}"
    for standing in row.standings:
        yield f"    {_standing(standing)}"
        if values and standing.content is not None:
            yield f"      {_text(standing.content)}"


def _standing(each: Standing) -> str:
    text = f"generation {each.generation} ({each.role}): {each.verdict}: {each.stands}"
    if each.version is not None:
        text += f", {_version(each.version)}"
    if each.written_by is not None and each.written_by != each.generation:
        text += f", written by generation {each.written_by}"
    if each.owner:
        text += f", owner {each.owner}"
    return text + (f", differs in {', '.join(each.fields)}" if each.fields else "")


def _version(version: int) -> str:
    """A version in the words of the stream."""
    if version <= 0:
        return "of a scan or a repair" if version == 0 else "not written by dynaview"
    stream, sequence = divmod(version, STREAM_SPAN)
    return f"of change {sequence}{f' of stream {stream + 1}' if stream else ''}"


def _text(value: Any) -> str:
    try:
        return printable(json_encoder.encode(encodable(value)).decode())
    except (UnicodeEncodeError, TypeError, ValueError):
        return printable(ascii(value))

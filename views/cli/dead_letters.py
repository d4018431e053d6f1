"""``dynaview dead-letters``: look at changes that could not be applied, replay them, discard them."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from dynaview.projections.declaration import Declaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import SinkError
from dynaview.sources.errors import SourceError
from dynaview.sources.table import open_table
from dynaview.views.cli.options import files_option, load_files, opened_control
from dynaview.views.control.errors import ControlError
from dynaview.views.control.records import DeadLetterFilter, KeptLetter
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.policy import LETTERS
from dynaview.views.reasons import rebuild_hint
from dynaview.views.replay import MEANINGS, Replayed, replay_of

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
HEAD = ("ID", "VIEW", "KEY", "KIND", "AGE", "REASON")


class _Age(click.ParamType[float]):
    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        matched = re.fullmatch(r"(\d+)([smhd])", str(value))
        if matched is None:
            self.fail(f"{value} is no age: write 90s, 10m, 2h or 3d", param, ctx)
        return float(int(matched[1]) * UNITS[matched[2]])


def _choosing(function: F) -> F:
    """The arguments and options that choose letters; together they are one `DeadLetterFilter`."""
    for option in (
        click.option("--newer-than", type=_Age(), metavar="AGE", help="Kept in the last 90s, 10m, 2h or 3d."),
        click.option("--older-than", type=_Age(), metavar="AGE", help="Kept before that."),
        click.option("--kind", type=click.Choice(list(LETTERS)), help="Only this kind."),
        click.option("--reason", metavar="TEXT", help="Whose reason contains this, whatever its case."),
        click.option("--key", metavar="KEY", help="Row key or item key as shown, or one of their parts."),
        click.option("--view", metavar="NAME", help="Only of this view."),
        click.argument("ids", nargs=-1, type=int),
    ):
        function = option(function)
    return function


def _choice(options: dict[str, Any]) -> DeadLetterFilter:
    now = time.time()
    older, newer = options["older_than"], options["newer_than"]
    return DeadLetterFilter(
        view=options["view"],
        ids=options["ids"],
        key=options["key"],
        reason=options["reason"],
        kind=options["kind"],
        before=None if older is None else now - older,
        since=None if newer is None else now - newer,
    )


@click.group("dead-letters")
def command() -> None:
    """Changes that could not be applied: list, show, replay and discard them.

    They are chosen by ids, by options, or both; without any, all are meant.
    """


@command.command("list")
@_choosing
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="So many at the most.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a letter.")
@files_option
def list_(files: tuple[Path, ...], limit: int, as_json: bool, **options: Any) -> None:
    """List dead letters, oldest first, without what is in the items."""
    choice = _choice(options)
    with opened_control(load_files(files)) as control:
        found = control.dead_letters.find(choice, limit)
        total, _ = control.dead_letters.count(choice)
    if as_json:
        click.echo(json.dumps([_plain(kept) for kept in found], indent=2))
        return
    if found:
        rows = [HEAD, *map(_row, found)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        for row in rows:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"{len(found)} of {total} dead letters" if total != len(found) else _number(total), err=True)


@command.command("show")
@click.argument("ids", nargs=-1, type=int, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a letter.")
@files_option
def show(files: tuple[Path, ...], ids: tuple[int, ...], as_json: bool) -> None:
    """Show dead letters with the change itself: this prints what is in the item."""
    with opened_control(load_files(files)) as control:
        found = control.dead_letters.find(DeadLetterFilter(ids=ids))
    if as_json:
        click.echo(json.dumps([{**_plain(kept), "change": _change(kept)} for kept in found], indent=2))
    else:
        for kept in found:
            for name, value in _plain(kept).items():
                click.echo(f"{name:10}{_moment(value) if name in ('created', 'time') else value}")
            change = _change(kept)
            click.echo(change if isinstance(change, str) else json.dumps(change, indent=2, ensure_ascii=False))
    _missing(set(ids) - {kept.id for kept in found})


@command.command("replay")
@_choosing
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a letter.")
@files_option
def replay(files: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Try dead letters again, with the view as it is declared now. Safe while the daemon runs.

    Each item is read again, and written under the same guard as ever: an old change never overwrites a newer row, and
    never brings a deleted one back. What is applied, superseded or no longer the view's is removed; what is rejected
    again stays, with its new reason. Exits with 1 where something was rejected or could not be tried.
    """
    choice = _choice(options)
    declaration = load_files(files)
    results: list[Replayed] = []
    failures: list[str] = []
    with opened_control(declaration) as control:
        found = control.dead_letters.find(choice)
        views = sorted({kept.letter.view for kept in found})
        for name in views:
            results.extend(_replay_view(declaration, control, name, found, failures))
    if as_json:
        click.echo(json.dumps([line for result in results for line in _plain_result(result)], indent=2))
    else:
        for result in results:
            for kept in result.letters:
                letter = kept.letter
                reason = result.reason or MEANINGS[result.result]
                click.echo(f"{kept.id}  {letter.view}  {_key(kept)}  {result.result}: {reason}")
        counted = Counter(result.result for result in results)
        click.echo(", ".join(f"{count} {name}" for name, count in counted.items()) or "no dead letters", err=True)
    for failure in failures:
        click.echo(f"dynaview: {failure}", err=True)
    _missing(set(choice.ids) - {kept.id for kept in found})
    if failures or any(result.result == "rejected" for result in results):
        sys.exit(1)


@command.command("discard")
@_choosing
@click.option("--all", "everything", is_flag=True, help="All of them, where nothing else is said.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@files_option
def discard(files: tuple[Path, ...], everything: bool, yes: bool, **options: Any) -> None:
    """Remove dead letters for good. Their changes stay counted as dead."""
    choice = _choice(options)
    if choice == DeadLetterFilter() and not everything:
        raise click.UsageError("say which: ids, --view, --key, --reason, --kind, an age, or --all")
    with opened_control(load_files(files)) as control:
        count, last = control.dead_letters.count(choice)
        if count and not yes:
            click.confirm(f"Discard {_number(count)} for good?", abort=True)
        # What came while the question stood was not meant.
        discarded = control.dead_letters.discard(dataclasses.replace(choice, last=last))
    click.echo(f"{_number(discarded)} discarded")


def _replay_view(
    declaration: Declaration, control: ControlStore, name: str, found: list[KeptLetter], failures: list[str]
) -> Iterator[Replayed]:
    """Replay the letters of one view; where something stands in the way, `failures` says what."""
    view = declaration.views.get(name)
    record = control.view(name)
    if view is None or record is None:
        failures.append(
            f"{name}: the view is not declared, so its dead letters cannot be replayed; discard removes them"
        )
        return
    source = declaration.sources[view.source]
    if record.fingerprint != fingerprint(view, source.table):
        failures.append(f"{name}: the declaration ({view.at}) is not the one that built the view; {rebuild_hint(name)}")
        return
    sink = connect(declaration.sinks[view.sink])
    try:
        target = sink.open(view.layout, record.generation)
        replaying = replay_of(view, control.dead_letters, open_table(source), target)
        yield from replaying.run(kept for kept in found if kept.letter.view == name)
    except (SinkError, SourceError, ControlError) as error:
        failures.append(f"{name}: {error}; what was not replayed is kept")
    finally:
        sink.close()


def _plain(kept: KeptLetter) -> dict[str, Any]:
    """A letter without its change. Times are seconds since 1970; versions are too large for JSON numbers."""
    letter = kept.letter
    return {
        "id": kept.id,
        "view": letter.view,
        "item_key": letter.item_key,
        "row_key": letter.row_key,
        "version": str(letter.version),
        "shard": letter.shard,
        "time": letter.time,
        "created": kept.created,
        "kind": letter.kind,
        "reason": letter.reason,
    }


def _plain_result(result: Replayed) -> list[dict[str, Any]]:
    return [
        {"id": kept.id, "view": kept.letter.view, "result": result.result, "reason": result.reason}
        for kept in result.letters
    ]


def _change(kept: KeptLetter) -> Any:
    """The change as plain data, or as text where it is no JSON."""
    try:
        return json.loads(kept.letter.change)
    except ValueError:
        return kept.letter.change.decode(errors="backslashreplace")


def _row(kept: KeptLetter) -> tuple[str, ...]:
    letter = kept.letter
    return str(kept.id), letter.view, _key(kept), letter.kind, _age(time.time() - kept.created), letter.reason


def _key(kept: KeptLetter) -> str:
    return kept.letter.row_key or kept.letter.item_key


def _age(seconds: float) -> str:
    unit, size = next(((unit, size) for unit, size in reversed(UNITS.items()) if seconds >= 2 * size), ("s", 1))
    return f"{max(0, int(seconds // size))}{unit}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _number(count: int) -> str:
    return f"{count} dead letter{'s' * (count != 1)}"


def _missing(ids: set[int]) -> None:
    if ids:
        click.echo(f"dynaview: there is no dead letter {', '.join(map(str, sorted(ids)))}", err=True)
        sys.exit(1)

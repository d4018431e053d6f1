"""``dynaview dead-letters``: look at changes that could not be applied, replay, prune and discard them."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from dynaview.projections.declaration import Declaration
from dynaview.sinks.port import SinkError
from dynaview.sources.errors import SourceError
from dynaview.views.cli.beside import printable
from dynaview.views.cli.columns import aligned
from dynaview.views.cli.options import files_option, load_files, opened_control
from dynaview.views.control.errors import ControlError
from dynaview.views.control.records import DeadLetterFilter, KeptLetter
from dynaview.views.control.store import ControlStore
from dynaview.views.dead_letters import plain_letter
from dynaview.views.policy import LETTERS
from dynaview.views.replay import MEANINGS, Mode, Replayed, ReplayRefused, opened_replay, pages_of, views_of
from dynaview.views.retry import Retrier

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
HEAD = ("ID", "VIEW", "KEY", "KIND", "AGE", "REASON")

LONGEST_KEY = 60
"""Characters of a key in a list."""

PATIENCE = 60.0
"""Seconds in which what stands in the way has to heal by itself."""


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
    """Changes that could not be applied: list, show, replay, prune and discard them.

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
        click.echo(json.dumps([plain_letter(kept) for kept in found], indent=2))
        return
    if found:
        rows = [HEAD, *(tuple(map(printable, _row(kept))) for kept in found)]
        for line in aligned(rows, words=len(HEAD)):
            click.echo(line)
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
        click.echo(json.dumps([{**plain_letter(kept), "change": _change(kept)} for kept in found], indent=2))
    else:
        for kept in found:
            for name, value in plain_letter(kept).items():
                shown = _moment(value) if name in ("created", "time") else printable(str(value))
                click.echo(f"{name:10}{shown}")
            change = _change(kept)
            text = change if isinstance(change, str) else json.dumps(change, indent=2, ensure_ascii=False)
            click.echo("\n".join(map(printable, text.splitlines())))
    _missing(set(ids) - {kept.id for kept in found})


@command.command("replay")
@_choosing
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a letter.")
@files_option
def replay(files: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Try dead letters again, with the view as it is declared now. Safe while the daemon runs.

    Each item is read again, and its rows are made what it asks for now: an old change never overwrites a newer row, and
    never brings a deleted one back. What is applied, superseded or no longer the view's is removed; what is rejected
    again stays, with its new reason. Exits with 1 where something was rejected or could not be tried.
    """
    tried = _Trial("replay", as_json)
    tried.run(load_files(files), _choice(options))
    if tried.failures or tried.counted["rejected"]:
        sys.exit(1)


@command.command("prune")
@_choosing
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a letter.")
@files_option
def prune(files: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Remove dead letters that nothing needs any more. Safe while the daemon runs, which does it by itself too.

    Each item is read again: where it is gone, no item of the view, or its rows are as it asks, the letter goes. No row
    is written. Exits with 1 where letters could not be looked at.
    """
    tried = _Trial("prune", as_json)
    tried.run(load_files(files), _choice(options))
    if tried.failures:
        sys.exit(1)


@dataclass(slots=True)
class _Trial:
    """Letters tried again, and what is said of them, a page at a time: there may be very many."""

    mode: Mode
    as_json: bool
    counted: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    met: set[int] = field(default_factory=set)
    told: list[dict[str, Any]] = field(default_factory=list)

    def run(self, declaration: Declaration, choice: DeadLetterFilter) -> None:
        """Try those that are chosen, and say what became of each. Ends the command where some are not there."""
        with opened_control(declaration) as control:
            _, last = control.dead_letters.count(choice)
            chosen = dataclasses.replace(choice, last=last)  # what comes meanwhile is not meant
            for name in views_of(control, chosen):
                for replayed in self._view(declaration, control, dataclasses.replace(chosen, view=name)):
                    self._tell(replayed)
        if self.as_json:
            click.echo(json.dumps(self.told, indent=2))
        else:
            counted = ", ".join(f"{count} {name}" for name, count in self.counted.items())
            click.echo(counted or "no dead letters", err=True)
        for failure in self.failures:
            click.echo(f"dynaview: {printable(failure)}", err=True)
        _missing(set(choice.ids) - self.met)

    def _tell(self, replayed: Replayed) -> None:
        self.counted[replayed.result] += 1
        if self.as_json:
            self.told += _plain_result(replayed)
            return
        reason = replayed.reason or MEANINGS[replayed.result]
        for kept in replayed.letters:
            click.echo(printable(f"{kept.id}  {kept.letter.view}  {_key(kept)}  {replayed.result}: {reason}"))

    def _view(self, declaration: Declaration, control: ControlStore, choice: DeadLetterFilter) -> Iterator[Replayed]:
        """Try the letters of one view; where something stands in the way, `failures` says what."""
        name = choice.view or ""
        retrier = Retrier(subject=f"view {name}", on_error=_notice, seconds=PATIENCE)
        try:
            with opened_replay(declaration, control, name, self.mode, retrier) as replaying:
                for page in pages_of(control, choice):
                    self.met.update(kept.id for kept in page)
                    # What was settled before an error is gone when the page is tried again, and is told as such.
                    yield from retrier.insist(lambda page=page: list(replaying.run(page, self.mode)))  # type: ignore[misc]
        except ReplayRefused as error:
            self.met.update(kept.id for page in pages_of(control, choice) for kept in page)
            self.failures.append(str(error))
        except (SinkError, SourceError, ControlError) as error:
            self.failures.append(f"{name}: {error}; what was not tried is kept")


def _notice(error: Exception, times: int) -> None:
    if times == 2:  # once it has come twice in a row
        click.echo(f"waiting: {printable(str(error))}", err=True)


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
    return str(kept.id), letter.view, _short(_key(kept)), letter.kind, _age(time.time() - kept.created), letter.reason


def _key(kept: KeptLetter) -> str:
    return kept.letter.row_key or kept.letter.item_key


def _short(text: str) -> str:
    """One long key is no reason to push the reasons of all others out of sight; `show` has all of it."""
    return text if len(text) <= LONGEST_KEY else f"{text[: LONGEST_KEY - 1]}…"


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

"""``dynaview preview``: the rows that items would give, before anything is written."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from dynaview.projections.canonical import json_encoder
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import Declaration
from dynaview.projections.projection import ViewType
from dynaview.sources.errors import SourceError
from dynaview.sources.filters import scan_filter
from dynaview.sources.table import open_table
from dynaview.views.cli.beside import beside, printable, width
from dynaview.views.cli.options import files_option, load_files
from dynaview.views.preview.items import STDIN, Item, ItemsError, from_file, of_key, of_table, written
from dynaview.views.preview.open_view import previews
from dynaview.views.preview.view_preview import ChangePreview, ItemPreview, Row, ViewPreview, plain_item
from dynaview.views.preview.watch import watch
from dynaview.views.verify.origins import item_key_of

LIMIT = 10
"""Items of a table that are shown where nothing is said."""

WORDS = {"filtered": "filtered", "unmatched": "unmatched", "empty": "without a row", "dead-letter": "dead-lettered"}
"""What the last line says of results other than rows."""


@click.command("preview")
@click.argument("view")
@files_option
@click.option("--key", "keys", multiple=True, metavar="JSON", help="The item with this key in the table; repeatable.")
@click.option("--items", metavar="FILE", help="Items from a file (- for standard input) instead of the table.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help=f"So many items at the most.  [default: {LIMIT} of a table, all of a file]",
)
@click.option("--unmatched", is_flag=True, help="Of a table, also look at items that the view's match excludes.")
@click.option(
    "--change",
    nargs=2,
    metavar="OLD NEW",
    help="What a change asks of the view: two states of one item, each JSON, a file, or null.",
)
@click.option("--watch", "watching", is_flag=True, help="Run again whenever a file is saved, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, see docs/preview.md.")
def command(
    view: str,
    files: tuple[Path, ...],
    keys: tuple[str, ...],
    items: str | None,
    limit: int | None,
    unmatched: bool,
    change: tuple[str, str] | None,
    watching: bool,
    as_json: bool,
) -> None:
    """Show items and the rows that VIEW would make of them, side by side. No store is asked, nothing is written.

    Where an item gives no row it says why: what does not match, what the filter saw, why it would be a dead letter.
    Items come from the view's table, or from a file as plain JSON or DynamoDB JSON: one, a list, one a line, or what
    the AWS command line prints.

    \b
    Examples:
      dynaview preview orders
      dynaview preview orders --key '{"pk": "CUSTOMER#c1", "sk": "ORDER#o1"}'
      dynaview preview orders --items orders.jsonl --watch
      dynaview preview orders --change before.json after.json

    Exit code 0: shown. 2: asked in a wrong way, or the declaration, the file or the table cannot be read.
    """  # fmt: skip
    if (bool(keys) + (items is not None) + (change is not None)) > 1:
        raise click.UsageError("--key, --items and --change do not go together")
    if watching:
        if items == STDIN or (change is not None and STDIN in change):
            raise click.UsageError("--watch reads its items again, so they cannot come from standard input")
        _again(view, files, keys, items, limit, unmatched, change, as_json)
    declaration = load_files(files)
    if view not in declaration.views:
        raise click.UsageError(f"no view is called {view}; there are {', '.join(sorted(declaration.views))}")
    try:
        with previews(declaration, [view]) as made:
            if change is not None:
                _show_change(made[view], change, as_json)
            else:
                found, notes = _items(declaration, view, keys, items, limit, unmatched)
                _show_items(made[view], found, notes, as_json)
    except (ItemsError, SourceError) as error:
        click.echo(f"dynaview: {printable(str(error))}", err=True)
        sys.exit(2)


def _items(
    declaration: Declaration, name: str, keys: Sequence[str], file: str | None, limit: int | None, unmatched: bool
) -> tuple[Iterable[Item], list[str]]:
    """The items that are meant, and what is to be said of where they come from."""
    if file is not None:
        return islice(from_file(Path(file)), limit), []
    view = declaration.views[name]
    table = open_table(declaration.sources[view.source])
    description = table.describe()
    notes = _unfollowable(declaration, name, description.key, description.view_type)
    if keys:
        found = []
        for key in keys:
            try:
                item = of_key(table, item_key_of(key, description.key))
            except ValueError as error:
                raise ItemsError(f"--key {key}: {error}") from None
            if item is None:
                notes.append(f"the table has no item {key}")
            else:
                found.append(item)
        return found, notes
    only = None if unmatched else scan_filter([view.match])
    sample = of_table(table, limit or LIMIT, only)
    if sample.units:
        notes.append(f"reading them cost {sample.units:g} read units")
    if not sample.items:
        notes.append("no item of the table matches" if not sample.more else "no item that matches was among those read")
    return sample.items, notes


def _unfollowable(declaration: Declaration, name: str, key: tuple[str, ...], view_type: ViewType | None) -> list[str]:
    """Why the view could not be kept from this table, whatever its items are."""
    problems = compile_view(declaration.views[name]).problems(key, view_type or "NEW_AND_OLD_IMAGES")
    return [str(problem) for problem in problems]


def _show_items(preview: ViewPreview, items: Iterable[Item], notes: Sequence[str], as_json: bool) -> None:
    made = []
    for item in items:
        one = preview.item(item)
        made.append(one)
        if not as_json:
            _echo(_item_lines(preview, one))
    counts: Counter[str] = Counter(one.result for one in made)
    rows = sum(not row.fault for one in made for row in one.rows)
    if as_json:
        results = {name.replace("-", "_"): counts[name] for name in WORDS}
        numbers = {"items": len(made), "rows": rows, **results}
        plain = [one.plain() for one in made]
        _json({"view": preview.view.name, "items": plain, "counts": numbers, "notes": notes})
        return
    said = [f"{len(made)} item{'s' * (len(made) != 1)}", f"{rows} row{'s' * (rows != 1)}"]
    said += [f"{counts[name]} {words}" for name, words in WORDS.items() if counts[name]]
    click.echo(f"{preview.view.name}: {', '.join(said)}")
    for note in notes:
        click.echo(f"{preview.view.name}: {printable(note)}")


def _show_change(preview: ViewPreview, states: tuple[str, str], as_json: bool) -> None:
    old, new = (written(state) for state in states)
    if old is None and new is None:
        raise click.UsageError("a change has an old item, a new one, or both: give one of them")
    made = preview.change(old, new)
    if as_json:
        _json({"view": preview.view.name, **made.plain()})
    else:
        _echo(_change_lines(preview, made))


def _item_lines(preview: ViewPreview, one: ItemPreview) -> Iterator[str]:
    left = [printable(one.item.origin), *_attributes(one.item, preview.trial.key)]
    right = [line for row in one.rows for line in _row_lines(row)]
    if one.result != "rows" and not one.rows:
        right = [f"{one.result.replace('-', ' ')}: {printable(one.reason)}"]
    yield from beside(left, right, width())
    yield ""


def _change_lines(preview: ViewPreview, made: ChangePreview) -> Iterator[str]:
    for title, state in (("old", made.old), ("new", made.new)):
        if state is None:
            yield f"{title}: none"
            continue
        left = [f"{title}: {printable(state.item.origin)}", *_attributes(state.item, preview.trial.key)]
        told = "" if state.result == "rows" else f"{state.result.replace('-', ' ')}: {printable(state.reason)}"
        right = [told] if told else [f"row {_text(row.key)}" for row in state.rows]
        yield from beside(left, right, width())
        yield ""
    if made.reason:
        yield f"dead letter: {printable(made.reason)}"
    for row in made.upserts:
        yield from (f"upsert {line}" if not line.startswith(" ") else line for line in _row_lines(row, ""))
    for key in made.deletes:
        yield f"delete {_text(key)}"
    if made.note:
        yield printable(made.note)
    if made.result == "unmatched":
        yield f"{preview.view.name}: nothing to do, neither state gives a row"


def _attributes(item: Item, key: Sequence[str]) -> Iterator[str]:
    """The attributes, those of the key first: a table gives them in any order."""
    plain = plain_item(item.image or {})
    for name in dict.fromkeys([*(name for name in key if name in plain), *plain]):
        value = plain[name]
        yield f"  {printable(name)}: {_text(value)}"


def _row_lines(row: Row, title: str = "row ") -> Iterator[str]:
    yield f"{title}{_text(row.key)}"
    for name, value in row.values.items():
        yield f"  {printable(name)}: {_text(value)}"
    if row.fault:
        yield f"  dead letter: {printable(row.fault)}"


def _text(value: Any) -> str:
    try:
        return printable(json_encoder.encode(value).decode())
    except (UnicodeEncodeError, TypeError, ValueError):
        return printable(ascii(value))


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _json(plain: dict[str, Any]) -> None:
    click.echo(msgspec.json.format(json_encoder.encode(plain), indent=2).decode())


def _again(
    view: str,
    files: Sequence[Path],
    keys: Sequence[str],
    items: str | None,
    limit: int | None,
    unmatched: bool,
    change: tuple[str, str] | None,
    as_json: bool,
) -> NoReturn:
    """Run the same in a process of its own after each save: modules are imported anew, and no error ends the watch."""
    words = ["preview", view, *(word for file in files for word in ("-f", str(file)))]
    words += [word for key in keys for word in ("--key", key)]
    words += ["--items", items] if items is not None else []
    words += ["--limit", str(limit)] if limit is not None else []
    words += ["--change", *change] if change is not None else []
    words += ["--unmatched"] * unmatched + ["--json"] * as_json
    others = [Path(text) for text in ([items] if items else [*(change or ())]) if not text.lstrip().startswith("{")]

    def run() -> None:
        if sys.stdout.isatty():
            click.clear()
        subprocess.run([sys.executable, "-P", "-m", "dynaview.views.cli", *words], check=False)
        click.echo("watching for changes; Ctrl-C ends it", err=True)

    try:
        watch([*files, *others], run)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)

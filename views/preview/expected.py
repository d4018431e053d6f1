"""Expected rows: a folder of items, and beside it the rows that each view makes of them, as files to compare with.

checks/items/orders.jsonl      items, in every form that `items` reads; below items/NAME/ only for views of source NAME
checks/changes/moves.jsonl     changes, {"old": item, "new": item} each (optional)
checks/rows/order_search.json  what the view makes of them, written by `update`
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from dynaview.projections.canonical import canonical_value, json_encoder
from dynaview.views.preview.items import Item, ItemsError, changes_from_file, from_file
from dynaview.views.preview.view_preview import Row, ViewPreview, key_of

Verdict: TypeAlias = Literal["same", "differs", "new", "unknown"]
"""`new`: there is no file of the view yet. `unknown`: there is one, but no such view."""

ITEMS, CHANGES, ROWS = "items", "changes", "rows"

_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Compared:
    """One view's rows and what was expected of them."""

    view: str
    verdict: Verdict
    file: Path
    items: int = 0
    """How many items (and changes) are the view's."""
    rows: int = 0
    diff: Sequence[str] = ()
    """Lines, as ``diff -u`` has them: - expected, + made."""
    made: str = ""
    """What the file would hold."""


def compare(folder: Path, views: Iterable[ViewPreview], known: Iterable[str], all_views: bool) -> Iterator[Compared]:
    """Compare what the views make of the items in `folder` with the files in it.

    `known` are the names of all declared views; with `all_views`, files of others are told too. Raises `ItemsError`.
    """
    items = _files(folder, ITEMS)
    changes = _files(folder, CHANGES)
    if not items and not changes:
        raise ItemsError(
            f"{folder}: there are no items: put some into {folder / ITEMS}, as {folder / ITEMS / 'items.jsonl'} "
            "with one item a line, and let dynaview check --update write the rows"
        )
    for preview in views:
        yield _compared(folder, preview, items, changes)
    if all_views:
        names = set(known)
        for file in sorted((folder / ROWS).glob("*.json")):
            if file.stem not in names:
                yield Compared(file.stem, "unknown", file)


def update(compared: Compared) -> bool:
    """Write the file, or remove that of a view that is no longer declared; whether there was anything to do. Raises
    OSError."""
    if compared.verdict == "same":
        return False
    if compared.verdict == "unknown":
        compared.file.unlink()
        return True
    compared.file.parent.mkdir(parents=True, exist_ok=True)
    beside = compared.file.with_suffix(".json.new")
    beside.write_text(compared.made, encoding="utf-8")
    beside.replace(compared.file)
    return True


def _files(folder: Path, kind: str) -> list[Path]:
    return sorted(each for each in (folder / kind).rglob("*") if each.is_file() and each.name.endswith(_SUFFIXES))


def _compared(folder: Path, preview: ViewPreview, items: Sequence[Path], changes: Sequence[Path]) -> Compared:
    view = preview.view
    made_items = [
        entry
        for file in items
        if _is_for(file.relative_to(folder / ITEMS), view.source)
        for item in from_file(file)
        if (entry := _item_entry(preview, file.relative_to(folder), item)) is not None
    ]
    made_changes = [
        entry
        for file in changes
        if _is_for(file.relative_to(folder / CHANGES), view.source)
        for old, new in changes_from_file(file)
        if (entry := _change_entry(preview, file.relative_to(folder), old, new)) is not None
    ]
    made: dict[str, Any] = {ITEMS: made_items}
    if made_changes:
        made[CHANGES] = made_changes
    text = _formatted(made)
    file = folder / ROWS / f"{view.name}.json"
    rows = sum(len(entry.get("rows", entry.get("upserts", ()))) for entry in (*made_items, *made_changes))
    count = len(made_items) + len(made_changes)
    expected = _expected(file)
    if expected is None:
        return Compared(view.name, "new", file, count, rows, made=text)
    diff = list(difflib.unified_diff(expected.splitlines(), text.splitlines(), str(file), "made now", lineterm=""))
    return Compared(view.name, "differs" if diff else "same", file, count, rows, diff, text)


def _is_for(file: Path, source: str) -> bool:
    """Whether a file is for views of this source: it lies at the top, or in the folder of the source's name."""
    return len(file.parts) == 1 or file.parts[0] == source


def _item_entry(preview: ViewPreview, file: Path, item: Item) -> dict[str, Any] | None:
    """What is kept of one item; None where it is not the view's. Reasons are not kept: they are words of ours."""
    made = preview.item(item)
    if made.result == "unmatched":
        return None
    entry = {"file": file.as_posix(), "item": _name(preview, item)}
    if made.result != "rows":
        entry |= {"result": made.result} | ({"kind": made.kind} if made.kind else {})
    rows = [_row(row) for row in made.rows if not row.fault]
    return entry | ({"rows": sorted(rows, key=json_encoder.encode)} if rows else {})


def _change_entry(preview: ViewPreview, file: Path, old: Item | None, new: Item | None) -> dict[str, Any] | None:
    made = preview.change(old, new)
    if made.result == "unmatched":
        return None
    item = new or old
    assert item is not None
    entry: dict[str, Any] = {"file": file.as_posix(), "item": _name(preview, item)}
    if made.result != "applied":
        entry |= {"result": made.result, "kind": made.kind}
    rows = sorted((_row(row) for row in made.upserts if not row.fault), key=json_encoder.encode)
    return entry | {"upserts": rows, "deletes": sorted(made.deletes, key=json_encoder.encode)}


def _name(preview: ViewPreview, item: Item) -> Any:
    """How an item is told from others: by its key; by its place, where nothing of its key is known."""
    key = key_of(item.image or {}, preview.trial.key)
    return key or item.origin.rsplit(":", 1)[-1]


def _row(row: Row) -> dict[str, Any]:
    return {"key": row.key, "values": row.values}


def _expected(file: Path) -> str | None:
    """What a file holds, in the form in which it would be written; None where there is none. Raises `ItemsError`."""
    try:
        return _formatted(json.loads(file.read_text(encoding="utf-8"), parse_float=Decimal))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ItemsError(f"{file}: not JSON ({error}): fix it, or remove it and write it with --update") from None
    except OSError as error:
        raise ItemsError(f"{file}: can't be read: {error.strerror or type(error).__name__}") from None


def _formatted(plain: Any) -> str:
    return msgspec.json.format(json_encoder.encode(canonical_value(plain)), indent=2).decode() + "\n"

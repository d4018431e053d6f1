"""Declarations for people to begin with: a commented example, and views proposed from a sample of a table.

Both are text that ``dynaview validate`` accepts as it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from dynaview.projections.attributes import Attr
from dynaview.projections.expressions import ELEMENT, INDEX, ITEM, NAME
from dynaview.views.preview.attributes_seen import Seen, seen_in
from dynaview.views.preview.key_patterns import Kind, kinds_of

Sink: TypeAlias = Literal["redis", "opensearch", "postgres"]

SINKS: Mapping[Sink, tuple[str, str]] = {
    "redis": ("cache", '{redis: "${REDIS_URL:-redis://localhost:6379/0}"}'),
    "opensearch": ("search", '{opensearch: "${OPENSEARCH_URL:-http://localhost:9200}"}'),
    "postgres": ("reads", '{postgres: "${DATABASE_URL:-postgresql://localhost:5432/postgres}"}'),
}
"""By kind of store the name that a sink gets, and what is written of it."""

MOST_VIEWS = 20
"""Kinds of items beyond these are named, not proposed."""

MOST_FIELDS = 60

_NAME = re.compile(r"[^A-Za-z0-9]+", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_RESERVED = frozenset({ITEM, ELEMENT, INDEX, NAME})
_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class ProposedField:
    """One field of a proposed view."""

    name: str
    expression: str
    type: str
    seen: Seen | None
    """The attribute that it is from; None for a part of the key."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One kind of items as a view."""

    name: str
    kind: Kind
    key: tuple[str, ...]
    """The names of the fields (or captures) that make the row key."""
    fields: tuple[ProposedField, ...]
    left_out: int = 0
    """Attributes beyond `MOST_FIELDS`."""

    def plain(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        count = len(self.kind.images)
        attributes = [
            {
                "name": each.seen.name, "field": each.name, "type": each.type, "count": each.seen.count,
                "share": round(each.seen.count / count, 4), "types": dict(each.seen.types.most_common()),
            }
            for each in self.fields if each.seen is not None
        ]  # fmt: skip
        return {"name": self.name, "match": dict(self.kind.match), "items": count, "attributes": attributes}


def proposals(images: Sequence[Mapping[str, Attr]], key: Sequence[str], table: str) -> list[Proposal]:
    """Views of the kinds of items in a sample, the most frequent kind first."""
    taken: set[str] = set()
    return [_proposal(kind, key, table, taken) for kind in kinds_of(images, key)]


def starter(table: str, sink: Sink) -> str:
    """A commented declaration of one view, for somebody who has never seen one."""
    name, _ = SINKS[sink]
    body = "\n".join(_STARTER_KEYS[sink])
    return f"""\
# What dynaview keeps, and where. Check it with: dynaview validate
# All keys: docs/declarations.md. In an editor: dynaview schema > dynaview.schema.json, and as the first line
# yaml-language-server: $schema=dynaview.schema.json

# DynamoDB tables to follow. Credentials come from where the AWS tools find them.
sources:
  main:
    table: {_quoted(table)}
    endpoint: "${{DYNAMODB_ENDPOINT:-}}"   # empty: AWS itself

# Stores to write to. URLs come from the environment, so that no password stands here.
sinks:
{_sink_line(sink)}

views:
  customers:
    source: main
    # Which items are the view's, by their key: text, and {{names}} for what changes. An item is matched as a whole.
    match: {{pk: "CUSTOMER#{{customer_id}}", sk: PROFILE}}
    # Of these, only where this is true (JMESPath). Take it out to keep all.
    where: status != 'DELETED'
    sink: {name}
{body}
    # What a row holds: a name alone takes the attribute of that name.
    fields:
      customer_id: customer_id                # from the key, see match
      name: name
      city: address.city                      # from inside a map
      joined: {{from: joined_at, type: timestamp}}
      visits: {{type: bigint, default: 0}}

# See what it would make of your items, before anything is written:
#   dynaview preview customers
# Keep it in step (the table needs a stream; --enable-stream switches it on):
#   dynaview run
"""


_STARTER_KEYS: Mapping[Sink, tuple[str, ...]] = {
    "redis": (
        "    type: hash                                # or string (JSON), set, sorted_set",
        "    # Where a row is kept.",
        '    key: "customer:{customer_id}"',
    ),
    "opensearch": (
        "    index: customers                          # the name that readers use",
        "    # The document's id.",
        '    key: "{customer_id}"',
    ),
    "postgres": (
        "    table: customers                          # the name that readers use",
        "    # The primary key: one or more of the fields.",
        "    key: [customer_id]",
    ),
}


def draft(proposed: Sequence[Proposal], source: Mapping[str, str], sink: Sink, notes: Iterable[str]) -> str:
    """A declaration of proposed views, with comments that say what was seen. `source` has the keys of the source."""
    lines = [f"# {_comment(note)}" for note in notes]
    lines += ["", "sources:", "  main:", *(f"    {name}: {_quoted(text)}" for name, text in source.items())]
    lines += ["", "sinks:", _sink_line(sink), "", "views:"]
    for each in proposed[:MOST_VIEWS]:
        lines += _view_lines(each, sink)
    for each in proposed[MOST_VIEWS:]:
        patterns = ", ".join(f"{name}: {pattern}" for name, pattern in each.kind.match.items())
        lines.append(f"# not proposed: {len(each.kind.images)} items of {_comment(patterns)}")
    return "\n".join(lines) + "\n"


def _proposal(kind: Kind, key: Sequence[str], table: str, taken: set[str]) -> Proposal:
    base = kind.name if kind.name != "items" else _clean(table.rsplit("/", 1)[-1]).lower() or "items"
    name = _free(base, taken)
    names: set[str] = set(kind.captures)
    fields = [ProposedField(capture, capture, "text", None) for capture in kind.captures]
    key_names = list(kind.captures)
    for attribute in key:
        if attribute not in kind.match or not kind.captures:  # nothing else tells these items apart
            field = ProposedField(_free(_clean(attribute) or "key", names), _expression(attribute, ()), "any", None)
            fields.append(field)
            key_names.append(field.name)
    seen = [each for each in seen_in(kind.images).values() if each.name not in key and each.name not in kind.captures]
    seen.sort(key=lambda each: (-each.count, each.name))
    for each in seen[:MOST_FIELDS]:
        field_name = _free(_clean(each.name) or "field", names)
        fields.append(ProposedField(field_name, _expression(each.name, kind.captures), each.field_type, each))
    return Proposal(name, kind, tuple(key_names), tuple(fields), len(seen[MOST_FIELDS:]))


def _view_lines(each: Proposal, sink: Sink) -> Iterator[str]:
    count = len(each.kind.images)
    yield f"  # {count} item{'s' * (count != 1)} of the sample"
    yield f"  {each.name}:"
    yield "    source: main"
    if each.kind.match:
        patterns = ", ".join(f"{_quoted(name)}: {_quoted(text)}" for name, text in each.kind.match.items())
        yield f"    match: {{{patterns}}}"
    yield f"    sink: {SINKS[sink][0]}"
    joined = ":".join(f"{{{name}}}" for name in each.key)
    if sink == "redis":
        yield "    type: hash"
        yield f"    key: {_quoted(f'{each.name}:{joined}')}"
    elif sink == "opensearch":
        yield f"    index: {_quoted(each.name)}"
        yield f"    key: {_quoted(joined)}"
    else:
        yield f"    table: {_quoted(each.name)}"
        yield f"    key: [{', '.join(map(_quoted, each.key))}]"
    yield "    fields:"
    for field in each.fields:
        type_ = "text" if field.type == "any" and sink == "postgres" else field.type
        made = f"{{from: {_quoted(field.expression)}, type: {_quoted(type_)}}}"
        yield f"      {_quoted(field.name)}: {made}{_remark(field, count)}"
    if each.left_out:
        yield f"      # and {each.left_out} more attributes"


def _remark(field: ProposedField, count: int) -> str:
    if field.seen is None:
        return ""
    types = ", ".join(f"{name} {number}" if len(field.seen.types) > 1 else name
                      for name, number in field.seen.types.most_common())  # fmt: skip
    return f"  # {types}; in {100 * field.seen.count / count:.0f}% of them"


def _sink_line(sink: Sink) -> str:
    name, written = SINKS[sink]
    return f"  {name}: {written}"


def _expression(attribute: str, captures: Sequence[str]) -> str:
    """JMESPath for an attribute, whatever it is called, and though a capture may have its name."""
    name = attribute if _PLAIN.fullmatch(attribute) else json.dumps(attribute)
    return f"{ITEM}.{name}" if attribute in _RESERVED or attribute in captures else name


def _clean(name: str) -> str:
    """Letters, digits and ``_``, a letter first."""
    cleaned = _NAME.sub("_", name).strip("_")[:_LONGEST_NAME].rstrip("_")
    return cleaned if not cleaned or cleaned[0].isalpha() else f"f_{cleaned}"


def _free(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def _quoted(text: str) -> str:
    """A scalar of YAML: plain where it is a word, else a JSON text (which YAML reads as it is)."""
    if re.fullmatch(r"[a-z][a-z0-9_]*(\[\])?", text) and text not in ("true", "false", "null"):
        return text if "[" not in text else f'"{text}"'
    return json.dumps(text)


def _comment(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())

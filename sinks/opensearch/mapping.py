"""An index for a layout: its mapping and settings, and dynaview's mark on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from dynaview.projections.rows import Field, Layout, OpenSearchOptions
from dynaview.sinks.opensearch.values import CONTROL, DELETED, DELETED_AT, OWNER, VERSION

DERIVED: Mapping[str, Mapping[str, Any]] = {
    "any": {"type": "keyword"},
    "text": {"type": "keyword"},
    "integer": {"type": "integer"},
    "bigint": {"type": "long"},
    # The index compares and sorts doubles; `_source` keeps the exact number.
    "decimal": {"type": "double"},
    "double": {"type": "double"},
    "boolean": {"type": "boolean"},
    "timestamp": {"type": "date"},
    "date": {"type": "date"},
    "json": {"type": "object", "enabled": False},
    "binary": {"type": "binary"},
}
"""Field type to mapping; arrays are mapped like their elements, since every OpenSearch field may hold many."""

_UNINDEXED = {"type": "keyword", "index": False, "doc_values": False}

_CONTROL_MAPPING: Mapping[str, Mapping[str, Any]] = {
    VERSION: _UNINDEXED,
    OWNER: {"type": "keyword", "doc_values": False},
    DELETED: {"type": "boolean"},
    DELETED_AT: {"type": "date"},
}

_OPEN_TEMPLATES = [
    {"texts": {"match_mapping_type": "string", "mapping": DERIVED["any"]}},
    {"integers": {"match_mapping_type": "long", "mapping": DERIVED["decimal"]}},
    {"numbers": {"match_mapping_type": "double", "mapping": DERIVED["decimal"]}},
    {"maps": {"match_mapping_type": "object", "mapping": DERIVED["json"]}},
]
"""What fields become that a Python projection left undeclared, without a mapping of their own."""


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What dynaview writes into ``_meta`` of an index, so that it never touches anybody else's."""

    view: str
    generation: int
    fingerprint: str
    """Of the layout that the index was made for."""
    door: str
    """The alias through which this very index is written to. It differs each time an index is made, so that a writer
    who remembers the one before writes nowhere, and OpenSearch creates no index on the fly."""
    loading: Mapping[str, str | None] | None = None
    """Settings to put back when a bulk load ends (None: to their defaults); None where nothing was put off."""
    swapping: Mapping[str, str | None] | None = None
    """Settings to put back when readers have been swapped."""


def options_of(layout: Layout) -> OpenSearchOptions:
    """The layout's options. Raises ValueError where this is no layout for OpenSearch."""
    if not isinstance(layout.options, OpenSearchOptions):
        raise ValueError(f"view {layout.view} is not laid out for OpenSearch")  # noqa: TRY004 - the port says so
    names = {field.name for field in layout.fields or ()} | set(layout.options.mappings)
    if taken := sorted(CONTROL & names):
        raise ValueError(f"view {layout.view}: fields {', '.join(taken)} are dynaview's own in an index: rename them")
    return layout.options


def mappings(layout: Layout) -> dict[str, Any]:
    """The mapping of the layout, without the mark."""
    options = options_of(layout)
    properties: dict[str, Any] = {field.name: _mapping(field) for field in layout.fields or ()}
    properties |= {name: dict(mapping) for name, mapping in options.mappings.items()}
    properties |= {name: dict(mapping) for name, mapping in _CONTROL_MAPPING.items()}
    if layout.fields is None and not options.mappings:
        return {
            "dynamic": True,
            "date_detection": False,
            "dynamic_templates": _OPEN_TEMPLATES,
            "properties": properties,
        }
    return {"dynamic": "strict", "properties": properties}


def fingerprint(layout: Layout) -> str:
    """The same for two layouts exactly when one index can serve both."""
    shape = {"mappings": mappings(layout), "settings": dict(options_of(layout).settings)}
    return hashlib.sha256(msgspec.json.encode(shape, order="sorted")).hexdigest()[:16]


READERS = (
    "Search the alias. Documents with _deleted are rows that were deleted: the alias hides them from searches, but not "
    "from GET by id and _mget; they are removed after about 25 hours."
)
"""What stands in ``_meta`` for those who look at the index instead of at documentation."""


def creation(layout: Layout, mark: Mark) -> dict[str, Any]:
    """The request that makes an index."""
    return {
        "settings": dict(options_of(layout).settings),
        "mappings": {**mappings(layout), "_meta": {"dynaview": msgspec.to_builtins(mark), "readers": READERS}},
        "aliases": {mark.door: {"is_hidden": True}},
    }


def mark_of(index: Mapping[str, Any]) -> Mark | None:
    """The mark on an index as ``GET /index`` shows it; None where it is not dynaview's."""
    meta = index.get("mappings", {}).get("_meta", {})
    try:
        return msgspec.convert(meta.get("dynaview"), Mark) if isinstance(meta, dict) else None
    except msgspec.ValidationError:
        return None


def differences(layout: Layout, index: Mapping[str, Any]) -> list[str]:
    """How the mapping of an index differs from the layout's in its fields' types."""
    found = index.get("mappings", {}).get("properties", {})
    wanted = mappings(layout)["properties"]
    return [
        f"field {name} is mapped as {have or 'nothing'}, not {want}"
        for name, mapping in wanted.items()
        if (have := _type_at(found, name)) != (want := mapping.get("type", "object"))
    ]


def _mapping(field: Field) -> dict[str, Any]:
    return dict(field.mapping or DERIVED[field.type.removesuffix("[]")])


def _type_at(properties: Mapping[str, Any], name: str) -> str | None:
    """The type of a field, which OpenSearch keeps nested where its name has dots."""
    first, _, rest = name.partition(".")
    mapping = properties.get(first)
    if not isinstance(mapping, dict):
        return None
    if rest:
        return _type_at(mapping.get("properties", {}), rest)
    found: str = mapping.get("type", "object")
    return found

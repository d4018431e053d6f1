"""Names that reach a store: what each store allows, and why a name is refused."""

from __future__ import annotations

import re

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_REDIS_FIELD = 200

LONGEST_TABLE = 48
"""Bytes of a Postgres table's name: identifiers end at 63, and generations and indexes append to it."""
_LONGEST_COLUMN = 63
_LONGEST_INDEX = 200
"""Bytes of an index name: OpenSearch ends them at 255, and generations append to it."""

_SQL_NAMES = {
    name: parameters
    for parameters, names in (
        (
            0,
            "smallint integer int int2 int4 int8 bigint real float4 float8 boolean bool text bytea date json jsonb",
        ),
        (0, "uuid inet cidr macaddr citext tsvector money xml"),
        (1, "varchar char bpchar bit varbit timestamp timestamptz time timetz interval float vector"),
        (2, "numeric decimal"),
    )
    for name in names.split()
}
"""Words of column types and how many numbers may follow in parentheses."""

_SQL_PHRASES = {
    "double precision": 0,
    "character varying": 1,
    "bit varying": 1,
    "timestamp with time zone": 0,
    "timestamp without time zone": 0,
    "time with time zone": 0,
    "time without time zone": 0,
}
_SQL_TYPE = re.compile(r"([a-z0-9]+(?: [a-z]+)*)(?: ?\( ?(\d{1,5}) ?(?:, ?(-?\d{1,5}) ?)?\))?((?:\[\])*)", re.ASCII)


def identifier_problem(name: str, longest: int = _LONGEST_COLUMN) -> str | None:
    """Why `name` can't be a Postgres schema, table or column; None where it can."""
    if not _IDENTIFIER.fullmatch(name):
        return "can't be a name in Postgres here: use letters, digits and _, a letter first"
    if len(name) > longest:
        return f"is longer than {longest} bytes: shorten it"
    return None


def field_problem(name: str, kind: str) -> str | None:
    """Why `name` can't be a field in a sink of this kind; None where it can."""
    if name.startswith("_"):
        return "names that begin with _ are kept for dynaview: rename the field"
    if kind == "postgres":
        return identifier_problem(name)
    if not name or len(name) > _REDIS_FIELD or not name.isprintable():
        return f"has to be 1 to {_REDIS_FIELD} printable characters: rename the field"
    if kind == "opensearch" and ("." in name or name != name.strip()):
        return "can't be a field in OpenSearch, which splits names at dots: write _ instead"
    return None


def index_problem(name: str) -> str | None:
    """Why `name` can't be an OpenSearch index; None where it can.

    The rules are OpenSearch's own (restrictions on index names, in the documentation of Create Index), except that the
    end ``-g1`` is kept for generations.
    """
    if name != name.lower():
        return "an index name is lower case only"
    if found := sorted(
        {character for character in name if character in ' \\/*?"<>|,#:' or not character.isprintable()}
    ):
        return f"an index name can't hold {' '.join(repr(character) for character in found)}"
    if name.startswith(("-", "_", "+", ".")):
        return "an index name begins with a letter or digit (a dot is for hidden indexes)"
    if len(name.encode()) > _LONGEST_INDEX:
        return f"is longer than {_LONGEST_INDEX} bytes: shorten it"
    if re.search(r"-g\d+\Z", name):
        return "ends like a generation of an index (-g1): rename it"
    return None


def column_problem(sql_type: str) -> str | None:
    """Why `sql_type` is not taken as a column's type; None where it is. Never is it raw SQL: words are listed here."""
    found = _SQL_TYPE.fullmatch(" ".join(sql_type.lower().split()))
    if found is not None:
        words, first, second, _ = found.groups()
        parameters = _SQL_NAMES.get(words, _SQL_PHRASES.get(words))
        given = (first is not None) + (second is not None)
        if parameters is not None and given <= parameters:
            return None
    return (
        "not a column type that dynaview knows: write a built-in type such as numeric(12,2), varchar(40), uuid or "
        "text[], in full"
    )

"""What is wrong with a view: each problem once, at its line, with its path and what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

HASH = "source: shop\nsink: cache\nmatch: {pk: 'C#{id}'}\nkey: 'c:{id}'\n"
"""Four lines of a good Redis view, but for its fields."""
SEARCH = "source: shop\nsink: search\nmatch: {pk: 'C#{id}'}\nkey: '{id}'\nindex: things\n"
"""Five lines of a good OpenSearch view, but for its fields."""
TABLE = "source: shop\nsink: reads\nmatch: {pk: 'C#{id}'}\nkey: id\ntable: things\n"
"""Five lines of a good Postgres view, but for its fields."""

CASES = {
    "unknown key": (
        HASH + "feilds: {name: name}",
        ["5:feilds: unknown key, did you mean fields?", "0:: fields is missing"],
    ),
    "missing keys": (
        "where: a == `1`",
        ["0:: key is missing", "0:: sink is missing. Which sink keeps the rows.", "0:: source is missing"],
    ),
    "wrong type": (HASH + "fields: [name]", ["5:fields: expected a mapping, found a list"]),
    "empty value": (HASH + "fields:", ["5:fields: is empty: give a mapping or remove the key"]),
    "number as expression": (
        HASH + "fields:\n  n: 5",
        ["6:fields.n: expected text or a mapping, found a number: put it in quotes"],
    ),
    "template without quotes": (
        "source: shop\nsink: cache\nkey: {id}\nfields: {name: name}",
        ["3:key: expected text or a list, found a mapping: put text that begins with a brace in quotes"],
    ),
    "unknown source": (
        HASH.replace("source: shop", "source: shoop") + "fields: {n: n}",
        ["1:source: no source is called shoop, did you mean shop?"],
    ),
    "unknown sink": (
        HASH.replace("sink: cache", "sink: cash") + "fields: {n: n}",
        ["2:sink: no sink is called cash, did you mean cache?"],
    ),
    "unknown type": (
        HASH + "fields: {n: {type: txt}}",
        ["5:fields.n.type: txt is not one of its values, did you mean text?"],
    ),
    "types of other systems": (
        SEARCH + "fields:\n  a: {type: string}\n  b: {type: float}\n  c: {type: int}\n  d: {type: datetime}",
        [
            "7:fields.a.type: string is not one of its values, did you mean text?",
            "8:fields.b.type: float is not one of its values, did you mean double?",
            "9:fields.c.type: int is not one of its values, did you mean integer?",
            "10:fields.d.type: datetime is not one of its values, did you mean timestamp?",
        ],
    ),
    "types of Redis by other names": (
        HASH + "type: zset\nfields: {n: n}",
        ["5:type: zset is not one of its values, did you mean sorted_set?"],
    ),
    "a Redis type is no field type": (
        HASH + "type: text\nfields: {n: n}",
        ["5:type: text is not one of its values, did you mean string?"],
    ),
    "units by other names": (
        SEARCH + "fields: {n: {type: timestamp, unit: ms}}",
        ["6:fields.n.unit: ms is not one of its values, did you mean milliseconds?"],
    ),
    "wrong expression": (
        HASH + "fields:\n  n: a..b",
        ['6:fields.n: wrong JMESPath at column 3, at ".b"'],
    ),
    "wrong expression in from": (
        HASH + "fields:\n  n:\n    from: a[",
        ['7:fields.n.from: wrong JMESPath: it ends too early, after "a["'],
    ),
    "unknown function": (
        HASH + "where: lenght(a) > `1`\nfields: {n: n}",
        ['5:where: wrong JMESPath at column 1, at "lenght(a)'],
    ),
    "element outside each": (
        HASH + "fields: {n: _element.a}",
        ["5:fields.n: _element is known only in the fields and keys of a view with each"],
    ),
    "wrong pattern": (
        HASH.replace("C#{id}", "{id}{other}") + "fields: {n: n}",
        ["3:match.pk: nothing stands between {id} and {other}"],
    ),
    "unclosed capture": (
        HASH.replace("C#{id}", "C#{id") + "fields: {n: n}",
        ["3:match.pk: the brace at column 3 is not closed"],
    ),
    "key without names": (
        HASH.replace("c:{id}", "all") + "fields: {n: n}",
        ["4:key: without a name in braces all items would meet on one key"],
    ),
    "empty key": (HASH.replace("'c:{id}'", "''") + "fields: {n: n}", ["4:key: is empty. What tells rows apart"]),
    "name that is not captured": (
        HASH.replace("c:{id}", "c:{idd}") + "fields: {n: n}",
        ["4:key: idd is used but neither captured by match nor one of the fields, did you mean id?"],
    ),
    "captured by one alternative": (
        "source: shop\nsink: cache\nmatch: [{pk: 'C#{id}'}, {pk: 'D#{other}'}]\nkey: 'c:{id}'\nfields: {n: n}",
        ["4:key: id is captured by some alternatives of match only"],
    ),
    "list as template": (
        HASH.replace("'c:{id}'", "[id]") + "fields: {n: n}",
        ["4:key: is a list, but this key is a template"],
    ),
    "json in a key": (
        HASH.replace("c:{id}", "c:{tags}") + "fields: {tags: {type: json}}",
        ["4:key: field tags is of type json, but a key is made of single values"],
    ),
    "template in Postgres": (
        TABLE.replace("key: id", "key: '{id}'") + "fields: {id: id}",
        ["4:key: keys in Postgres are names of fields, not a template"],
    ),
    "key column that is no field": (
        TABLE.replace("key: id", "key: [sku, idd]") + "fields: {id: id, sku: sku}",
        ["4:key[1]: idd is not one of the fields, did you mean id?"],
    ),
    "key column that is only captured": (
        TABLE + "fields: {n: n}",
        ["4:key: id is captured but not a field: add id: id to fields"],
    ),
    "key column of lists": (
        TABLE + "fields: {id: {type: 'text[]'}}",
        ["4:key: field id is of type text[], but a key is made of single values"],
    ),
    "key column of anything": (
        TABLE + "fields: {id: {type: any}}",
        ["4:key: field id is of type any, which may be a list or a map"],
    ),
    "optional key column": (
        TABLE + "fields: {id: {required: false}}",
        ["6:fields.id.required: is part of the key and so always required"],
    ),
    "key column twice": (
        TABLE.replace("key: id", "key: [id, id]") + "fields: {id: id}",
        ["4:key: holds the same twice"],
    ),
    "each without the element in the key": (
        TABLE + "each: lines\nfields: {id: id, sku: sku}",
        ["4:key: holds nothing of the element, so all elements of one item would be one row"],
    ),
    "key of another store": (
        HASH + "index: a\ntable: b\nfields: {n: n}",
        [
            "5:index: is only for OpenSearch, but the sink is Redis: remove it",
            "6:table: is only for Postgres, but the sink is Redis",
        ],
    ),
    "column of another store": (HASH + "fields: {n: {column: text}}", ["5:fields.n.column: is only for Postgres"]),
    "mapping of another store": (
        HASH + "fields: {n: {mapping: {type: text}}}",
        ["5:fields.n.mapping: is only for OpenSearch"],
    ),
    "type for later": (
        HASH + "type: geo\nfields: {n: n}",
        ["5:type: geo is not yet supported: use hash, string, set, sorted_set"],
    ),
    "set without member": (HASH + "type: set", ["0:: member is missing: a set needs it"]),
    "sorted set without score": (
        HASH + "type: sorted_set\nmember: '{id}'",
        ["0:: score is missing: a sorted_set needs it"],
    ),
    "score of a hash": (HASH + "score: n\nfields: {n: n}", ["5:score: does not go with type hash: remove it"]),
    "member of a string": (
        HASH + "type: string\nmember: '{id}'\nfields: {n: n}",
        ["6:member: does not go with type string: remove it"],
    ),
    "expiring members": (
        HASH + "type: set\nmember: '{id}'\nexpire: 60",
        ["7:expire: members of a set can't expire one by one"],
    ),
    "no time to live": (HASH + "expire: 0\nfields: {n: n}", ["5:expire: has to be at least 1"]),
    "expiry from nothing": (HASH + "expire: {unit: seconds}\nfields: {n: n}", ["5:expire: from is missing"]),
    "key kept for dynaview": (
        HASH.replace("c:{id}", "_v:{id}") + "fields: {n: n}",
        ["4:key: keys that begin with _v, _t or _g are kept"],
    ),
    "key kept for a generation": (
        HASH.replace("c:{id}", "_g{{{id}}}") + "fields: {n: n}",
        ["4:key: keys that begin with _v, _t or _g are kept"],
    ),
    "field kept for dynaview": (
        HASH + "fields: {_v: n}",
        ["5:fields._v: names that begin with _ are kept for dynaview"],
    ),
    "field with a dot": (
        SEARCH + "fields: {a.b: n}",
        ["6:fields.a.b: can't be a field in OpenSearch, which splits names at dots"],
    ),
    "field that is no column": (TABLE + "fields: {id: id, a-b: n}", ["6:fields.a-b: can't be a name in Postgres here"]),
    "column of the server": (
        TABLE + "fields: {id: id, xmin: n}",
        ["0:: field xmin: Postgres or dynaview uses this column name"],
    ),
    "long column": (
        TABLE + f"fields: {{id: id, {'a' * 64}: n}}",
        ["6:fields." + "a" * 59 + "…: is longer than 63 bytes"],
    ),
    "no index": (
        SEARCH.replace("index: things\n", "") + "fields: {n: n}",
        ["0:: index is missing: a view in OpenSearch needs it"],
    ),
    "index in capitals": (
        SEARCH.replace("things", "Things") + "fields: {n: n}",
        ["5:index: an index name is lower case only"],
    ),
    "index with a blank": (
        SEARCH.replace("things", "'a b*'") + "fields: {n: n}",
        ["5:index: an index name can't hold ' ' '*'"],
    ),
    "hidden index": (
        SEARCH.replace("things", "_things") + "fields: {n: n}",
        ["5:index: an index name begins with a letter or digit"],
    ),
    "index like a generation": (
        SEARCH.replace("things", "things-g2") + "fields: {n: n}",
        ["5:index: ends like a generation"],
    ),
    "long index": (SEARCH.replace("things", "a" * 201) + "fields: {n: n}", ["5:index: is longer than 200 bytes"]),
    "mapping of an unknown field": (
        SEARCH + "mappings:\n  properties:\n    nname: {type: text}\nfields: {name: name}",
        ["8:mappings.properties.nname: not one of the fields, did you mean name?"],
    ),
    "mapping beside properties": (
        SEARCH + "mappings: {dynamic: true}\nfields: {n: n}",
        ["6:mappings.dynamic: unknown key"],
    ),
    "no table": (
        TABLE.replace("table: things\n", "") + "fields: {id: id}",
        ["0:: table is missing: a view in Postgres needs it"],
    ),
    "table that is no name": (
        TABLE.replace("things", "'a; drop'") + "fields: {id: id}",
        ["5:table: can't be a name in Postgres here"],
    ),
    "long table": (TABLE.replace("things", "a" * 49) + "fields: {id: id}", ["5:table: is longer than 48 bytes"]),
    "schema of the server": (
        TABLE + "schema: pg_catalog\nfields: {id: id}",
        ["6:schema: schemas of Postgres itself are not for views"],
    ),
    "raw SQL as column type": (
        TABLE + "fields: {id: id, n: {column: 'text default now()'}}",
        ["6:fields.n.column: not a column type that dynaview knows"],
    ),
    "column type that does not hold its field": (
        TABLE + "fields: {id: id, n: {type: integer, column: boolean}}",
        ["0:: field n: column 'boolean' does not hold type integer exactly"],
    ),
    "index on an unknown field": (
        TABLE + "fields: {id: id, name: name}\nindexes:\n- name\n- [id, nam]",
        ["9:indexes[1]: nam is not one of the fields, did you mean name?"],
    ),
    "unique index of a wrong method": (
        TABLE + "fields: {id: id}\nindexes: [{columns: [id], unique: true, method: gin}]",
        ["7:indexes[0].method: a gin index can't be unique in Postgres"],
    ),
    "unknown index method": (
        TABLE + "fields: {id: id}\nindexes: [{columns: [id], method: btre}]",
        ["7:indexes[0].method: btre is not one of its values, did you mean btree?"],
    ),
    "index without columns": (
        TABLE + "fields: {id: id}\nindexes: [{unique: true}]",
        ["7:indexes[0]: columns is missing"],
    ),
    "unit of a text": (
        HASH + "fields: {n: {type: text, unit: seconds}}",
        ["5:fields.n.unit: only timestamps and dates have a unit"],
    ),
    "default of another type": (
        HASH + "fields: {n: {type: integer, default: many}}",
        ["5:fields.n.default: does not fit type integer: wanted integer, found text"],
    ),
    "wrong on_gap": (
        HASH + "on_gap: rebuilt\nfields: {n: n}",
        ["5:on_gap: rebuilt is not one of its values, did you mean rebuild?"],
    ),
    "wrong on_change": (
        HASH + "on_change: aks\nfields: {n: n}",
        ["5:on_change: aks is not one of its values, did you mean ask?"],
    ),
    "no duration": (
        HASH + "keep: 24 hours\nfields: {n: n}",
        ["5:keep: not a duration: write 90s, 15m, 24h or 7d"],
    ),
    "duration without a unit": (HASH + "keep: '24'\nfields: {n: n}", ["5:keep: not a duration"]),
    "negative duration": (HASH + "keep: -1\nfields: {n: n}", ["5:keep: has to be at least 0"]),
    "endless duration": (HASH + "keep: 9999d\nfields: {n: n}", ["5:keep: has to be at most 3650d"]),
    "duration of another type": (
        HASH + "keep: true\nfields: {n: n}",
        ["5:keep: expected text or a number, found true"],
    ),
    "no share": (HASH + "shrink: half\nfields: {n: n}", ["5:shrink: not a share: write a percentage such as 5%"]),
    "share above 1": (
        HASH + "shrink: 50\nfields: {n: n}",
        ["5:shrink: a number here is from 0 to 1: write a percentage with its sign"],
    ),
    "share above 100%": (HASH + "shrink: 101%\nfields: {n: n}", ["5:shrink: has to be at most 100%"]),
    "verify without every": (
        HASH + "verify: {sample: 5%}\nfields: {n: n}",
        ["5:verify: every is missing. How often."],
    ),
    "verify without a mapping": (HASH + "verify: 24h\nfields: {n: n}", ["5:verify: expected a mapping, found text"]),
    "verify at all times": (
        HASH + "verify: {every: 0}\nfields: {n: n}",
        ["5:verify.every: has to be at least 1s"],
    ),
    "verify nothing": (
        HASH + "verify:\n  every: 1h\n  sample: 0%\n  reapir: true\nfields: {n: n}",
        ["7:verify.sample: has to be more than 0%", "8:verify.reapir: unknown key, did you mean repair?"],
    ),
    "match without patterns": (
        HASH.replace("{pk: 'C#{id}'}", "{}") + "fields: {n: n}",
        ["3:match: is empty"],
    ),
    "capture kept for dynaview": (
        HASH.replace("C#{id}", "C#{_id}") + "fields: {n: n}",
        ["3:match.pk: {_id}: names of captures do not begin with _"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_view_is_refused_with_place_and_remedy(name: str, view_problems: Callable[..., list[str]]) -> None:
    text, expected = CASES[name]
    found = view_problems(text)
    assert len(found) == len(expected), found
    for line, beginning in zip(sorted(found), sorted(expected), strict=True):
        assert line.startswith(beginning), found


@pytest.mark.parametrize("base", [HASH + "fields: {n: n}", SEARCH + "fields: {n: n}", TABLE + "fields: {id: id}"])
def test_what_the_cases_change_is_right_without_the_change(base: str, view_problems: Callable[..., list[str]]) -> None:
    assert view_problems(base) == []


def test_all_problems_come_in_one_run_in_the_order_of_the_file(problems: Callable[..., list[str]]) -> None:
    found = problems(
        """\
        sources:
          shop: {tabel: shop}
        sinks:
          cache: {redis: "${NOT_SET}"}
          reads: {postgres: "redis://reads"}
        views:
          one:
            source: shop
            sink: cache
            key: "a:{id}"
            where: a ==
            fields: {id: id}
          two:
            source: shop
            sink: reads
            table: T-1
            key: id
            feilds: {id: id}
          three:
            source: ship
            sink: cache
            key: "b:{name}"
            fields: {name: name, other: {type: number}}
        """
    )
    assert [line.split(":")[1] for line in found] == ["2", "2", "4", "5", "11", "13", "16", "18", "20", "23"]
    assert [line.split(": ")[1] for line in found] == [
        "sources.shop.tabel",
        "sources.shop",
        "sinks.cache.redis",
        "sinks.reads.postgres",
        "views.one.where",
        "views.two",
        "views.two.table",
        "views.two.feilds",
        "views.three.source",
        "views.three.fields.other.type",
    ]

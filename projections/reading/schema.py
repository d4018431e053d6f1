"""The published JSON Schema of a declaration: what editors complete and what the checker checks, one and the same.

Draft 7, which editors' YAML support knows best. Shapes only: names, expressions, templates and the differences between
stores are the reader's.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from dynaview.projections.quantities import DURATION, SHARE
from dynaview.projections.rows import SCALARS
from dynaview.projections.times import UNITS

Schema: TypeAlias = dict[str, Any]

NAME = "^[A-Za-z][A-Za-z0-9_-]{0,62}$"
"""What sources, sinks and views are called."""

FIELD_TYPES = (*SCALARS, *(f"{scalar}[]" for scalar in SCALARS if scalar not in ("any", "json")))

REDIS_TYPES = ("hash", "string", "set", "sorted_set")
LATER_REDIS_TYPES = ("json", "stream", "geo")
"""Known words that this version does not serve."""

SINK_SCHEMES = {
    "redis": ("redis", "rediss", "unix"),
    "opensearch": ("http", "https"),
    "postgres": ("postgresql", "postgres"),
}
"""Kinds of sinks and how their URLs begin."""

SINK_OPTIONS = {
    "auth": ("opensearch", "postgres"),
    "pooler": ("postgres",),
    "region": ("opensearch", "postgres"),
    "service": ("opensearch",),
    "client_cert_file": ("opensearch",),
    "client_key_file": ("opensearch",),
    "cluster": ("redis",),
    "wait": ("redis",),
}
"""Keys of a sink that not every kind has, and the kinds that do."""

INDEX_METHODS = ("btree", "hash", "gin", "gist", "brin", "spgist")


def schema() -> Schema:
    """A fresh copy of the schema."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "dynaview declaration",
        "description": "Materialized views of DynamoDB tables in Redis, OpenSearch and Postgres.",
        **_mapping(
            {
                "sources": _named(_source(), "DynamoDB tables by the names that views use."),
                "sinks": _named(_sink(), "Stores by the names that views use."),
                "control": _text(
                    "SQLAlchemy URL of the control store, which holds checkpoints and dead letters. Default: the "
                    "SQLite file dynaview.db beside this file. ${VARIABLE} is replaced from the environment."
                ),
                "python": _list(
                    _text("A module (shop.views) or a file (./views.py)."),
                    "Python modules whose functions under @projection are views too.",
                ),
                "views": _named(_view(), "The views by name."),
            },
            patterns={"^x-": {"description": "Ignored: a place for anchors."}},
        ),
    }


def _source() -> Schema:
    return _mapping(
        {
            "table": _text("Name or ARN of the DynamoDB table. ${VARIABLE} is replaced from the environment."),
            "region": _string("AWS region. Default: that of the ARN, else boto3's own (AWS_DEFAULT_REGION, profile)."),
            "endpoint": _string("URL to use instead of AWS's, such as DynamoDB Local's. Empty: none."),
            "streams_endpoint": _string("The same for the stream only. Default: endpoint."),
            "fips": _boolean("Whether AWS's endpoints with validated cryptography (FIPS) are used. Default: false."),
            "profile": _string(
                "Profile of AWS's configuration files. Empty: none. Default: boto3's own (AWS_PROFILE)."
            ),
            "role_arn": _string("ARN of a role to assume, in this or another account. Empty: none."),
            "external_id": _string("What the role's trust policy asks for as external ID. Empty: none."),
            "readers": {
                "description": "How many may read a shard of its stream at a time: 1 for a global table. Default: 2.",
                "type": "integer",
                "enum": [1, 2],
            },
            "latency": _duration("How soon a change is to be read from a shard that was idle. Default: 0.5 s."),
            "lambda_timeout": _duration(
                "The timeout of the Lambda function that writes the views of this table. Default: there is none."
            ),
        },
        "A DynamoDB table. Credentials come from boto3's usual chain, or by the role that is named.",
        required=["table"],
    )


def _sink() -> Schema:
    return {
        **_mapping(
            {
                "redis": _text(
                    'URL of Redis or Valkey: redis://host:6379/0 or rediss:// for TLS; best "${REDIS_URL}".'
                ),
                "opensearch": _text('URL of OpenSearch: https://host:9200; best "${OPENSEARCH_URL}".'),
                "postgres": _text('URL of PostgreSQL: postgresql://host:5432/name; best "${DATABASE_URL}".'),
                "ca_file": _text("File with the certificates to trust, relative to this file."),
                "verify": _boolean("Whether the server's certificate is checked. Default: true."),
                "client_cert_file": _text(
                    "OpenSearch: file with the certificate to show to the server, relative to this file."
                ),
                "client_key_file": _text("OpenSearch: file with its key, where that is another one."),
                "cluster": _boolean(
                    "Redis: whether the server is one of a cluster. Default: what the server says of itself."
                ),
                "wait": {
                    "description": "Redis: how many replicas have to acknowledge a write before it counts as durable. "
                    "Default: 0.",
                    "type": "integer",
                    "minimum": 0,
                },
                "auth": {
                    "description": "How to say who one is, in place of a password: aws takes the AWS credentials that "
                    "boto3 finds. OpenSearch: requests are signed. Postgres: RDS's tokens.",
                    "type": "string",
                    "enum": ["aws"],
                },
                "pooler": _boolean(
                    "Postgres: whether a pooler of transactions stands between: then nothing is set for a session."
                ),
                "region": _string("AWS region of the store. Default: what its host says."),
                "service": {
                    "description": "OpenSearch: es for a domain of OpenSearch Service, aoss for a collection of "
                    "Serverless. Default: what its host says.",
                    "type": "string",
                    "enum": ["es", "aoss"],
                },
                "timeout": {
                    "description": "Seconds to wait for a connection or an answer.",
                    "type": "number",
                    "exclusiveMinimum": 0,
                },
            },
            "A store: one of redis, opensearch or postgres, and how to connect.",
        ),
        "oneOf": [{"required": [kind]} for kind in SINK_SCHEMES],
    }


def _view() -> Schema:
    properties: Schema = {
        "source": _text("Which source the items come from."),
        "match": {
            "description": "Which items belong to the view: key attributes and their patterns (CUSTOMER#{id}), "
            "or a list of such alternatives. Captures become names for fields and keys. Default: every item.",
            "type": ["object", "array"],
            "minProperties": 1,
            "additionalProperties": _text("A pattern: literal text with captures in braces."),
            "minItems": 1,
            "items": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": _text("A pattern: literal text with captures in braces."),
            },
        },
        "where": _text("JMESPath on the item: it belongs to the view where this is true."),
        "each": _text("JMESPath on the item that yields a list or map: one row for each element."),
        "sink": _text("Which sink keeps the rows."),
        "python": _text("A Python function that makes the rows, as module:function or ./file.py:function."),
        "key": {
            "description": "What tells rows apart. Redis and OpenSearch: a template (customer:{id}). Postgres: the "
            "names of the key fields. ${VARIABLE} in a template is replaced from the environment.",
            "type": ["string", "array"],
            "minLength": 1,
            "minItems": 1,
            "uniqueItems": True,
            "items": _text("A field."),
        },
        "fields": {
            "description": "What a row holds, by name: a JMESPath expression or a mapping.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": _field(),
        },
        "on_gap": {
            "description": "What follows when stream data was lost: stop (default) or rebuild.",
            "type": "string",
            "enum": ["stop", "rebuild"],
        },
        "on_change": {
            "description": "What follows when the declaration is no longer the one that built the view: rebuild, ask "
            "(default: the view goes on as it was built until dynaview rebuild) or stop.",
            "type": "string",
            "enum": ["rebuild", "ask", "stop"],
        },
        "keep": _duration(
            "How long the generation before the live one is kept for a rollback; 0 drops it at once. Default: 24h."
        ),
        "shrink": _share("The largest loss of rows that a swap accepts without asking. Default: 50%."),
        "verify": _mapping(
            {
                "every": _duration("How often. Default: only when somebody asks."),
                "sample": _share("How much of the view is compared. Default: 100%."),
                "repair": _boolean("Whether what differs is fixed at once. Default: false."),
            },
            "When the view is compared with its table by itself.",
            required=["every"],
        ),
        "dead_letters": _mapping(
            {
                "limit": {
                    "description": "So many are no reason to stop. Default: 1000.",
                    "type": "integer",
                    "minimum": 0,
                },
                "within": {
                    "description": "Seconds in which they are counted. Default: 600.",
                    "type": "number",
                    "exclusiveMinimum": 0,
                },
            },
            "How many dead letters stop the view: most likely its declaration is wrong then.",
        ),
        "type": {
            "description": "Redis: how a row is kept. Default: hash.",
            "type": "string",
            "enum": [*REDIS_TYPES, *LATER_REDIS_TYPES],
        },
        "member": _text("Redis set and sorted_set: the template of the member."),
        "score": {
            "description": "Redis sorted_set: JMESPath of the score.",
            **_expression({"default": {"description": "Score where the expression yields nothing.", "type": "number"}}),
        },
        "expire": {
            "description": "Redis: seconds that a row lives, or the attribute that holds when it ends.",
            "type": ["integer", "object"],
            "minimum": 1,
            "required": ["from"],
            "properties": {"from": _text("JMESPath of the time at which the row ends."), "unit": _unit()},
            "additionalProperties": False,
        },
        "index": _text("OpenSearch: the name that readers use. ${VARIABLE} is replaced from the environment."),
        "settings": {"description": "OpenSearch: index settings.", "type": "object"},
        "mappings": _mapping(
            {
                "properties": {
                    "description": "Mappings by field.",
                    "type": "object",
                    "additionalProperties": {"type": "object"},
                }
            },
            "OpenSearch: explicit mappings; they win over what field types derive.",
        ),
        "schema": _text("Postgres: the schema. Default: public. ${VARIABLE} is replaced from the environment."),
        "table": _text("Postgres: the name that readers use. ${VARIABLE} is replaced from the environment."),
        "indexes": _list(_index(), "Postgres: indexes."),
    }
    return _mapping(properties, "One projection kept in one sink.", required=["source", "sink", "key"])


def _field() -> Schema:
    return _expression(
        {
            "type": {
                "description": "The field's type. Default: text in Postgres, else any.",
                "type": "string",
                "enum": list(FIELD_TYPES),
            },
            "unit": _unit(),
            "default": {"description": "The value where the expression yields nothing."},
            "required": _boolean("Whether an item without a value is a dead letter. Default: false."),
            "column": _text("Postgres: the column's SQL type, such as numeric(12,2)."),
            "mapping": {"description": "OpenSearch: the field's mapping.", "type": "object", "minProperties": 1},
        }
    )


def _expression(options: Schema) -> Schema:
    return {
        "type": ["string", "object"],
        "minLength": 1,
        "properties": {"from": _text("JMESPath on the item. Default: the attribute of the field's name."), **options},
        "additionalProperties": False,
    }


def _unit() -> Schema:
    return {
        "description": "What a number counts since 1970, for timestamps and dates that come as numbers.",
        "type": "string",
        "enum": list(UNITS),
    }


def _index() -> Schema:
    columns = {"type": "array", "minItems": 1, "uniqueItems": True, "items": _text("A field.")}
    return {
        "description": "A field, a list of fields, or a mapping.",
        "type": ["string", "array", "object"],
        "minLength": 1,
        "minItems": 1,
        "uniqueItems": True,
        "items": _text("A field."),
        "required": ["columns"],
        "properties": {
            "columns": {"description": "Fields, in order.", **columns},
            "unique": _boolean("Whether two rows may not hold the same. Default: false."),
            "method": {
                "description": "Index method. Default: btree.",
                "type": "string",
                "enum": list(INDEX_METHODS),
            },
        },
        "additionalProperties": False,
    }


def _text(description: str) -> Schema:
    return {"description": description, "type": "string", "minLength": 1}


def _string(description: str) -> Schema:
    return {"description": description, "type": "string"}


def _boolean(description: str) -> Schema:
    return {"description": description, "type": "boolean"}


def _duration(description: str) -> Schema:
    return {
        "description": f"{description} 90s, 15m, 24h, 7d, or a number of seconds.",
        "type": ["string", "number"],
        "pattern": DURATION,
        "minimum": 0,
    }


def _share(description: str) -> Schema:
    return {
        "description": f"{description} 5%, or a number from 0 to 1.",
        "type": ["string", "number"],
        "pattern": SHARE,
        "minimum": 0,
    }


def _list(items: Schema, description: str) -> Schema:
    return {"description": description, "type": "array", "items": items}


def _mapping(
    properties: Schema, description: str = "", *, required: list[str] | None = None, patterns: Schema | None = None
) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if description:
        found["description"] = description
    if required:
        found["required"] = required
    if patterns:
        found["patternProperties"] = patterns
    return found


def _named(items: Schema, description: str) -> Schema:
    return {
        "description": description,
        "type": "object",
        "propertyNames": {"pattern": NAME},
        "additionalProperties": items,
    }

"""What a user declared, checked and frozen: the model between reading (YAML, Python) and compiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dynaview.projections.rows import Layout
from dynaview.projections.times import Unit

SinkKind: TypeAlias = Literal["redis", "opensearch", "postgres"]


class DeclarationError(Exception):
    """A declaration that dynaview refuses; carries every problem found, each with place and remedy."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class At:
    """A place in a declaration: ``views.order_search.fields.total`` at ``dynaview.yaml:14``."""

    path: str
    file: str
    line: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: ``dynaview.yaml:14: views.order_search.feilds: unknown key, did you mean fields?``"""

    at: At
    message: str
    """What is wrong and what to do about it; shows no secrets."""
    warns: bool = False
    """Whether it is only most likely wrong, and stops nothing."""

    def __str__(self) -> str:
        return f"{self.at}: {self.at.path}: {'warning: ' if self.warns else ''}{self.message}"


@dataclass(frozen=True, slots=True)
class SourceDeclaration:
    """A DynamoDB table. Credentials come from boto3's usual chain, never from the declaration, which may name the
    profile or the role whose they are."""

    name: str
    table: str
    """Its name or ARN."""
    region: str | None
    endpoint: str | None
    at: At
    readers: int = 2
    """How many may read a shard of its stream at a time, 1 or 2."""
    latency: float | None = None
    """Seconds after which a shard that was idle is read again at the latest; None where nothing is said."""
    lambda_timeout: float | None = None
    """Seconds that an invocation lasts at most of a Lambda function that writes the views too; None where there is
    none."""
    profile: str | None = None
    """Of AWS's configuration files; None: whichever boto3 finds."""
    role_arn: str | None = None
    """A role to assume, of whichever account."""
    external_id: str | None = field(default=None, repr=False)
    """What the trust policy of the role asks for."""
    fips: bool = False
    """Whether endpoints with validated cryptography are asked."""
    streams_endpoint: str | None = None
    """In place of `endpoint`, for the stream."""


@dataclass(frozen=True, slots=True)
class SinkDeclaration:
    """A store. `url` may hold credentials: it is kept out of repr, and only `safe_url` may be shown."""

    name: str
    kind: SinkKind
    url: str = field(repr=False)
    safe_url: str
    """The URL without user, password and query."""
    options: Mapping[str, Any] = field(repr=False)
    """TLS and time-outs: ``ca_file``, ``verify``, ``timeout`` (seconds)."""
    at: At


@dataclass(frozen=True, slots=True)
class FieldExpression:
    """Where a field's value comes from: a JMESPath expression, a conversion and a default."""

    expression: str
    type: str
    """One of `dynaview.projections.rows.SCALARS`, or an array of it (``text[]``)."""
    unit: Unit | None
    """For timestamps and dates made from numbers."""
    default: Any
    """The value (already of the field's Python type) where the expression yields null; None for none."""
    required: bool
    """Whether null is refused (row key fields are required)."""
    at: At


PythonProjection: TypeAlias = Callable[[dict[str, Any]], Any]
"""Takes the whole item (plus captures) as plain values; returns a dict of fields, a list of such dicts, or None."""


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """How many dead letters a view may leave before it is stopped: more than `limit` within `within` seconds."""

    limit: int = 1000
    within: float = 600.0


KEEP = 86_400.0
"""Seconds that the generation before the live one is kept where nothing is said: 24 hours."""

SHRINK = 0.5
"""The largest loss of rows that a swap accepts where nothing is said."""


@dataclass(frozen=True, slots=True)
class Verification:
    """How often a view is compared with its table by itself."""

    every: float
    """Seconds from one comparison's beginning to the next one's."""
    sample: float = 1.0
    """The share of the rows that is compared, above 0 and up to 1."""
    repair: bool = False
    """Whether what is found to differ is fixed at once."""


@dataclass(frozen=True, slots=True)
class ViewDeclaration:
    """One view. Everything here has been checked as far as it can be without a server."""

    name: str
    source: str
    sink: str
    match: tuple[Mapping[str, str], ...]
    """Alternatives; each maps a key attribute to a pattern (``CUSTOMER#{customer_id}``). Empty: every item matches."""
    where: str | None
    """JMESPath on the item; the item belongs to the view where it is true."""
    each: str | None
    """JMESPath on the item that yields a list or map: one row an element."""
    function: PythonProjection | None
    function_name: str
    """``module:function`` of a Python projection, for messages and fingerprints; else empty."""
    key: str | tuple[str, ...]
    """A template (Redis, OpenSearch) or the names of the key columns (Postgres)."""
    member: str | None
    """Redis set and sorted set: the template of the member."""
    score: FieldExpression | None
    """Redis sorted set."""
    expire: FieldExpression | None
    """Redis: when a row ends, where ``expire: {from: …}``."""
    fields: Mapping[str, FieldExpression] | None
    """In order. None where a Python function leaves its fields open."""
    layout: Layout
    on_gap: Literal["stop", "rebuild"]
    at: At
    places: Mapping[str, At]
    """Places below the view by path (``where``, ``fields.total``), for messages of later checks."""
    dead_letters: DeadLetterLimits = DeadLetterLimits()
    on_change: Literal["rebuild", "ask", "stop"] = "ask"
    """What follows when the view was built by another declaration."""
    keep: float = KEEP
    """Seconds that the generation before the live one is kept, and written, for a rollback; 0: it goes at once."""
    shrink: float = SHRINK
    """The largest share of its rows that a view may lose in a swap unasked, from 0 to 1."""
    verify: Verification | None = None
    """None: only when somebody asks."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A whole checked declaration."""

    sources: Mapping[str, SourceDeclaration]
    sinks: Mapping[str, SinkDeclaration]
    views: Mapping[str, ViewDeclaration]
    control: str = field(repr=False)
    """SQLAlchemy URL of the control store."""
    file: str
    warnings: tuple[Problem, ...] = ()
    """What is most likely not meant, in the order of the files."""

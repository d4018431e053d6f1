"""From documents to a checked declaration, or to every problem that can be found without a server."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from dynaview.projections.declaration import (
    At,
    Declaration,
    Problem,
    SinkDeclaration,
    SinkKind,
    SourceDeclaration,
)
from dynaview.projections.families import overlap
from dynaview.projections.quantities import duration
from dynaview.projections.reading.addresses import (
    CONTROL,
    beside,
    check_control_url,
    check_endpoint,
    check_role,
    check_sink_url,
    emptied,
    region_of,
    substitute,
)
from dynaview.projections.reading.document import Document
from dynaview.projections.reading.python import Declared, Function
from dynaview.projections.reading.schema import SINK_OPTIONS, SINK_SCHEMES
from dynaview.projections.reading.section import Section
from dynaview.projections.reading.shape import check
from dynaview.projections.reading.variables import with_variables
from dynaview.projections.reading.view import ReadView, Resolve, Surroundings, quantity, read_view
from dynaview.projections.urls import AddressError, safe_url

T = TypeVar("T")

LEAST_LATENCY = 0.05
MOST_LATENCY = 10.0
"""Bounds of a source's latency in seconds. Below, idle shards would be read all the time; above, the watermark of an
idle view would be minutes old."""

LEAST_LAMBDA, MOST_LAMBDA = 1.0, 900.0
"""Bounds of a Lambda function's timeout in seconds (AWS's)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading: the declaration as far as it is right, and what is wrong."""

    declaration: Declaration
    problems: list[Problem]


def read(
    documents: Sequence[Document],
    functions: Sequence[Declared],
    environ: Mapping[str, str],
    resolve: Resolve,
    folder: Callable[[str], str] = posixpath.dirname,
) -> Reading:
    """Read files and decorated functions as one declaration. Never raises for what they hold.

    `folder` answers where a file lies: relative paths in it, also that of the control store, are relative to that.
    """
    problems: list[Problem] = []
    parts = [_Part(_top(document, environ, problems), None) for document in documents]
    parts += [_Part(_top(each.document(), environ, problems), each.function) for each in functions]
    sources = _each(parts, "sources", problems, lambda entry: _source(entry.section, entry.name, environ))
    sinks = _each(parts, "sinks", problems, lambda entry: _sink(entry.section, entry.name, environ, folder))
    around = Surroundings(sources, sinks, resolve)
    read_views = _each(
        parts, "views", problems, lambda entry: read_view(entry.section, entry.name, entry.function, around)
    )
    problems.extend(_shared_targets(read_views))
    file = next((part.section.document.file for part in parts), "")
    declaration = Declaration(
        sources={name: source for name, source in sources.items() if source is not None},
        sinks={name: sink for name, sink in sinks.items() if sink is not None},
        views={name: found.view for name, found in read_views.items() if found is not None and found.view is not None},
        control=_control(parts, environ, problems, folder) or beside(CONTROL, folder(file)),
        file=file,
        warnings=tuple(problem for problem in problems if problem.warns),
    )
    return Reading(declaration, [problem for problem in problems if not problem.warns])


@dataclass(frozen=True, slots=True)
class _Part:
    section: Section
    function: Function | None


@dataclass(frozen=True, slots=True)
class _Entry:
    section: Section
    name: str
    function: Function | None


def _top(document: Document, environ: Mapping[str, str], problems: list[Problem]) -> Section:
    problems.extend(document.problems)
    unreadable = document.data is None and document.problems
    misshapen = [] if unreadable else check(document)
    told = {problem.at.path for problem in document.problems}
    problems.extend(each.problem for each in misshapen if each.problem.at.path not in told)
    document, wrong = with_variables(document, environ, problems)
    return Section(document, (), wrong.union(each.path for each in misshapen), problems)


def _each(
    parts: Sequence[_Part], key: str, problems: list[Problem], read_one: Callable[[_Entry], T | None]
) -> dict[str, T | None]:
    """Everything declared under `key` in any part, read (None where misshapen); no name may be declared twice."""
    found: dict[str, T | None] = {}
    places: dict[str, At] = {}
    for entry in _entries(parts, key):
        if entry.name in found:
            entry.section.problem(f"declared already at {places[entry.name]}: give it another name")
            continue
        places[entry.name] = entry.section.at()
        found[entry.name] = read_one(entry) if entry.section.path not in entry.section.misshapen else None
    return found


def _entries(parts: Sequence[_Part], key: str) -> Iterator[_Entry]:
    for part in parts:
        group = part.section.section(key)
        for name in group.written():
            yield _Entry(group.section(name), name, part.function)


def _source(section: Section, name: str, environ: Mapping[str, str]) -> SourceDeclaration | None:
    table = _substituted(section, "table", environ)
    given = {key: _substituted(section, key, environ) or None for key in _OF_SOURCE}
    for key, check_one in _OF_SOURCE.items():
        if (text := given[key]) is not None and check_one is not None:
            _told(section, key, partial(check_one, text))
    if given["external_id"] is not None and given["role_arn"] is None:
        section.problem("belongs to a role: name it as role_arn, or remove this", "external_id")
    fips = section.get("fips") is True
    if fips and given["endpoint"] is not None:
        section.problem("goes by AWS's own endpoints: remove it, or the endpoint", "fips")
    if table is None:
        return None
    if not table:
        said = emptied(section.text("table") or "", environ)
        section.problem(f"is empty{said}: name the DynamoDB table", "table")
    region = _told(section, "table", partial(region_of, table))
    if region is not None and given["region"] not in (None, region):
        section.problem(f"the table's ARN says {region}: remove this, or name the table of this region", "region")
    readers = section.get("readers")
    invocation = quantity(section, "lambda_timeout", partial(duration, least=LEAST_LAMBDA, most=MOST_LAMBDA))
    if readers is None:  # a Lambda function's event source mapping is one of the two that AWS allows
        readers = 2 if invocation is None else 1
    return SourceDeclaration(
        name,
        table,
        region=region or given["region"],
        endpoint=given["endpoint"],
        at=section.at(),
        readers=readers,
        latency=quantity(section, "latency", partial(duration, least=LEAST_LATENCY, most=MOST_LATENCY)),
        lambda_timeout=invocation,
        profile=given["profile"],
        role_arn=given["role_arn"],
        external_id=given["external_id"],
        fips=fips,
        streams_endpoint=given["streams_endpoint"],
    )


_OF_SOURCE: Mapping[str, Callable[[str], None] | None] = {
    "region": None,
    "endpoint": check_endpoint,
    "streams_endpoint": check_endpoint,
    "profile": None,
    "role_arn": check_role,
    "external_id": None,
}
"""Texts of a source that may be left out or empty, and what checks them."""


def _told(section: Section, key: str, asked: Callable[[], T]) -> T | None:
    """What was asked for; None, and a problem, where it is refused."""
    try:
        return asked()
    except AddressError as error:
        section.problem(str(error), key)
        return None


def _sink(
    section: Section, name: str, environ: Mapping[str, str], folder: Callable[[str], str]
) -> SinkDeclaration | None:
    kinds: list[Any] = [kind for kind in SINK_SCHEMES if section.has(kind)]
    if len(kinds) != 1:
        return None
    kind: SinkKind = kinds[0]
    url = _substituted(section, kind, environ)
    options = _sink_options(section, kind, environ, folder(section.document.file))
    if url is not None and not url.strip() and (said := emptied(section.text(kind) or "", environ)):
        section.problem(f"the URL is empty{said}: set it to the store's URL", kind)
    elif url is not None:
        try:
            check_sink_url(kind, url)
        except AddressError as error:
            section.problem(str(error), kind)
    # A sink whose URL is missing still tells of which kind its views are.
    return SinkDeclaration(name, kind, url or "", safe_url(url or ""), options, section.at())


def _sink_options(section: Section, kind: SinkKind, environ: Mapping[str, str], folder: str) -> dict[str, Any]:
    """What stands beside a sink's URL; what nothing is said of is left out."""
    for key, kinds in SINK_OPTIONS.items():
        if section.has(key) and kind not in kinds:
            section.problem(f"{kind} does not know it: it is for {' and '.join(kinds)}", key)
    taken = ("verify", "timeout", "auth", "service", "pooler", "cluster", "wait")
    options = {key: section.get(key) for key in taken if section.get(key) is not None}
    if "timeout" in options:
        options["timeout"] = float(options["timeout"])
    if region := _substituted(section, "region", environ):
        options["region"] = region
    for key in ("ca_file", "client_cert_file", "client_key_file"):
        if file := _substituted(section, key, environ):
            options[key] = posixpath.join(folder, file)
    return options


def _control(
    parts: Sequence[_Part], environ: Mapping[str, str], problems: list[Problem], folder: Callable[[str], str]
) -> str | None:
    declared = [part.section for part in parts if part.section.has("control")]
    for section in declared[1:]:
        section.problem(f"declared already at {declared[0].at('control')}: there is one control store", "control")
    if not declared:
        return None
    url = _substituted(declared[0], "control", environ)
    if url is not None and not url.strip() and (said := emptied(declared[0].text("control") or "", environ)):
        declared[0].problem(f"the URL is empty{said}: set it, or remove control", "control")
    elif url is not None:
        try:
            check_control_url(url)
        except AddressError as error:
            declared[0].problem(str(error), "control")
        return beside(url, folder(declared[0].document.file))
    return url


def _substituted(section: Section, key: str, environ: Mapping[str, str]) -> str | None:
    text = section.text(key)
    if text is None:
        return None
    try:
        return substitute(text, environ)
    except AddressError as error:
        section.problem(str(error), key)
        return None


def _shared_targets(views: Mapping[str, ReadView | None]) -> Iterator[Problem]:
    """Two views on one target, each pair told once, at the later one."""
    found = [(name, each) for name, each in views.items() if each is not None and each.target is not None and each.sink]
    for index, (_, later) in enumerate(found):
        for name, earlier in found[:index]:
            problem = _shared(earlier, later, name)
            if problem is not None:
                yield Problem(later.at, problem)
                break


def _shared(earlier: ReadView, later: ReadView, name: str) -> str | None:
    if earlier.sink is None or later.sink is None or earlier.sink.kind != later.sink.kind:
        return None
    same_store = earlier.sink.name == later.sink.name or (earlier.sink.url and earlier.sink.url == later.sink.url)
    if not same_store:
        return None
    where = f"view {name} ({earlier.at})"
    match later.sink.kind:
        case "redis":
            if overlap(_literals(earlier), _literals(later)):
                return f"its keys could also be keys of {where} in the same Redis: begin the templates differently"
        case "opensearch":
            if earlier.target == later.target:
                return f"{where} is kept in the same index: name another index"
        case "postgres":
            if earlier.target == later.target:
                return f"{where} is kept in the same table: name another table"
    return None


def _literals(found: ReadView) -> tuple[str, ...]:
    return found.target if isinstance(found.target, tuple) else ("", "")

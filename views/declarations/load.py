"""Loading declarations: files, Python modules and the environment become one checked `Declaration`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import At, Declaration, DeclarationError, Problem, ViewDeclaration
from dynaview.projections.reading.document import Document, read_yaml
from dynaview.projections.reading.python import Declared
from dynaview.projections.reading.reader import read
from dynaview.sinks.connect import connect
from dynaview.views.control.database import check_url
from dynaview.views.control.errors import ControlError
from dynaview.views.declarations.files import read_text
from dynaview.views.declarations.modules import Modules, NoModules

_PYTHON = ".py"
_MOST = 200
"""Problems that are told."""


def load(
    paths: Sequence[Path], environ: Mapping[str, str], modules: Modules | None = None, *, stores: bool = True
) -> Declaration:
    """Read and check declaration files (YAML, or ``.py`` with decorated functions) as one declaration.

    The Python modules that they name are imported, unless `modules` says otherwise. Raises `DeclarationError` with
    every problem that can be found without a server, in the order of the files. Without `stores` what only a store's
    client knows is not looked at: who asks the control store alone does without these clients.
    """
    problems: list[Problem] = []
    modules = modules or Modules(environ)
    documents: list[Document] = []
    declared: list[Declared] = []
    for path in dict.fromkeys(paths):
        if path.suffix == _PYTHON:
            found, problem = modules.collect(f"./{path.name}", path.parent, At("declaration", str(path), 1))
            declared += found
            problems += [problem] if problem else []
        elif (text := read_text(path, problems)) is not None:
            documents.append(read_yaml(text, str(path)))
            for found, problem in _named(documents[-1], path.parent, modules):
                declared += found
                problems += [problem] if problem else []
    reading = read(documents, _once(declared), environ, modules.resolve, folder=os.path.dirname)
    problems += reading.problems
    problems += _unmakeable(reading.declaration.views.values())
    if stores:
        problems += _unconnectable(reading.declaration, {problem.at.path for problem in problems})
    problems += _uncontrollable(reading.declaration, {problem.at.path for problem in problems})
    if not problems and not reading.declaration.views and not isinstance(modules, NoModules):
        problems.append(Problem(At("views", reading.declaration.file, 1), "no view is declared: add one under views"))
    if problems:
        raise DeclarationError(_in_order(problems, paths))
    return reading.declaration


def _named(document: Document, folder: Path, modules: Modules) -> Iterator[tuple[list[Declared], Problem | None]]:
    """What the modules under ``python`` declare; what is not a list of texts is left to the checker."""
    names = document.data.get("python") if isinstance(document.data, dict) else None
    for index, name in enumerate(names if isinstance(names, list) else []):
        if isinstance(name, str) and name:
            yield modules.collect(name, folder, document.at("python", index))


def _once(declared: Iterable[Declared]) -> list[Declared]:
    """A module may be named in several files, and a function imported by several modules."""
    return list({(id(each.function.call), each.name): each for each in declared}.values())


def _unmakeable(views: Iterable[ViewDeclaration]) -> Iterator[Problem]:
    """What only compiling finds."""
    for view in views:
        try:
            projection = compile_view(view)
            key = tuple(sorted({name for alternative in view.match for name in alternative})) or ("pk",)
            shape = Shape(None if projection.attributes is None else {*projection.attributes, *key})
            projection.bind(shape, key, "NEW_AND_OLD_IMAGES")
        except ValueError as error:
            yield Problem(view.at, str(error))


def _unconnectable(declaration: Declaration, told: set[str]) -> Iterator[Problem]:
    """What only a sink knows: options that its client refuses, layouts that it can't keep. No server is asked.

    Sinks that something is known to be wrong with (`told` are the paths of problems) are left out.
    """
    for sink_declaration in declaration.sinks.values():
        if any(path.startswith(f"{sink_declaration.at.path}.") for path in told):
            continue
        ca_file = sink_declaration.options.get("ca_file")
        if ca_file is not None and not Path(ca_file).is_file():
            yield Problem(sink_declaration.at, f"ca_file: there is no file {ca_file}")
            continue
        try:
            sink = connect(sink_declaration)
        except ValueError as error:
            yield Problem(sink_declaration.at, str(error))
            continue
        try:
            for view in declaration.views.values():
                if view.sink == sink_declaration.name:
                    try:
                        sink.open(view.layout, 1)
                    except ValueError as error:
                        yield Problem(view.at, str(error))
        finally:
            sink.close()


def _uncontrollable(declaration: Declaration, told: set[str]) -> Iterator[Problem]:
    """What only the database of the control store knows of its address."""
    if "control" not in told:
        try:
            check_url(declaration.control)
        except ControlError as error:
            yield Problem(At("control", declaration.file, 1), str(error))


def _in_order(problems: list[Problem], paths: Sequence[Path]) -> list[Problem]:
    order = {str(path): index for index, path in enumerate(paths)}
    found = sorted(dict.fromkeys(problems), key=lambda each: (order.get(each.at.file, len(order)), each.at.line))
    if len(found) > _MOST:
        at, more = found[_MOST].at, len(found) - _MOST
        found[_MOST:] = [Problem(At("declaration", at.file, at.line), f"{more} more things are wrong: fix these first")]
    return found

"""Python modules that declarations name: importing them, and saying what is wrong when they can't be."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from dynaview.projections.declaration import At, Problem
from dynaview.projections.reading.document import shown
from dynaview.projections.reading.python import Declared, Function, PythonError, declared, forget, function_of

_PYTHON = ".py"
_OWN_NAMES = "_dynaview_"
_LONGEST = 300
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASS|PWD\Z", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^:/]*:([^/]+)@")


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a module can't be had, and where; `at` is None where that is not inside the module."""

    message: str
    at: At | None = None


class Modules:
    """The modules of one load: a file is executed once, however often it is named.

    `environ` tells which texts are secrets, should an error quote them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._loaded: dict[Path | str, ModuleType | _Failure] = {}

    def collect(self, name: str, folder: Path, at: At) -> tuple[list[Declared], Problem | None]:
        """The decorated functions of ``shop.views`` or ``./views.py`` (relative to `folder`), or why there are none."""
        module = self._module(name, folder)
        if isinstance(module, _Failure):
            return [], Problem(module.at or at, module.message)
        return [_portable(each) for each in declared(module)], None

    def resolve(self, name: str, file: str) -> Function:
        """The function that `file` names as ``module:function``. Raises `PythonError`."""
        module_name, colon, function_name = name.rpartition(":")
        if not colon or not module_name or not function_name:
            raise PythonError("names no function: write module:function or ./file.py:function")
        module = self._module(module_name, Path(file).parent)
        if isinstance(module, _Failure):
            raise PythonError(f"{module.at}: {module.message}" if module.at else module.message)
        return function_of(module, function_name, f"{Path(module_name).name}:{function_name}")

    def _module(self, name: str, folder: Path) -> ModuleType | _Failure:
        key = (folder / name).resolve() if name.endswith(_PYTHON) else name
        if key not in self._loaded:
            # Modules may lie beside the file that names them, and import what lies beside them, now or later.
            beside = str(folder.resolve())
            if beside not in sys.path:
                sys.path.append(beside)
            self._loaded[key] = self._imported(key)
        return self._loaded[key]

    def _imported(self, key: Path | str) -> ModuleType | _Failure:
        if isinstance(key, str):
            if (stranger := _stranger(key)) is not None:
                return _Failure(stranger)
            return self._attempt(lambda: importlib.import_module(key), key)
        if not key.is_file():
            return _Failure(f"there is no file {key.name} in {_nearby(str(key.parent))}")
        return self._attempt(lambda: _executed(key), key.name)

    def _attempt(self, run: Callable[[], ModuleType], name: str) -> ModuleType | _Failure:
        try:
            return run()
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(error.name + ".")):
                path = shown(name).replace(".", "/")
                return _Failure(f"there is no Python module {shown(name)}; a file is written ./{path}.py")
            return self._raised(error)
        except SyntaxError as error:
            at = At("python", _nearby(error.filename), error.lineno or 1) if error.filename else None
            return _Failure(f"not Python: {error.msg}", at)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may raise anything
            return self._raised(error)

    def _raised(self, error: BaseException) -> _Failure:
        """At the line of the module that led to the error, not of what it called in others."""
        ours = (__file__, importlib.__file__)
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename not in ours and not frame.filename.startswith("<")
        ]
        lines = [frame.lineno for frame in frames if frame.filename == frames[0].filename]
        at = At("python", _nearby(frames[0].filename), lines[-1] or 1) if frames else None
        said = " ".join(self._masked(str(error)).split())[:_LONGEST]
        return _Failure(f"importing it raises {type(error).__name__}" + (f": {said}" if said else ""), at)

    def _masked(self, text: str) -> str:
        for name, value in self._environ.items():
            secrets = [value] if _SECRET.search(name) or "://" in value else []
            for secret in (*secrets, *_PASSWORD.findall(value)):
                if secret:
                    text = text.replace(secret, f"${{{name}}}")
        return text


class NoModules(Modules):
    """Nothing is imported: for reading a stranger's declaration. `named` is what would have been."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.named: list[str] = []

    def collect(self, name: str, folder: Path, at: At) -> tuple[list[Declared], Problem | None]:
        """No functions."""
        self.named.append(name)
        return [], None

    def resolve(self, name: str, file: str) -> Function:
        """A function in the place of the one that is named."""
        self.named.append(name)
        return Function(name, _unread)


def _unread(_item: dict[str, object]) -> None:
    return None


def _stranger(name: str) -> str | None:
    """Why a module is not one of the user's own; None where it is, or where there is none of this name."""
    top = name.partition(".")[0]
    remedy = "name a module of your project, which may import it"
    if top in sys.stdlib_module_names or top in sys.builtin_module_names or top in ("__main__", "dynaview"):
        owner = "dynaview" if top == "dynaview" else "Python"
        return f"{shown(name)} is not a module of your project but of {owner}: {remedy}"
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    files = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
    if any(part in ("site-packages", "dist-packages") for file in files for part in Path(file).parts):
        return f"{shown(name)} is not a module of your project but an installed one: {remedy}"
    return None


def _executed(path: Path) -> ModuleType:
    """Run a file as a module under a name of its own, anew each time."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"{_OWN_NAMES}{digest}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    forget(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _portable(found: Declared) -> Declared:
    """Files shown as a user here would write them; functions of a file named by it, wherever it lies."""
    module, _, function = found.function.name.partition(":")
    name = f"{Path(found.file).name}:{function}" if module.startswith(_OWN_NAMES) else found.function.name
    return replace(found, file=_nearby(found.file), function=Function(name, found.function.call))


def _nearby(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file

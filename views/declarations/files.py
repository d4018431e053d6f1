"""Declaration files as text, and as much of them as can be told at first sight."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dynaview.projections.declaration import At, Problem
from dynaview.projections.reading.document import LARGEST, Document, read_yaml
from dynaview.projections.reading.outline import Outline, outline


def at_first_sight(paths: Sequence[Path], environ: Mapping[str, str]) -> Outline | None:
    """The names of the views and the control store, without checking anything else; None where only loading the files
    tells these, or tells what is wrong (see `outline`)."""
    problems: list[Problem] = []
    documents: list[Document] = []
    for path in dict.fromkeys(paths):
        text = None if path.suffix == ".py" else read_text(path, problems)
        if text is None:
            return None
        documents.append(read_yaml(text, str(path)))
    return outline(documents, environ, os.path.dirname)


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """What stands in a file; None, and one more problem, where it cannot be read."""
    try:
        with path.open("rb") as file:
            # A little more than may be: the reader says that it is too much.
            return file.read(4 * LARGEST).decode("utf-8-sig")
    except FileNotFoundError:
        remedy = "write one (see examples/shop.yaml), or name another with -f FILE"
        what = f"there is no such file: {remedy}"
    except IsADirectoryError:
        what = "a folder, not a file: name the declaration in it"
    except PermissionError:
        what = "may not be read: check the file's rights"
    except UnicodeDecodeError:
        what = "not a text file in UTF-8"
    except OSError as error:
        what = f"can't be read: {error.strerror or type(error).__name__}"
    problems.append(Problem(At("declaration", str(path), 1), what))
    return None

"""The log of `dynaview run`: to standard error, in UTC; lines for people on a terminal, JSON elsewhere.

Messages begin with their subject (``view %s: …``), and that is where the fields of a JSON line come from. Of an error
that nobody expected only its place and its kind are shown: its text may quote a row.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import time
import traceback
from importlib.metadata import version
from types import TracebackType
from typing import Any, Literal, TypeAlias

import msgspec

LEVELS = ("debug", "info", "warning", "error")

Form: TypeAlias = Literal["text", "json"]
FORMS: tuple[Form, ...] = ("text", "json")

_SUBJECTS = re.compile(r"(view|table|stream|shard|worker|task|thread) %s")

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def default_form() -> Form:
    """Text where somebody reads it on a terminal."""
    return "text" if sys.stderr.isatty() else "json"


class UtcFormatter(logging.Formatter):
    """Times as ``2026-11-30T19:38:44.120Z``."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatException(self, ei: ExcInfo) -> str:
        """Places and kinds, without the errors' own texts."""
        return _without_texts(ei[1])


class JsonFormatter(UtcFormatter):
    """A JSON object a line: time, level, logger, message, worker and version, and what the message is about."""

    def __init__(self) -> None:
        super().__init__()
        self._common = {"worker": f"{socket.gethostname()}:{os.getpid()}", "version": version("dynaview")}

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._common,
            **subjects(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _without_texts(record.exc_info[1])
        return msgspec.json.encode(line).decode()


def subjects(record: logging.LogRecord) -> dict[str, str]:
    """What a message is about: ``view %s, shard %s: …`` tells view and shard."""
    template, given = str(record.msg), record.args
    if not isinstance(given, tuple):
        return {}
    head = template.partition(":")[0]
    found: dict[str, str] = {}
    for number, place in enumerate(re.finditer("%[sdr]", head)):
        before = _SUBJECTS.match(template, max(0, head.rfind(" ", 0, place.start() - 1) + 1))
        if before is not None and before.end() == place.end() and number < len(given):
            found[before[1]] = str(given[number])
    return found


def begin(level: str, process: bool, form: Form) -> None:
    """Log from now on; `process`: each line names its process, as several write to one place."""
    who = " [%(process)d]" if process else ""
    handler = logging.StreamHandler(sys.stderr)
    text = UtcFormatter(f"%(asctime)s %(levelname)s{who} %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for chatty in ("botocore", "boto3", "urllib3", "opensearch", "asyncio", "opentelemetry"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def _without_texts(error: BaseException | None) -> str:
    parts: list[str] = []
    while error is not None:
        frames = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
        parts.insert(0, f"{frames}{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nwhich led to:\n".join(parts)


def form_option(_context: Any, _option: Any, given: Form | None) -> Form:
    """The form that was asked for, or the default one."""
    return given or default_form()

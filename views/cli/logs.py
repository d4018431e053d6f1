"""The log of `dynaview run`: to standard error, in UTC."""

from __future__ import annotations

import logging
import sys
import time

LEVELS = ("debug", "info", "warning", "error")


class UtcFormatter(logging.Formatter):
    """Times as ``2026-11-30T19:38:44.120Z``."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def begin(level: str, process: bool) -> None:
    """Log from now on; `process`: each line names its process, as several write to one place."""
    who = " [%(process)d]" if process else ""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(UtcFormatter(f"%(asctime)s %(levelname)s{who} %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for chatty in ("botocore", "boto3", "urllib3", "opensearch", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))

"""What OpenSearch's errors mean to a view: wait, stop, or reject one write.

Decisions rest on HTTP status and error type, never on the words of a reason: those may quote row values, so they are
only searched for the name of a field, and shown only where no row was part of the request.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Any

import msgspec
from opensearchpy.exceptions import ConnectionError as Unreachable
from opensearchpy.exceptions import ConnectionTimeout, TransportError

from dynaview.sinks.port import ANEW, Rejected, SinkError, SinkRefused, SinkUnavailable

_PASSING = frozenset(
    {
        "cluster_block_exception",  # read-only, also after the disk's flood stage; 403 or 429
        "index_closed_exception",  # 400; somebody closed it and can open it
        "es_rejected_execution_exception",
        "rejected_execution_exception",
        "circuit_breaking_exception",
        "no_shard_available_action_exception",
        "unavailable_shards_exception",
        "process_cluster_event_timeout_exception",
        "search_phase_execution_exception",  # shards that do not answer; 404 where a listing was given up
    }
)

_FIELD = re.compile(
    r"failed to parse field \[(?P<parsed>[^\]]+)\] of type \[(?P<type>[^\]]+)\]"
    r'|immense term in field="(?P<immense>[^"]+)"'
    r"|dynamic introduction of \[(?P<unknown>[^\]]+)\] within"
    r"|object mapping for \[(?P<object>[^\]]+)\]"
    r"|Field \[(?P<reserved>[^\]]+)\] is a metadata field"
)


class ItemError(msgspec.Struct):
    """The error of one operation in a bulk or multi-get answer."""

    type: str = ""
    reason: str = ""


class Answered(SinkRefused):
    """OpenSearch answered with an error that does not heal by itself."""

    def __init__(self, message: str, status: int, type: str, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.reason = reason


class IndexMissing(SinkRefused):
    """The index of a generation, or the alias through which dynaview writes to it, is not there."""


def passes(status: int, type: str) -> bool:
    """Whether an error heals by itself."""
    return type in _PASSING or status in (408, 429) or status >= 500


def rights(index: str) -> str:
    """The remedy where OpenSearch's security plugin says no."""
    return (
        "grant its user the cluster action groups cluster_monitor and cluster_composite_ops, and the index action "
        f"groups create_index, manage, manage_aliases and crud on {index} and {index}-g*"
    )


def translated(
    error: Exception, place: str, doing: str, timeout: float, show: bool, remedy: Callable[[], str]
) -> SinkError:
    """The port's error for what the client raised. `show`: no row was in the request, so its reason may be shown.
    `remedy` is for what the store does not allow."""
    if isinstance(error, ConnectionTimeout):
        return SinkUnavailable(f"OpenSearch at {place} did not answer within {timeout:g} s while {doing}")
    if isinstance(error, Unreachable):
        if isinstance(error.info, SinkError):  # credentials, which the signer asked for
            return error.info
        if _distrusted(error.info):
            return SinkRefused(
                f"the certificate of OpenSearch at {place} is not trusted: name the file of its authority as ca_file"
            )
        return SinkUnavailable(f"OpenSearch at {place} cannot be reached ({_name(error.info)}) while {doing}")
    if not isinstance(error, TransportError) or not isinstance(error.status_code, int):
        return SinkUnavailable(f"OpenSearch at {place} gave no readable answer ({_name(error)}) while {doing}")
    type, reason = _said(error)
    return of_answer(error.status_code, type, reason if show else "", place, doing, remedy)


def of_answer(status: int, type: str, reason: str, place: str, doing: str, remedy: Callable[[], str]) -> SinkError:
    """The port's error for an HTTP status and an error type that OpenSearch answered; `remedy` says what to grant."""
    what = type or f"status {status}"
    if passes(status, type):
        return SinkUnavailable(f"OpenSearch at {place} cannot do it now ({what}) while {doing}")
    if status in (401, 403):
        return SinkRefused(f"OpenSearch at {place} does not allow {doing} ({what}): {remedy()}")
    if type == "index_not_found_exception":
        return IndexMissing(f"OpenSearch at {place} has no index for {doing}: {ANEW}")
    said = f"{what}: {reason}" if reason else what
    return Answered(f"OpenSearch at {place} refused {doing}: {said}", status, type, reason)


def rejection(error: ItemError) -> Rejected:
    """Why one document cannot be held, in words that name fields and types but show no values."""
    found = _FIELD.search(error.reason)
    if found is None:
        return Rejected(f"OpenSearch refused the document: {error.type}")
    if found["parsed"]:
        return Rejected(f"field {found['parsed']} does not fit its mapping {found['type']}")
    if found["immense"]:
        return Rejected(
            f"field {found['immense']} is longer than the 32766 bytes that OpenSearch can index as one term"
        )
    if found["unknown"]:
        return Rejected(f"field {found['unknown']} is not in the mapping, which is strict")
    if found["object"]:
        return Rejected(f"field {found['object']} is mapped as an object but holds something else")
    return Rejected(f"field {found['reserved']} has a name that OpenSearch keeps for itself")


def _said(error: TransportError) -> tuple[str, str]:
    """Error type and reason of an answer, empty where a proxy or a plugin answered in another form."""
    info = error.info if len(error.args) > 2 else None
    said: Any = info.get("error") if isinstance(info, dict) else None
    if not isinstance(said, dict):
        return _of_aws(info), ""
    causes = [said]
    while isinstance(causes[-1].get("caused_by"), dict):
        causes.append(causes[-1]["caused_by"])
    type = said.get("type")
    reasons = dict.fromkeys(str(cause["reason"]) for cause in causes if cause.get("reason"))
    return type if isinstance(type, str) else "", "; ".join(reasons)


def _of_aws(info: Any) -> str:
    """What AWS says in place of OpenSearch, which has not seen the request: "User: … is not authorized to perform: …".
    Where a signature is wrong, more lines follow, with the request's headers in them."""
    said = (info.get("message") or info.get("Message")) if isinstance(info, dict) else None
    return said.strip().partition("\n")[0][:400].rstrip(". ") if isinstance(said, str) else ""


def _distrusted(cause: object) -> bool:
    seen: BaseException | None = cause if isinstance(cause, BaseException) else None
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        inner = seen.args[0] if seen.args and isinstance(seen.args[0], BaseException) else None
        seen = seen.__cause__ or seen.__context__ or inner
    return False


def _name(cause: object) -> str:
    return type(cause).__name__

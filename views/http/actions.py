"""What the API can do with views: the commands' work, asked for over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import BoundedSemaphore, Event
from typing import Annotated, Any, TypeVar

import msgspec

from dynaview.projections.declaration import Declaration
from dynaview.sinks.port import SinkError
from dynaview.views.budget import Capacity
from dynaview.views.control.records import Kind, Options
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.http.bodies import Count, Share, read
from dynaview.views.http.guard import Problem
from dynaview.views.http.tasks import TaskRunner, plain
from dynaview.views.http.work import verification
from dynaview.views.reasons import LONGEST_REASON
from dynaview.views.retry import Stopped
from dynaview.views.status import rebuild_progress
from dynaview.views.trace.service import TraceError, trace
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.repair import Repairs
from dynaview.views.verify.service import Asked
from dynaview.views.waiting import Goal, Hopeless, Moment, Pace, TimedOut, opened_row, searchable, wait_for

ASKED_BY = "the HTTP API"

ACTIONS = ("rebuild", "cancel", "confirm", "rollback", "pause", "resume", "verify", "repair")
"""What a view can be asked for."""

LONGEST_WAIT = 60.0
"""Seconds for which a request may wait for a view."""

PATIENT = 16
"""Requests that may wait, for a view or for what stores say of an item, at once: each has a thread."""

T = TypeVar("T")

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e10)]


class _Rebuild(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a rebuild."""

    segments: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    max_read_units: Annotated[float, msgspec.Meta(gt=0)] | None = None
    keep: _Seconds | None = None
    yes: bool = False


class _Pause(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a pause."""

    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)] = ""


class _Verify(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a verification."""

    sample: Share | None = None
    keys: Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)] = ()
    since: _Seconds | None = None
    max_read_units: Annotated[float, msgspec.Meta(gt=0)] | None = None


class _Repair(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a repair."""

    foreign: bool = False
    max_read_units: Annotated[float, msgspec.Meta(gt=0)] | None = None


class _Trace(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a trace."""

    key: dict[str, Any] | str
    """As an object, or as its JSON, which keeps numbers of more than 15 digits exact."""
    views: tuple[str, ...] = ()
    values: bool = False


class _Wait(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of a request that waits."""

    until: _Seconds | None = None
    key: str | None = None
    version: Count | None = None
    searchable: bool = True
    timeout: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_WAIT)] = 30.0


class Actions:
    """Asks for things on the control store of one declaration; workers and tasks do them. Thread-safe. Every method may
    raise `Problem` and `ControlUnavailable`."""

    def __init__(self, declaration: Declaration, control: ControlStore, tasks: TaskRunner) -> None:
        self._declaration = declaration
        self._control = control
        self._tasks = tasks
        self.patient = ThreadPoolExecutor(PATIENT, thread_name_prefix="http-patient")
        """For requests that may take long."""
        self._room = BoundedSemaphore(PATIENT)
        self._ending = Event()

    def stop(self) -> None:
        """Let requests that wait end, and tasks."""
        self._ending.set()
        self.patient.shutdown(wait=False, cancel_futures=True)
        self._tasks.stop()

    def admitted(self, act: Callable[[], T]) -> Callable[[], T]:
        """`act` for the threads of `patient`. Raises `Problem` where all of them are busy: nobody queues up unseen."""
        if self._ending.is_set() or not self._room.acquire(blocking=False):
            raise Problem(503, f"{PATIENT} requests wait already; come again later")

        def run() -> T:
            try:
                return act()
            finally:
                self._room.release()

        return run

    def unknown(self, view: str) -> str:
        """What is said of a view that is not there."""
        declared = ", ".join(sorted(self._declaration.views))
        return f"unknown view {view[:60]!r}; declared views: {declared}"

    def detail(self, view: str) -> dict[str, Any]:
        """What is known of a view beyond its status: shards, and the declaration's place."""
        now = time.time()
        shards = [
            {
                "shard": shard,
                "finished": at.finished,
                "time": at.time,
                "behind": None if at.time is None or at.finished else max(0.0, now - at.time),
            }
            for shard, at in sorted(self._control.checkpoints(view).items())
        ]
        declared = self._declaration.views.get(view)
        return {"shards": shards, "declared_at": None if declared is None else str(declared.at)}

    # Acting

    def act(self, view: str, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for something to be done with a view; answers its rebuild as it stands then, or the task that does it."""
        if view not in self._declaration.views:
            raise Problem(404, self.unknown(view))
        if action not in ACTIONS:
            raise Problem(404, f"a view can be asked to: {', '.join(ACTIONS)}")
        if self._control.view(view) is None:
            raise Problem(409, f"{view} was never started: dynaview run fills it")
        if action in ("verify", "repair"):
            return {"view": view, "task": self._verify(view, action, body)}
        match action:
            case "rebuild":
                self._rebuild(view, read(body, _Rebuild))
            case "cancel" | "confirm":
                if not self._control.rebuilds.answer(view, "cancel" if action == "cancel" else "yes"):
                    raise Problem(409, f"{view}: no rebuild is under way")
            case "rollback":
                self._rollback(view)
            case "pause":
                reason = read(body, _Pause).reason
                if not reason.isprintable():
                    raise Problem(400, "reason: one line of text")
                self._control.states.pause(view, reason)
            case "resume":
                if not self._control.states.resume(view):
                    raise Problem(409, f"{view} is not paused")
        found, record = self._control.rebuilds.get(view), self._control.view(view)
        return {
            "view": view,
            "paused": None if record is None else record.paused,
            "let_go": not self._control.not_adopted(view),
            "rebuild": None if found is None else rebuild_progress(found),
        }

    def _rebuild(self, view: str, asked: _Rebuild) -> None:
        capacity = _capacity(asked.max_read_units)
        self._request(view, Options(asked.segments, capacity, asked.keep, asked.yes, asked_by=ASKED_BY), "beside")

    def _rollback(self, view: str) -> None:
        if not any(each.role == "previous" for each in self._control.generations(view)):
            raise Problem(409, f"{view}: no generation before the live one is kept")
        under_way = self._control.rebuilds.get(view)
        if under_way is not None and not under_way.ended:
            raise Problem(409, f"{view}: a rebuild is under way; cancel it first")
        self._request(view, Options(asked_by=ASKED_BY), "rollback")

    def _request(self, view: str, options: Options, kind: Kind) -> None:
        self._see_that_it_goes_on(view)
        declared = self._declaration.views[view]
        source = self._declaration.sources[declared.source]
        marks = {view: fingerprint(declared, source.table)}
        self._control.rebuilds.request([view], source.name, marks, options, kind)

    def _see_that_it_goes_on(self, view: str) -> None:
        record = self._control.view(view)
        if record is not None and record.paused is not None:
            raise Problem(409, f"{view} is paused; resume it first")

    def _verify(self, view: str, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        repairs = None
        if action == "verify":
            asked = read(body, _Verify)
            if (asked.sample is not None) + bool(asked.keys) + (asked.since is not None) > 1:
                raise Problem(400, "sample, keys and since do not go together")
            limits = Limits(capacity=_capacity(asked.max_read_units))
            what = Asked(asked.sample, asked.keys, asked.since, limits=limits)
        else:
            repairing = read(body, _Repair)
            what = Asked(limits=Limits(capacity=_capacity(repairing.max_read_units)))
            repairs = Repairs(foreign=repairing.foreign)
        self._see_that_it_goes_on(view)
        work = verification(self._declaration, self._control, [view], what, repairs)
        return plain(self._tasks.ask(action, view, work))

    # Looking, where that may take long

    def trace(self, body: Mapping[str, Any]) -> bytes:
        """What became of one item in every view, as JSON."""
        asked = read(body, _Trace)
        if missing := [name for name in asked.views if name not in self._declaration.views]:
            raise Problem(404, self.unknown(missing[0]))
        names = list(dict.fromkeys(asked.views)) or list(self._declaration.views)
        key = asked.key if isinstance(asked.key, str) else msgspec.json.encode(asked.key).decode()
        try:
            found = trace(self._declaration, self._control, key, names, timeout=5.0)
        except TraceError as error:
            raise Problem(400, f"key: {error}") from None
        return found.json(asked.values)

    def wait(self, view: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Wait until a view shows what was written up to a time (now), or a version of one row."""
        if view not in self._declaration.views:
            raise Problem(404, self.unknown(view))
        asked = read(query, _Wait, strict=False)
        if (asked.key is None) != (asked.version is None):
            raise Problem(400, "key and version belong together")
        with ExitStack() as stack:
            goal: Goal = Moment.now() if asked.until is None else Moment(asked.until)
            try:
                if asked.key is not None and asked.version is not None:
                    goal = stack.enter_context(opened_row(self._declaration, view, asked.key, int(asked.version)))
                if asked.searchable:
                    goal = stack.enter_context(searchable(self._declaration, view, goal))
                wait = partial(wait_for, self._control, view, goal, timeout=asked.timeout, pace=Pace(pause=self._pause))
                standing = wait()
            except ValueError as error:
                raise Problem(400, str(error)) from None
            except TimedOut as late:
                raise Problem(504, str(late)) from None
            except (Hopeless, SinkError) as error:
                raise Problem(409, str(error)) from None
            except Stopped:
                raise Problem(503, "the server ends") from None
        return {"view": view, "reached": True, "waited": standing.waited, "watermark": standing.watermark}

    def _pause(self, seconds: float) -> None:
        if self._ending.wait(seconds):
            raise Stopped


def _capacity(units: float | None) -> Capacity:
    return Capacity() if units is None else Capacity(units=units)

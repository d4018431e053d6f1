"""What the API can do: the commands' work, asked for over HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from dynaview.projections.declaration import Declaration
from dynaview.views.budget import Capacity
from dynaview.views.control.records import DeadLetterFilter, KeptLetter, Kind, Options
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.http.guard import Problem
from dynaview.views.reasons import LONGEST_REASON
from dynaview.views.status import rebuild_progress

ASKED_BY = "the HTTP API"

ACTIONS = ("rebuild", "cancel", "confirm", "rollback", "pause", "resume")
"""What a view can be asked for."""

MOST_LETTERS = 500
"""Dead letters in one answer, at the most."""


class _Rebuild(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a rebuild."""

    segments: int | None = None
    max_read_units: float | None = None
    keep: float | None = None
    yes: bool = False


class _Pause(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a pause."""

    reason: str = ""


class _Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request about dead letters: which ones. At least one of them has to be named."""

    ids: tuple[int, ...] = ()
    view: str | None = None
    key: str | None = None
    kind: str | None = None
    reason: str | None = None


class Actions:
    """Asks for things on the control store of one declaration; a worker of the view does them. Thread-safe. Every
    method may raise `Problem` and `ControlUnavailable`."""

    def __init__(self, declaration: Declaration, control: ControlStore) -> None:
        self._declaration = declaration
        self._control = control

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

    def act(self, view: str, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for something to be done with a view; answers its rebuild as it stands then."""
        if view not in self._declaration.views:
            raise Problem(404, self.unknown(view))
        if self._control.view(view) is None:
            raise Problem(409, f"{view} was never started: dynaview run fills it")
        match action:
            case "rebuild":
                self._rebuild(view, _read(body, _Rebuild))
            case "cancel" | "confirm":
                if not self._control.rebuilds.answer(view, "cancel" if action == "cancel" else "yes"):
                    raise Problem(409, f"{view}: no rebuild is under way")
            case "rollback":
                self._rollback(view)
            case "pause":
                reason = _read(body, _Pause).reason
                if len(reason) > LONGEST_REASON or not reason.isprintable():
                    raise Problem(400, f"reason: one line of {LONGEST_REASON} characters at the most")
                self._control.states.pause(view, reason)
            case "resume":
                if not self._control.states.resume(view):
                    raise Problem(409, f"{view} is not paused")
            case _:
                raise Problem(404, f"a view can be asked to: {', '.join(ACTIONS)}")
        found, record = self._control.rebuilds.get(view), self._control.view(view)
        return {
            "view": view,
            "paused": None if record is None else record.paused,
            "let_go": not self._control.not_adopted(view),
            "rebuild": None if found is None else rebuild_progress(found),
        }

    def _rebuild(self, view: str, asked: _Rebuild) -> None:
        if asked.segments is not None and not 1 <= asked.segments <= 1000:
            raise Problem(400, "segments: a number from 1 to 1000")
        if asked.max_read_units is not None and not asked.max_read_units > 0:
            raise Problem(400, "max_read_units: read capacity units a second, above 0")
        if asked.keep is not None and not asked.keep >= 0:
            raise Problem(400, "keep: seconds, 0 or more")
        capacity = Capacity() if asked.max_read_units is None else Capacity(units=asked.max_read_units)
        self._request(view, Options(asked.segments, capacity, asked.keep, asked.yes, asked_by=ASKED_BY), "beside")

    def _rollback(self, view: str) -> None:
        if not any(each.role == "previous" for each in self._control.generations(view)):
            raise Problem(409, f"{view}: no generation before the live one is kept")
        under_way = self._control.rebuilds.get(view)
        if under_way is not None and not under_way.ended:
            raise Problem(409, f"{view}: a rebuild is under way; cancel it first")
        self._request(view, Options(asked_by=ASKED_BY), "rollback")

    def _request(self, view: str, options: Options, kind: Kind) -> None:
        record = self._control.view(view)
        if record is not None and record.paused is not None:
            raise Problem(409, f"{view} is paused; resume it first")
        declared = self._declaration.views[view]
        source = self._declaration.sources[declared.source]
        marks = {view: fingerprint(declared, source.table)}
        self._control.rebuilds.request([view], source.name, marks, options, kind)

    # Dead letters

    def dead_letters(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of dead letters, oldest first, without what is in the items. `after` is the last id of the page
        before."""
        try:
            limit = min(MOST_LETTERS, max(1, int(query.get("limit", "100"))))
            after = int(query.get("after", "0"))
        except ValueError:
            raise Problem(400, "limit and after are whole numbers") from None
        names = ("view", "key", "kind", "reason")
        chosen = DeadLetterFilter(**{name: query[name] for name in names if query.get(name)})  # type: ignore[arg-type]
        found = self._control.dead_letters.find(chosen, limit, after)
        total, _ = self._control.dead_letters.count(chosen)
        return {"total": total, "dead_letters": [_letter(kept) for kept in found]}

    def dead_letter(self, number: int) -> dict[str, Any]:
        """One dead letter with its change: what is in the item."""
        found = self._control.dead_letters.find(DeadLetterFilter(ids=(number,)))
        if not found:
            raise Problem(404, f"there is no dead letter {number}")
        change = found[0].letter.change
        try:
            told: Any = msgspec.json.decode(change)
        except (msgspec.DecodeError, UnicodeDecodeError):
            told = change.decode(errors="backslashreplace")
        return {**_letter(found[0]), "change": told}

    def settle(self, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Discard dead letters; answers how many."""
        if action != "discard":
            raise Problem(404, "dead letters can be asked to: discard")
        asked = _read(body, _Chosen)
        if asked == _Chosen():
            raise Problem(400, "say which: ids, view, key, kind or reason")
        chosen = DeadLetterFilter(view=asked.view, ids=asked.ids, key=asked.key, reason=asked.reason, kind=asked.kind)
        return {"discarded": self._control.dead_letters.discard(chosen)}


def _read(body: Mapping[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise Problem(400, str(error)) from None


def _letter(kept: KeptLetter) -> dict[str, Any]:
    letter = kept.letter
    return {
        "id": kept.id,
        "view": letter.view,
        "item_key": letter.item_key,
        "row_key": letter.row_key,
        "version": str(letter.version),
        "time": letter.time,
        "created": kept.created,
        "kind": letter.kind,
        "reason": letter.reason,
    }

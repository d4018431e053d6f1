"""Dead letters over HTTP: listed, shown, tried again, discarded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from dynaview.projections.declaration import Declaration
from dynaview.views.control.records import DeadLetterFilter
from dynaview.views.control.store import ControlStore
from dynaview.views.dead_letters import plain_letter
from dynaview.views.http.bodies import Number, read
from dynaview.views.http.guard import Problem
from dynaview.views.http.tasks import TaskRunner, plain
from dynaview.views.http.work import replay

MOST = 500
"""Dead letters in one answer, at the most."""

ACTIONS = ("replay", "prune", "discard")
"""What dead letters can be asked for."""


class _Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request about dead letters: which ones. At least one of them has to be named."""

    ids: Annotated[tuple[Number, ...], msgspec.Meta(max_length=5000)] = ()
    view: str | None = None
    key: str | None = None
    kind: str | None = None
    reason: str | None = None


class _Page(msgspec.Struct):
    """The parameters of a request for a list."""

    limit: Number = 100
    after: Number = 0


class Letters:
    """The dead letters of one control store. Thread-safe. Every method may raise `Problem` and `ControlUnavailable`."""

    def __init__(self, declaration: Declaration, control: ControlStore, tasks: TaskRunner) -> None:
        self._declaration = declaration
        self._control = control
        self._tasks = tasks

    def page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of dead letters, oldest first, without what is in the items. `after` is the last id of the page
        before."""
        asked = read({name: text for name, text in query.items() if text}, _Page, strict=False)
        given = {name: query[name] for name in ("view", "key", "kind", "reason") if query.get(name)}
        chosen = DeadLetterFilter(given.get("view"), (), given.get("key"), given.get("reason"), given.get("kind"))
        found = self._control.dead_letters.find(chosen, min(MOST, max(1, asked.limit)), asked.after)
        total, _ = self._control.dead_letters.count(chosen)
        return {"total": total, "dead_letters": [plain_letter(kept) for kept in found]}

    def one(self, number: int) -> dict[str, Any]:
        """One dead letter with its change: what is in the item."""
        found = self._control.dead_letters.find(DeadLetterFilter(ids=(number,))) if number < 2**63 else []
        if not found:
            raise Problem(404, f"there is no dead letter {number}")
        change = found[0].letter.change
        try:
            told: Any = msgspec.json.decode(change)
        except (msgspec.DecodeError, UnicodeDecodeError):
            told = change.decode(errors="backslashreplace")
        return {**plain_letter(found[0]), "change": told}

    def act(self, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Discard dead letters (answers how many), or have them tried again by a task."""
        if action not in ACTIONS:
            raise Problem(404, f"dead letters can be asked to: {', '.join(ACTIONS)}")
        asked = read(body, _Chosen)
        if asked == _Chosen():
            raise Problem(400, "say which: ids, view, key, kind or reason")
        chosen = DeadLetterFilter(asked.view, asked.ids, asked.key, asked.reason, asked.kind)
        if action == "discard":
            return {"discarded": self._control.dead_letters.discard(chosen)}
        _, last = self._control.dead_letters.count(chosen)
        work = replay(self._declaration, self._control, chosen, last, "replay" if action == "replay" else "prune")
        return {"task": plain(self._tasks.ask(action, asked.view or "", work))}

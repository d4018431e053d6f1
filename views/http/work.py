"""What takes long, as tasks: verifying and repairing views, and trying dead letters again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dynaview.projections.declaration import Declaration
from dynaview.views.control.records import DeadLetterFilter
from dynaview.views.control.store import ControlStore
from dynaview.views.http.tasks import Running, Work
from dynaview.views.replay import Mode, opened_replay, pages_of, views_of
from dynaview.views.retry import Retrier, Stop
from dynaview.views.verify.repair import Repairs, plain_repair
from dynaview.views.verify.schedule import result_of
from dynaview.views.verify.service import Asked, verify_declared

PATIENCE = 60.0
"""Seconds in which what stands in the way of a replay has to heal by itself."""

LISTED = 500
"""Letters of which a replay says what became of them, at the most."""


def verification(
    declaration: Declaration, control: ControlStore, views: Sequence[str], asked: Asked, repairs: Repairs | None = None
) -> Work:
    """Verify views, and repair what differs where `repairs` are given. What is found of whole views is kept for their
    status."""

    def work(running: Running) -> Any:
        reports = verify_declared(
            declaration, control, views, asked, repairs=repairs, progress=running.progress, stop=running.stop
        )
        by_view = {} if repairs is None else repairs.by_view
        for report in reports:
            if not (report.error or asked.keys or asked.since is not None):
                mended = by_view[report.view].number("mended") if report.view in by_view else 0
                control.verifications.save(result_of(report, asked.sample or 1.0, mended))
        return [plain_repair(report, by_view.get(report.view)) for report in reports]

    return work


def replay(declaration: Declaration, control: ControlStore, choice: DeadLetterFilter, last: int, mode: Mode) -> Work:
    """Try dead letters again, up to the id `last`: what came afterwards was not meant."""

    def work(running: Running) -> Any:
        chosen = DeadLetterFilter(choice.view, choice.ids, choice.key, choice.reason, choice.kind, last=last)
        expected, _ = control.dead_letters.count(chosen)
        counted, told = Counter[str](), list[dict[str, Any]]()
        retrier = Retrier(Stop(running.stop), seconds=PATIENCE)
        for name in views_of(control, chosen):
            of_view = DeadLetterFilter(name, chosen.ids, chosen.key, chosen.reason, chosen.kind, last=last)
            with opened_replay(declaration, control, name, mode, retrier) as replaying:
                for page in pages_of(control, of_view):
                    for replayed in retrier.insist(lambda page=page: list(replaying.run(page, mode))):  # type: ignore[misc]  # a default is not inferred
                        counted[replayed.result] += len(replayed.letters)
                        told += [
                            {"id": kept.id, "view": name, "result": replayed.result, "reason": replayed.reason}
                            for kept in replayed.letters
                        ]
                    running.progress(counted.total(), expected)
        return {"counts": dict(counted), "letters": told[:LISTED]}

    return work

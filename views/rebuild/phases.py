"""What follows a scan, phase by phase, up to what readers see: each is recorded first, and may be done twice."""

from __future__ import annotations

import logging
import time

from dynaview.views.control.records import Phase
from dynaview.views.rebuild.checks import Checks
from dynaview.views.rebuild.context import describe
from dynaview.views.rebuild.in_place import InPlace
from dynaview.views.rebuild.late_refusals import make_good
from dynaview.views.rebuild.swap import end, swap, turn_round
from dynaview.views.rebuild.view_rebuild import ViewRebuild

log = logging.getLogger(__name__)

BESIDE: tuple[Phase, ...] = ("finishing", "waiting", "checking", "swapping")
IN_PLACE: tuple[Phase, ...] = ("waiting", "checking", "sweeping", "swapping")
ROLLBACK: tuple[Phase, ...] = ("waiting", "swapping")


def after_scan(rebuild: ViewRebuild) -> Phase:
    """The phase that a scan ends with."""
    return "waiting" if rebuild.rebuild.kind == "in place" else "finishing"


def finish(rebuild: ViewRebuild) -> None:
    """All phases behind the scan, from the one that was recorded last on."""
    if rebuild.rebuild.kind == "fill":
        _end_fill(rebuild)
        return
    _go_through(rebuild, IN_PLACE if rebuild.rebuild.kind == "in place" else BESIDE)
    end(rebuild)
    log.info("%s: readers see generation %d", describe(rebuild.rebuild), rebuild.rebuild.generation)


def roll_back(rebuild: ViewRebuild) -> None:
    """Let readers see the generation before the live one again."""
    if rebuild.rebuild.phase in ("requested", "starting"):
        turn_round(rebuild)
    _go_through(rebuild, ROLLBACK)
    end(rebuild)
    log.info("%s: readers see generation %d again", describe(rebuild.rebuild), rebuild.rebuild.generation)


def _end_fill(rebuild: ViewRebuild) -> None:
    """Readers have seen the generation from its beginning on: there is nothing to swap."""
    rebuild.retry(lambda: rebuild.context.store.filled(rebuild.rebuild))
    end(rebuild)
    found = rebuild.rebuild
    log.info(
        "view %s: its first fill is complete: %s of %s items matched, %s rows, %s dead letters",
        *(rebuild.view, *(f"{number:,}" for number in (found.matched, found.items, found.rows, found.letters))),
    )


def _go_through(rebuild: ViewRebuild, phases: tuple[Phase, ...]) -> None:
    acts = {
        "finishing": _finish, "waiting": _wait, "checking": _check, "sweeping": _sweep, "swapping": swap,
    }  # fmt: skip
    first = phases.index(rebuild.rebuild.phase) if rebuild.rebuild.phase in phases else 0
    for phase in phases[first:]:
        if rebuild.rebuild.phase != phase:
            rebuild.enter(phase)
        rebuild.look_again()  # what was said while it was recorded counts, however short the phase
        rebuild.check()
        acts[phase](rebuild)


def _finish(rebuild: ViewRebuild) -> None:
    make_good(rebuild)
    rebuild.retry(lambda: rebuild.context.store.filled(rebuild.rebuild))


def _wait(rebuild: ViewRebuild) -> None:
    rebuild.hold(max(rebuild.rebuild.scan_end or 0.0, rebuild.rebuild.written or 0.0))
    if rebuild.context.kept.source.lambda_timeout is not None:
        # Invocations that begin from now on write this generation too. What earlier ones had in hand was made by now,
        # and is in the other one alone: readers would miss it.
        rebuild.hold(time.time())


def _check(rebuild: ViewRebuild) -> None:
    if question := Checks(rebuild).question():
        rebuild.confirm(question)
    else:
        rebuild.retry_unasked(lambda: rebuild.context.store.settle(rebuild.rebuild))


def _sweep(rebuild: ViewRebuild) -> None:
    strategy = rebuild.strategy()
    assert isinstance(strategy, InPlace)
    strategy.sweep(rebuild.add_swept)

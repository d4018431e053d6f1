"""Verifications by schedule: the views of one table that declare ``verify``, one at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import Sink, SinkError
from dynaview.sources.errors import SourceError
from dynaview.sources.port import TableReader
from dynaview.views.control.errors import ControlError
from dynaview.views.control.records import VerificationResult
from dynaview.views.control.store import ControlStore
from dynaview.views.reasons import fault_reason
from dynaview.views.retry import Retrier, Stop, Stopped
from dynaview.views.verify.findings import Report, VerifyError
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.repair import Repairs
from dynaview.views.verify.service import Opened, prepare, ready

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks whether a view is due."""

AGAIN = 3600.0
"""Seconds after which a verification that failed is tried again, where its turn does not come earlier."""

PATIENCE = 600.0
"""Seconds in which a view may catch up."""


class VerificationSchedule:
    """Verifies views when they are due. `run` is the body of a thread, and ends when `stop` is set.

    A view is due for the first time as soon as its first fill is complete. What was found goes to the control store
    (`ControlStore.results`), a summary of it to the log; with ``repair`` it is repaired at once.
    """

    def __init__(
        self,
        table_name: str,
        views: Sequence[ViewDeclaration],
        table: TableReader,
        sinks: Mapping[str, Sink],
        control: ControlStore,
        stop: threading.Event,
        *,
        mine: Callable[[], bool] = lambda: True,
        look_every: float = LOOK_EVERY,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`views` may hold views without a schedule; `sinks` are the opened ones by name; `mine` says whether this
        worker, of all that share the table, is the one to verify."""
        self._table_name = table_name
        self._views = [view for view in views if view.verify is not None]
        self._table = table
        self._sinks = sinks
        self._control = control
        self._stop = stop
        self._mine = mine
        self._look_every = look_every
        self._now = now

    def run(self) -> None:
        """Verify whatever is due, until told to stop."""
        while self._views and not self._stop.wait(self._look_every):
            for view in self._views:
                if not self._stop.is_set() and self._is_due(view) and self._mine():
                    self._verify(view)

    def _is_due(self, view: ViewDeclaration) -> bool:
        assert view.verify is not None
        try:
            ready(self._control, view, self._table_name)
            last = self._control.verifications.find(view.name)
        except (VerifyError, ControlError):  # its state says what stands in the way
            return False
        if last is None:
            return True
        wait = min(AGAIN, view.verify.every) if last.error else view.verify.every
        return self._now() >= last.begun + wait

    def _verify(self, view: ViewDeclaration) -> None:
        assert view.verify is not None
        begun, sample = self._now(), view.verify.sample
        repairs = Repairs()

        try:
            record = ready(self._control, view, self._table_name, repairing=view.verify.repair)
            opened = Opened(view, record, self._sinks[view.sink].open(view.layout, record.generation))
            verification = prepare(
                [opened],
                self._table,
                self._control,
                Retrier(Stop(self._stop), seconds=PATIENCE),
                limits=Limits(listed=10),
                repairs=repairs if view.verify.repair else None,
            )
            (report,) = verification.whole() if sample >= 1 else verification.sample(sample)
        except Stopped:
            return
        except (SourceError, SinkError, ControlError, VerifyError) as error:
            report = Report(view.name, 0, begun=begun, error=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, following goes on (law 7)
            report = Report(view.name, 0, begun=begun, error=fault_reason(error))
        report.begun = begun
        self._keep(report, sample, sum(each.number("mended") for each in repairs.by_view.values()))

    def _keep(self, report: Report, sample: float, mended: int) -> None:
        if report.error:
            log.warning("view %s could not be verified: %s", report.view, report.error)
        elif report.drift:
            log.error(
                "view %s: %d rows are not as its table asks "
                "(%d missing, %d extra, %d different, %d of others, %d foreign); %s",
                report.view,
                report.drift,
                report.missing,
                report.extra,
                report.different,
                report.owner,
                report.foreign,
                f"{mended} of them repaired"
                if mended
                else f"see dynaview verify {report.view}; dynaview repair repairs them",
            )
        else:
            log.info("view %s is as its table asks: %d rows verified", report.view, report.rows)
        try:
            self._control.verifications.save(result_of(report, sample, mended))
        except ControlError as error:
            log.warning("view %s: the result of its verification is lost: %s", report.view, error)


def result_of(report: Report, sample: float = 1.0, mended: int = 0) -> VerificationResult:
    """What is kept of a report."""
    names = set(VerificationResult.__struct_fields__) & set(Report.__dataclass_fields__)
    return VerificationResult(**{name: getattr(report, name) for name in names}, sample=sample, mended=mended)

"""The daemon of the demo: ``dynaview run`` as a process of its own, ended like the local servers are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dynaview.local import guard
from dynaview.local.server import Server
from dynaview.projections.declaration import Declaration
from dynaview.views.control.store import ControlStore
from dynaview.views.status import all_status


class DaemonProcess(Server):
    """``dynaview run`` on a declaration; it counts as started when every view has been filled and follows."""

    name = "daemon"
    title = "The daemon (dynaview run)"
    remedy = "Look into its log for the reason."
    attempts = 1

    def __init__(self, directory: Path, file: Path, declaration: Declaration, control: ControlStore) -> None:
        super().__init__(directory)
        self._file = file
        self._views = frozenset(declaration.views)
        self._control = control

    @property
    def url(self) -> str:
        return self._file.as_uri()

    def _launch(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-P", "-m", "dynaview.views.cli", "run", "-f", str(self._file)]
        return self._guarded(guard.job(argv, grace=20))

    def _answers(self) -> bool:
        views = all_status(self._control)
        ready = {view["view"] for view in views if view["state"] == "following" and view["filled"]}
        return ready >= self._views

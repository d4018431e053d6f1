"""One worker's share of its table: which shards it reads, for which views, and how they change hands.

Every worker of a group computes from the same facts (who lives, who has what, what is to be read) who should have which
task: a shard, to be read for one half of the views. It takes what should be its own as soon as that is free, then reads
the checkpoints again, and begins there. It gives up what should be another's: readers let go of it, pipelines drop what
waits of it and commit the batch in hand, then the lease is free. So nothing is read for a view by two in good order;
whoever was taken for dead meets the fence of `commit`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dynaview.views.control.errors import ControlUnavailable, LeaseLost
from dynaview.views.control.records import JOB, Fence, Task
from dynaview.views.control.store import ControlStore
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.streaming.pipeline import ViewPipeline
from dynaview.views.streaming.stream_reader import Follower
from dynaview.views.threads import Threads
from dynaview.views.workers.assignment import share

log = logging.getLogger(__name__)

SETTLE = (0.005, 0.25)
"""Seconds between two looks whether a shard that is given up is settled: they grow from the first to the last."""


@dataclass(slots=True)
class CoordinatorSettings:
    """Times in seconds."""

    lease: float = 20.0
    """After so long without a sign of life a worker is dead to the others (at once where its process is gone). A worker
    that was paused for longer begins anew."""
    look_every: float = 1.0
    """Between two looks at what other workers do."""
    review_every: float = 5.0
    """Between two looks at all shards where nothing seems to have happened."""
    listing_every: float = 60.0
    """Between two listings because of the same shard that another worker knows."""


def group_of(source: str, views: Mapping[str, str], halves: Mapping[str, int]) -> str:
    """The group of workers that keep these views (names and fingerprints) of a source: all keep the same ones alike,
    and deal them into the same halves, as a lease is of a half."""
    text = "\0".join([source, *(f"{name}\0{mark}\0{halves[name]}" for name, mark in sorted(views.items()))])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class ShardCoordinator:
    """The part of one worker, from its registration until it ends or is taken for dead. Thread-safe."""

    def __init__(
        self,
        control: ControlStore,
        source: str,
        views: Mapping[str, str],
        identity: str = "worker",
        settings: CoordinatorSettings | None = None,
        over: threading.Event | None = None,
        halves: Mapping[str, int] | None = None,
        readers: int = 2,
    ) -> None:
        """Registers a worker that keeps `views` (names and fingerprints), dealt into `halves` (see `assignment`; None:
        no shard is read by two workers). So many `readers` may read a shard at a time. `over` is set when others have
        taken it for dead. Raises `ControlUnavailable`."""
        self.id = control.leases.name(f"{identity[:90]}/{secrets.token_hex(4)}")
        self._halves = halves or dict.fromkeys(views, 0)
        self._readers = readers
        self.group = group_of(source, views, self._halves)
        self.settings = settings or CoordinatorSettings()
        self.lost = threading.Event()
        self.first = True
        """Whether it is the one to say what concerns all."""
        self._control, self._leases = control, control.leases
        self._over = over or threading.Event()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._retrier = Retrier(self._stop, f"worker {self.id}")
        self._wake = threading.Condition()
        self._poked = False
        self._threads = Threads()
        self._follower: Follower | None = None
        self._served: list[ViewPipeline] = []
        """Pipelines that know which shards are this worker's."""
        self._epochs: dict[Task, int] = {}
        """Its leases of tasks."""
        self._leaving: dict[Task, bool] = {}
        """Tasks that it gives up; whether they are finished."""
        self._split: frozenset[str] = frozenset()
        """Shards that two workers are to read."""
        self._jobs: set[str] = set()
        self._tried: dict[str, float] = {}
        self._members: list[str] = [self.id]
        self._asked: dict[str, float] = {}
        self._renewed = time.monotonic()
        self._reviewed = 0.0
        self._due = 0.0
        """When the next look is due."""
        self._leases.enlist(self.id, self.group, source, socket.gethostname()[:200], os.getpid(), self.settings.lease)

    # The worker's life

    def start(self, threads: Threads | None = None) -> None:
        """Give signs of life from now on, and share once a follower is there."""
        self._threads = threads or self._threads
        self._threads.spawn("coordinator", self._run)

    def take_ownership(self, view: str) -> bool:
        """Whether the worker's group keeps a view; False while another group does. Raises `ControlUnavailable`."""
        return self._leases.take_ownership(view, self.group, self._halves[view])

    def join(self) -> bool:
        """Take part from now on, also in every revision of the views; whether others do so already. Raises
        `ControlUnavailable`."""
        self._leases.living(self.group, but=self.id)  # one that was killed is no other
        try:
            others = self._leases.join(self.id)
        except LeaseLost:
            self.lose()
            return True
        if others:
            self._members = [self.id, ""]
            self.first = False
        return others

    def serve(self, follower: Follower | None) -> None:
        """Share the shards that a follower finds (None: no more)."""
        with self._lock:
            self._follower = follower
            self._served = []
            if follower is None:
                self._leaving.update(dict.fromkeys(self._epochs, False))
        self.poke()

    def poke(self) -> None:
        """Look at once: shards may have become readable."""
        with self._wake:
            self._poked = True
            self._wake.notify_all()

    def stop(self, within: float = 10.0) -> None:
        """End, and leave everything to others."""
        self._stop.set()
        self.poke()
        self._threads.join(within)
        try:
            self._leases.resign(self.id)
        except ControlUnavailable as error:
            log.warning("worker %s: %s; other workers go on when this process has ended", self.id, error)

    def lose(self) -> None:
        """Hear that others have taken this worker for dead."""
        if not self.lost.is_set():
            self.lost.set()
            self._stop.set()
            self._leases.abandon(self.id)
            self.poke()
            self._over.set()

    # What pipelines and jobs ask

    shared = True

    def claim(self, shards: Sequence[str]) -> Sequence[str]:
        """See `ShardOwner`: none is read before its lease is taken."""
        self.poke()
        return ()

    @property
    def alone(self) -> bool:
        """Whether no other worker shares the work."""
        return len(self._members) == 1

    def takes_turns(self, shard: str) -> bool:
        """See `ShardOwner`."""
        return self._readers < 2 or shard in self._split

    def fence(self, view: str, shards: Iterable[str]) -> Fence:
        """What a commit of these shards in a view rests on: the leases of its own half."""
        tasks = [Task(shard, self._halves[view]) for shard in shards]
        return Fence(self.group, self.id, {task.resource: self._epochs.get(task, -1) for task in tasks})

    def hold(self, job: str) -> bool:
        """Whether a job (``fill orders``, say) is this worker's to do: it takes what is free, and has it until it ends,
        is taken for dead or gives it up with `drop`. Never waits. Raises `ControlUnavailable`."""
        with self._lock:
            if self._stop.is_set():
                return False
            if job in self._jobs:
                return True
            now = time.monotonic()
            if now < self._tried.get(job, now):
                return False
            self._tried[job] = now + self.settings.look_every
            try:
                if self._leases.acquire(self.id, self.group, [JOB + job]):
                    self._jobs.add(job)
            except LeaseLost:
                self.lose()
            return job in self._jobs

    def drop(self, job: str) -> None:
        """A job is done, or may be another's. Raises `ControlUnavailable`."""
        with self._lock:
            if job in self._jobs:
                self._jobs.discard(job)
                self._leases.release(self.id, self.group, [JOB + job], done=True)

    def stands(self) -> bool:
        """Whether this worker is known to live, asked before it says what holds for all: data that is gone may have
        been read by another worker while this one was paused. False also while the control store is away."""
        try:
            if self._leases.renew(self.id, self.settings.lease):
                return True
        except ControlUnavailable:
            return False
        self.lose()
        return False

    # Its own thread

    def _run(self) -> None:
        settle = SETTLE[0]
        while not self._stop.is_set():
            try:
                with self._wake:
                    poked, self._poked = self._poked, False
                if poked or time.monotonic() >= self._due:
                    self._retrier.insist(partial(self.look, poked))
                elif self._leaving:
                    self._retrier.insist(self._settle)
            except Stopped:
                return
            except LeaseLost as lost:
                log.warning("worker %s: lease lost, another worker took over; rejoining: %s", self.id, lost)
                self.lose()
                return
            settle = min(2 * settle, SETTLE[1]) if self._leaving else SETTLE[0]
            with self._wake:
                if not self._poked and not self._stop.is_set():
                    wait = self._due - time.monotonic()
                    self._wake.wait(max(0.0, min(wait, settle) if self._leaving else wait))

    def look(self, poked: bool = True) -> None:
        """One look at what others do, and what follows. Raises `LeaseLost` and `ControlUnavailable`."""
        began = time.monotonic()
        self._look(began, poked)
        self._due = began + max(self.settings.look_every, 20 * (time.monotonic() - began))

    def _look(self, now: float, poked: bool) -> None:
        if now - self._renewed >= self.settings.lease / 4:
            if not self._leases.renew(self.id, self.settings.lease):
                raise LeaseLost(self.id)
            self._renewed = now
        with self._lock:
            self._settle()
            follower = self._follower
            if follower is None:
                return
            living = self._leases.living(self.group, but=self.id)
            members = [member.id for member in living if member.sharing]
            if self.id not in members:
                raise LeaseLost(self.id)
            changed, self._members = members != self._members, members
            self.first = members[0] == self.id
            pipelines = follower.pipelines
            self._welcome(follower, pipelines)
            foreign = {shard for pipeline in pipelines for shard in pipeline.inbox.foreign()}
            if foreign or not self.alone:
                poked |= self._hear(follower, pipelines, foreign)
            if poked or changed or not self.alone or now - self._reviewed >= self.settings.review_every:
                self._reviewed = now
                self._share_out(follower, pipelines)

    def _welcome(self, follower: Follower, pipelines: Sequence[ViewPipeline]) -> None:
        """Let pipelines that have joined read what is this worker's."""
        served = {id(pipeline) for pipeline in self._served}
        new = [pipeline for pipeline in pipelines if id(pipeline) not in served]
        owned = [task for task in self._epochs if task not in self._leaving]
        if new and owned:
            self._adopt(new, owned)
            follower.recheck({task.shard for task in owned})
        self._served = list(pipelines)

    def _adopt(self, pipelines: Sequence[ViewPipeline], tasks: Collection[Task]) -> None:
        kept = self._control.standings([pipeline.name for pipeline in pipelines], {task.shard for task in tasks})
        for task in tasks:
            for pipeline in self._of(task, pipelines):
                pipeline.inbox.adopt(task.shard, kept[pipeline.name].get(task.shard))

    def _of(self, task: Task, pipelines: Sequence[ViewPipeline]) -> list[ViewPipeline]:
        """The pipelines that a task is for."""
        return [pipeline for pipeline in pipelines if self._halves[pipeline.name] == task.half]

    def _hear(self, follower: Follower, pipelines: Sequence[ViewPipeline], foreign: set[str]) -> bool:
        """Take in how far other workers are; whether shards have become readable."""
        kept = self._control.standings([pipeline.name for pipeline in pipelines], foreign)
        finished = set()
        for pipeline in pipelines:
            for shard in pipeline.inbox.foreign():
                if shard in foreign and pipeline.inbox.hear(shard, kept[pipeline.name].get(shard)):
                    finished.add(shard)
        for shard in sorted(finished):
            follower.finish(shard)
        now = time.monotonic()
        known = {shard for of_view in kept.values() for shard in of_view}
        unknown = {shard for shard in known if self._asked.get(shard, now) <= now}
        if follower.look(unknown):
            self._asked.update(dict.fromkeys(unknown, now + self.settings.listing_every))
        return bool(finished)

    def _share_out(self, follower: Follower, pipelines: Sequence[ViewPipeline]) -> None:
        wanted: dict[Task, str | None] = {}
        for pipeline in pipelines:
            half = self._halves[pipeline.name]
            wanted.update((Task(shard, half), parent) for shard, parent in pipeline.inbox.readable().items())
        leases = [lease for lease in self._leases.of_group(self.group) if not lease.resource.startswith(JOB)]
        owners = {Task.of(lease.resource): lease.owner for lease in leases}
        plan = share(wanted, owners, self._members)
        whose: dict[str, set[str]] = {}
        for task, worker in plan.items():
            whose.setdefault(task.shard, set()).add(worker)
        self._split = frozenset(shard for shard, its in whose.items() if len(its) > 1)
        for task in self._epochs.keys() - self._leaving.keys():
            at = [each.inbox.position(task.shard) for each in self._of(task, pipelines) if each.failed is None]
            if all(each.finished for each in at) and task not in wanted:
                if at:
                    self._leaving[task] = True
            elif plan.get(task, self.id) != self.id:
                self._leaving[task] = False
        self._settle()
        if self.first:
            self._tidy([task for task, owner in owners.items() if owner is None and task not in wanted], pipelines)
        free = [
            task
            for task, worker in plan.items()
            if worker == self.id and task not in self._epochs and owners.get(task) in (None, self.id)
        ]
        if free:
            self._take(free, follower, pipelines)

    def _tidy(self, tasks: Sequence[Task], pipelines: Sequence[ViewPipeline]) -> None:
        """Remove the leases of those of these tasks that are finished, and that nobody has."""
        finished = [
            task.resource
            for task in tasks
            if (its := self._of(task, pipelines))
            and all(each.failed is None and each.inbox.position(task.shard).finished for each in its)
        ]
        if finished:
            self._leases.tidy(self.group, finished)

    def _take(self, free: Sequence[Task], follower: Follower, pipelines: Sequence[ViewPipeline]) -> None:
        epochs = self._leases.acquire(self.id, self.group, [task.resource for task in free])
        log.debug("worker %s: reads from now on: %s", self.id, ", ".join(sorted(epochs)))
        taken = {Task.of(resource): epoch for resource, epoch in epochs.items()}
        read = {task.shard for task in self._epochs.keys() - self._leaving.keys()}
        self._epochs.update(taken)
        self._adopt(pipelines, taken)
        shards = {task.shard for task in taken}
        follower.take(sorted(shards - read))
        follower.recheck(sorted(shards & read))  # what is read already goes on; the catch-up reader brings the others

    def _settle(self) -> None:
        """Give back the leases of tasks that nothing waits for any more."""
        with self._lock:
            pipelines = () if self._follower is None else self._follower.pipelines
            settled: dict[bool, list[Task]] = {True: [], False: []}
            kept = {task.shard for task in self._epochs.keys() - self._leaving.keys()}
            for task, done in list(self._leaving.items()):
                if self._follower is not None and task.shard not in kept:
                    self._follower.give_up(task.shard)
                of_task = self._of(task, pipelines)
                gone = [pipeline.inbox.release(task.shard) for pipeline in of_task]
                if all(gone) and all(pipeline.inbox.released(task.shard) for pipeline in of_task):
                    settled[done].append(task)
            for done, tasks in settled.items():
                if tasks:
                    resources = [task.resource for task in tasks]
                    log.debug("worker %s: %s: %s", self.id, "finished" if done else "given up", ", ".join(resources))
                    self._leases.release(self.id, self.group, resources, done)
                    for task in tasks:
                        del self._epochs[task], self._leaving[task]

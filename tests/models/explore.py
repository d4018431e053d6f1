"""Walk through every history that a small model allows, and show the first one that goes wrong.

A model is a set of states and the steps that lead from one to the next. Whatever can happen at the same time is a
choice between steps, so walking through all of them is trying all interleavings. The walk goes breadth first: a
counterexample is one of the shortest there are.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)


class Model(Protocol[State]):
    """What the explorer asks of a model."""

    def start(self) -> State:
        """The state in which every history begins."""

    def steps(self, state: State) -> Iterable[tuple[str, State]]:
        """Whatever may happen next: a sentence, and the state after it."""

    def wrong(self, state: State) -> str | None:
        """The law that is broken in this state; None where all is well."""

    def finished(self, state: State) -> bool:
        """Whether a history may end here. One that cannot go on anywhere else is stuck, which is wrong as well."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A history that goes wrong: what is wrong in the end, and the steps to it."""

    law: str
    steps: tuple[str, ...]
    state: object

    def __str__(self) -> str:
        lines = [f"{number:3}. {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join([*lines, f"  => {self.law}", f"     {self.state}"])


@dataclass(frozen=True, slots=True)
class Explored(Generic[State]):
    """What a walk came to: how many states it saw, and in which of them a history may end."""

    states: int
    finished: tuple[State, ...]
    counterexample: Counterexample | None


def explore(model: Model[State]) -> Explored[State]:
    """Visit every state that can be reached, or stop at the first that is wrong."""
    collects = gc.isenabled()
    gc.disable()  # states hold no cycles, and looking for some among a million of them takes half of the time
    try:
        return _walk(model)
    finally:
        if collects:
            gc.enable()


def _walk(model: Model[State]) -> Explored[State]:
    start = model.start()
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([start])
    finished = []
    while waiting:
        state = waiting.popleft()
        law = model.wrong(state)
        if law is None:
            stuck = True
            for step, after in model.steps(state):
                stuck = False
                if after not in came_from:
                    came_from[after] = (state, step)
                    waiting.append(after)
            if model.finished(state):
                finished.append(state)
            elif stuck:
                law = "nothing can go on"
        if law is not None:
            return Explored(len(came_from), tuple(finished), Counterexample(law, _path(came_from, state), state))
    return Explored(len(came_from), tuple(finished), None)


def smallest(model: Callable[[int], Model[State]], changes: int) -> Counterexample | None:
    """A counterexample with as few changes of the table as possible, up to `changes`; None where there is none."""
    for number in range(1, changes + 1):
        found = explore(model(number)).counterexample
        if found is not None:
            return found
    return None


def _path(came_from: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    steps = []
    before = came_from[state]
    while before is not None:
        state, step = before
        steps.append(step)
        before = came_from[state]
    return tuple(reversed(steps))

"""List the programs that a process compiles, with their seconds, from the monitoring events of JAX."""

import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax

from ff_jax.runtime.progress import BACKGROUND


class Compilation(NamedTuple):
    """One compilation."""

    program: str
    seconds: float  # of the compiler, or of reading the program from the cache
    end: float  # `time.time` when it was ready
    is_cached: bool  # whether the persistent cache had it
    is_ahead: bool  # whether training went on meanwhile (`compile_ahead`)


class ProgramRow(NamedTuple):
    """All compilations of the programs of one name."""

    program: str
    count: int
    num_cached: int
    num_ahead: int
    seconds: float
    longest: float


class CompileLog:
    """The compilations since `install`."""

    def __init__(self):
        """Start with no compilation."""
        self.compilations: list[Compilation] = []
        self._thread = threading.local()

    def install(self) -> "CompileLog":
        """Listen to the events of JAX from now on; return the log."""
        jax.monitoring.register_event_listener(self.note)
        jax.monitoring.register_event_duration_secs_listener(self.listen)
        return self

    def note(self, event: str, **_: Any) -> None:
        """Take an event without a duration: the cache has the program that this thread asks for."""
        if event == "/jax/compilation_cache/cache_hits":
            self._thread.is_cached = True

    def listen(self, event: str, duration_secs: float, **facts: Any) -> None:
        """Take an event with a duration: a program is compiled."""
        if not event.endswith("/backend_compile_duration"):
            return
        name = str(facts.get("fun_name", "a program")).removeprefix("jit(").removesuffix(")")
        is_cached, self._thread.is_cached = getattr(self._thread, "is_cached", False), False
        is_ahead = threading.current_thread().name.startswith(BACKGROUND)
        self.compilations.append(Compilation(name, duration_secs, time.time(), is_cached, is_ahead))


def by_program(compilations: Iterable[Compilation]) -> list[ProgramRow]:
    """Sum up compilations by the names of programs, most seconds first."""
    groups: dict[str, list[Compilation]] = {}
    for one in compilations:
        groups.setdefault(one.program, []).append(one)
    rows = []
    for name, group in groups.items():
        seconds = [one.seconds for one in group]
        counts = sum(one.is_cached for one in group), sum(one.is_ahead for one in group)
        rows.append(ProgramRow(name, len(group), *counts, sum(seconds), max(seconds)))
    return sorted(rows, key=lambda row: -row.seconds)

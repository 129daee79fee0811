"""Show progress on standard error: rate and remaining time, and which program compiles while nothing moves."""

import contextlib
import functools
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import jax
from tqdm import tqdm

_SHORTEST = 3.0  # seconds: shorter compilations are not announced
_LONGEST = 60.0  # seconds without a line, if no interval is asked for
_BEAT = 1.0  # seconds between two looks at a bar that does not move
BACKGROUND = "compile ahead:"  # beginning of the names of threads that compile while steps go on


class CompileClock:
    """Which program JAX compiles, since when, and for how long it has compiled in all, from its monitoring events."""

    def __init__(self):
        """Start with nothing compiled."""
        self.program, self.begin, self.seconds = "", 0.0, 0.0

    def listen(self, event: str, duration_secs: float, **facts: Any) -> None:
        """Take an event of `jax.monitoring`: a program is ready for the compiler, or compiled.

        Nothing waits for a program that is compiled ahead, until `waiting` says so.
        """
        if threading.current_thread().name.startswith(BACKGROUND):
            return
        if event.endswith("/jaxpr_to_mlir_module_duration"):
            name = str(facts.get("fun_name", "a program"))
            self.program, self.begin = name.removeprefix("jit(").removesuffix(")"), time.monotonic()
        elif event.endswith("/backend_compile_duration"):
            self.program, self.seconds = "", self.seconds + duration_secs

    @contextlib.contextmanager
    def waiting(self, program: str) -> Iterator[None]:
        """Count the time in this context as the compilation of a program."""
        self.program, self.begin = program, time.monotonic()
        try:
            yield
        finally:
            self.program, self.seconds = "", self.seconds + time.monotonic() - self.begin

    def notice(self) -> str:
        """Describe the program that has been compiling for some seconds; empty if there is none."""
        program, waited = self.program, time.monotonic() - self.begin
        if not program or waited < _SHORTEST:
            return ""
        return f"compiling {program} ({waited:.0f} s; usually less than a minute)"


@functools.cache
def _compile_clock() -> CompileClock:
    clock = CompileClock()
    jax.monitoring.register_event_duration_secs_listener(clock.listen)
    return clock


def waiting_for(program: str) -> contextlib.AbstractContextManager[None]:
    """Show that a program is waited for, which a thread compiles; the rates of bars leave this time out."""
    return _compile_clock().waiting(program)


class _Progress(tqdm):
    """A bar whose rate leaves out the first step and compilation; a thread redraws it while no step ends."""

    monitor_interval = 0  # no thread of tqdm's own

    def __init__(self, *args: Any, **options: Any):
        self._clock, self._first = _compile_clock(), (0, 0.0, 0.0)  # step, time and compilation after the first step
        super().__init__(*args, **options)
        self._ended = threading.Event()
        threading.Thread(target=_redraw, args=(weakref.ref(self), self._ended), daemon=True).start()

    def __iter__(self) -> Iterator[Any]:
        """Yield the items; every one counts as a step when the next one is asked for."""
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def update(self, n: float | None = 1) -> bool | None:
        """Count `n` steps."""
        shown = super().update(n)
        if not self._first[0]:
            self._first = self.n, time.monotonic(), self._clock.seconds
        return shown

    @property
    def format_dict(self) -> dict[str, Any]:
        """Return what a bar shows; the rate is 0 (unknown) until the second step."""
        facts = dict(super().format_dict)
        step, begin, compiled = self._first
        seconds = time.monotonic() - begin - (self._clock.seconds - compiled)
        facts["rate"] = (self.n - step) / max(seconds, 1e-3) if step and self.n > step else 0
        facts["postfix"] = self._clock.notice() or facts["postfix"]
        return facts

    def beat(self) -> None:
        """Redraw."""
        self.refresh()

    def close(self) -> None:
        """End the bar and its thread."""
        if hasattr(self, "_ended"):
            self._ended.set()
        super().close()


class _LineProgress(_Progress):
    """Progress for log files: a new line at intervals instead of one line that is redrawn."""

    def __init__(self, *args: Any, **options: Any):
        self._written, self._noticed, self._is_due = (-1, time.monotonic()), "", False  # of the last line: step, time
        super().__init__(*args, **options)
        self._written = self.n, time.monotonic()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write the state as a new line if there was progress since the last one, or a line is due."""
        if self._is_due or self.n > max(self._written[0], self.initial):
            self._is_due, self._written = False, (self.n, time.monotonic())
            self.fp.write(str(self) + "\n")
            self.fp.flush()
        return True

    def beat(self) -> None:
        """Write a line if a program began to compile, or if there was none for the interval."""
        program = self._clock.program if self._clock.notice() else ""
        is_new, self._noticed = bool(program) and program != self._noticed, program
        if is_new or time.monotonic() - self._written[1] >= (self.mininterval or _LONGEST):
            self._is_due = True
            self.refresh()

    def close(self) -> None:
        """Write the last state, without the empty line at the end of a bar."""
        self._ended.set()
        if not self.disable:
            self.display()
            self.disable = True

    def clear(self, *_: object, **__: object) -> None:
        """Keep earlier lines."""


def _redraw(reference: "weakref.ref[_Progress]", ended: threading.Event) -> None:
    """Redraw a bar until it has ended or nothing refers to it any more."""
    while not ended.wait(_BEAT):
        bar = reference()
        if bar is None:
            return
        bar.beat()
        del bar


def progress(
    steps: Iterable[Any] | int,
    description: str,
    *,
    start: int = 0,
    total: int | None = None,
    every: float | int = 30,
) -> tqdm:
    """Iterate over `steps` and show rate and remaining time on standard error.

    A terminal shows one bar; a log file gets a line every `every` seconds, also if no step ends: then it says which
    program compiles.

    Args:
        steps: items to iterate over; a number n means range(start, n).
        description: label of the bar.
        start: steps that an earlier process has done.
        total: number of steps including `start`, if `steps` has no length.
        every: seconds between two lines if standard error is not a terminal.
    """
    if isinstance(steps, int):
        steps, total = range(start, steps), steps
    elif total is None and isinstance(steps, Sized):
        total = start + len(steps)
    if sys.stderr.isatty():
        return _Progress(steps, description, total, initial=start, dynamic_ncols=True)
    pattern = "{desc}: {n_fmt}/{total_fmt} in {elapsed}, {remaining} left, {rate_fmt}{postfix}"
    return _LineProgress(
        steps,
        description,
        total,
        initial=start,
        mininterval=every,
        maxinterval=every,
        miniters=1,
        bar_format=pattern,
        file=sys.stderr,
    )

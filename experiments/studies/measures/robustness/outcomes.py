"""What an attempt to break a program ended with."""

import json
import re
import shutil
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ff_jax.export.tables import Table
from ff_jax.runtime.run_log import peak_memory

RUNS, SENTENCE, REPAIRED = "runs", "one sentence", "repaired"
SILENT, TRACEBACK, HANG, ATTACK, DIFFERENT = "silent", "traceback", "hang", "attack", "different"
BAD = (SILENT, TRACEBACK, HANG, ATTACK, DIFFERENT)
COLUMNS = {
    RUNS: "runs", SENTENCE: "refused in one sentence", REPAIRED: "repaired", SILENT: "silent", TRACEBACK: "tracebacks",
    HANG: "hangs", ATTACK: "successful attacks", DIFFERENT: "differing arrays",
}  # fmt: skip
MAX_SENTENCE = 900  # characters: a path or two, a value and a remedy
MAX_SECONDS = 5.0
MAX_BYTES = 1 << 30
_STORED_TEXT = 400  # characters of a text that are stored


class Result(NamedTuple):
    """What one attempt ended with."""

    name: str
    kind: str  # one of COLUMNS
    text: str = ""  # of the error, or what differs
    seconds: float = 0.0


class Case(NamedTuple):
    """One attempt.

    Attributes:
        name: unique in its row.
        action: takes an empty folder; returns one of COLUMNS if it has found out what happened, or None: it ran.
        names: the error must name one of them; none: any sentence will do.
        allowed: what the attempt may end with; RUNS is silent where it is not allowed.
        max_seconds: longest duration.
    """

    name: str
    action: Callable[[Path], str | None]
    names: tuple[str, ...] = ()
    allowed: Collection[str] = (SENTENCE,)
    max_seconds: float = MAX_SECONDS


class TimeLimitError(BaseException):
    """An attempt took too long; not an `Exception`, which the code under test may handle."""


def is_sentence(text: str, names: Collection[str] = ()) -> bool:
    """Test whether an error message is one line of bounded length that names one of `names`."""
    text = text.strip()
    has_name = not names or any(name in text for name in names)
    return bool(text) and "\n" not in text and len(text) < MAX_SENTENCE and has_name


def attempt(case: Case, folder: Path) -> Result:
    """Make an attempt in this process, within its time and `MAX_BYTES` of memory."""
    begin, before, text = (time.monotonic(), time.process_time()), peak_memory()["peak_host_bytes"], ""
    try:
        with warnings.catch_warnings(), _time_limit(2 * case.max_seconds):
            warnings.simplefilter("error", RuntimeWarning)  # of NumPy: a user would see source code
            kind = case.action(folder) or RUNS
    except TimeLimitError:
        kind = HANG
    except (ValueError, OSError) as error:  # what `command_line.run` prints as one sentence
        text = str(error)
        kind = SENTENCE if is_sentence(text, case.names) else TRACEBACK
    except Exception as error:  # what a user would see as a traceback
        kind, text = TRACEBACK, f"{type(error).__name__}: {error}"
    seconds, grown = time.monotonic() - begin[0], peak_memory()["peak_host_bytes"] - before
    if time.process_time() - begin[1] > case.max_seconds and kind not in BAD:  # others may slow this process down
        kind = HANG
    if grown > MAX_BYTES and kind not in BAD:
        kind, text = ATTACK, f"memory grew by {grown >> 20} MB; {text}"
    return judge(case, Result(case.name, kind, text, seconds))


def judge(case: Case, result: Result) -> Result:
    """Turn an ending that the case does not allow into a bad one."""
    if result.kind in BAD or result.kind in case.allowed:
        return result
    return result._replace(kind=SILENT, text=f"{result.kind}, expected {' or '.join(case.allowed)}; {result.text}")


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimitError in the main thread after `seconds`; other threads have no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt_all(cases: Iterable[Case], folder: Path) -> Iterator[Result]:
    """Make attempts one after the other, each in a new folder below `folder` that is deleted afterwards."""
    for number, case in enumerate(cases):
        with new_folder(folder / f"{number}") as own:
            yield attempt(case, own)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder, and delete it after the block, also what is read-only in it."""
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        delete(path)


def delete(path: Path) -> None:
    """Delete a folder; links in it are not followed, and permissions are no obstacle."""
    for part in (path, *(entry for entry in path.rglob("*") if entry.is_dir() and not entry.is_symlink())):
        part.chmod(0o700)
    shutil.rmtree(path)


def counts(results: Collection[Result]) -> dict[str, int]:
    """Count the endings; all of COLUMNS."""
    found = Counter(result.kind for result in results)
    return {kind: found[kind] for kind in COLUMNS}


def table(rows: dict[str, dict[str, int]]) -> Table:
    """Make the table of all rows from the counts of each, with their sum."""
    total = {kind: sum(row[kind] for row in rows.values()) for kind in COLUMNS}
    everything = [*rows.items(), *([("all", total)] if len(rows) > 1 else [])]
    cells = [(name, str(sum(row.values())), *(str(row[kind]) for kind in COLUMNS)) for name, row in everything]
    return Table("Attempts to break the programs", ("", "tried", *COLUMNS.values()), cells)


def write(path: Path, results: Iterable[Result]) -> list[Result]:
    """Write results as they come, one JSON object a line, and return all; text is shortened."""
    kept = []
    with path.open("w") as file:
        for result in results:
            kept.append(result)
            short = result._replace(text=result.text[:_STORED_TEXT], seconds=round(result.seconds, 3))
            file.write(json.dumps(short._asdict()) + "\n")
            file.flush()
    return kept


def last_line(text: str) -> str:
    """Return the last line that is not empty; progress bars are left out."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    return lines[-1] if lines else ""


def plain(value: Any) -> str:
    """Shorten a value for the name of a case."""
    return str(value)[:40].encode("ascii", "backslashreplace").decode()

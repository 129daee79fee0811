"""Damage files at random: bytes are flipped, cut out, repeated and overwritten, and files end early."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial, reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.studies.measures.robustness.file_formats import Format, formats
from experiments.studies.measures.robustness.outcomes import BAD, RUNS, SENTENCE, Case, Result, attempt, new_folder
from ff_jax.data.scene_data import SceneData

KINDS = ("flip", "cut", "truncate", "repeat", "overwrite")
ODD = (
    b"\x00",
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"99999999999",
    b"-1",
    b"NaN",
    b"1e999",
    b"{",
    b"[" * 3000,
)
MAX_OPERATIONS, MAX_LENGTH = 4, 40
COUNT = 500  # mutations of a format


class Operation(NamedTuple):
    """One change of the bytes of a file."""

    kind: str  # one of KINDS
    where: float  # share of the file in front of it
    length: int  # bytes, from 1 to MAX_LENGTH; a flip changes the bit of this number
    odd: bytes  # that an "overwrite" writes


def draw(rng: np.random.Generator) -> list[Operation]:
    """Draw from one to MAX_OPERATIONS operations."""
    return [
        Operation(
            KINDS[rng.integers(len(KINDS))],
            float(rng.random()),
            int(rng.integers(1, MAX_LENGTH + 1)),
            ODD[rng.integers(len(ODD))],
        )
        for _ in range(rng.integers(1, MAX_OPERATIONS + 1))
    ]


def mutate(data: bytes, operations: Sequence[Operation]) -> bytes:
    """Apply operations one after the other."""
    return reduce(_apply, operations, data)


def _apply(data: bytes, operation: Operation) -> bytes:
    kind, where, length, odd = operation
    at = int(where * len(data))
    head, part, tail = data[:at], data[at : at + length], data[at + length :]
    if kind == "flip":
        return head + bytes(byte ^ (1 << length % 8) for byte in part[:1]) + part[1:] + tail
    return {
        "cut": head + tail,
        "truncate": head,
        "repeat": head + part + part + tail,
        "overwrite": head + odd + data[at + len(odd) :],
    }[kind]


def names_of(path: Path) -> tuple[str, ...]:
    """Name what an error about a file must name.

    The files of a COLMAP model belong together: one that lacks what another names may be the fault of either.
    """
    return path.stem, "/sparse: "


def read_mutated(path: Path, read: Callable[[Path], object], data: bytes, _: Path | None = None) -> None:
    """Overwrite a file with damaged bytes, and read it.

    Raises:
        ValueError, OSError: it cannot be read.
    """
    path.unlink()  # file systems take ten times as long to write over a file
    path.write_bytes(data)
    read(path)


def results(name: str, form: Format, folder: Path, rng: np.random.Generator, count: int = COUNT) -> Iterator[Result]:
    """Damage a file of a format `count` times (less often where reading is slow), and read it.

    Raises:
        ImportError: an optional package of the format is not installed.
    """
    path = form.make(folder)
    form.read(path)  # the file is valid
    original = path.read_bytes()
    for number in range(max(1, round(count * form.share))):
        operations = draw(rng)
        action = partial(read_mutated, path, form.read, mutate(original, operations))
        result = attempt(Case(f"{name} {number}", action, names_of(path), (RUNS, SENTENCE)), folder)
        yield result._replace(text=f"{result.text} {operations}") if result.kind in BAD else result


def all_results(
    folder: Path, make_scene: Callable[[Path], SceneData], rng: np.random.Generator, count: int = COUNT
) -> Iterator[Result]:
    """Damage files of all formats whose optional packages are installed."""
    for name, form in formats(make_scene).items():
        with new_folder(folder / name.replace(" ", "_")) as own, suppress(ImportError):
            yield from results(name, form, own, rng, count)

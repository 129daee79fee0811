"""Ways to tear the newest of two checkpoints: what is restored is one of both, bit for bit."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.studies.measures.robustness import mutations
from experiments.studies.measures.robustness.outcomes import DIFFERENT, REPAIRED, RUNS, Case
from ff_jax.runtime import checkpoint

Tear = Callable[[Path], object]  # takes the folder of the steps; tears step 2


def data_file(folder: Path, step: int) -> Path:
    """Find the largest file of the arrays of a step."""
    files = (folder / str(step) / "state").rglob("*")
    return max((file for file in files if file.is_file()), key=lambda file: file.stat().st_size)


def truncate(folder: Path) -> None:
    """Cut off half of the arrays."""
    path = data_file(folder, 2)
    os.truncate(path, path.stat().st_size // 2)


def flip_one_bit(folder: Path) -> None:
    """Flip a bit of the arrays."""
    path = data_file(folder, 2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _edit_manifest(folder: Path, edit: Callable[[str], str]) -> None:
    path = folder / "2" / checkpoint.MANIFEST
    path.write_text(edit(path.read_text()))


def _replace_by_link(folder: Path) -> None:
    path = data_file(folder, 2)
    path.unlink()
    path.symlink_to(data_file(folder, 1))


def _exchange_steps(folder: Path) -> None:
    shutil.copytree(folder / "1" / "state", folder / "2" / "state", dirs_exist_ok=True)


def _make_manifest_a_folder(folder: Path) -> None:
    path = folder / "2" / checkpoint.MANIFEST
    path.unlink()
    path.mkdir()


TEARS: dict[str, Tear] = {
    "truncated": truncate,
    "one bit flipped": flip_one_bit,
    "file missing": lambda folder: data_file(folder, 2).unlink(),
    "manifest missing": lambda folder: (folder / "2" / checkpoint.MANIFEST).unlink(),
    "manifest cut": lambda folder: os.truncate(folder / "2" / checkpoint.MANIFEST, 20),
    "manifest with another leaf": lambda f: _edit_manifest(f, lambda text: text.replace("float32", "float16", 1)),
    "manifest without files": lambda f: _edit_manifest(f, lambda text: json.dumps(json.loads(text) | {"files": {}})),
    "manifest with a flipped bit": lambda f: _edit_manifest(f, lambda text: text.replace('"leaves"', '"lgaves"')),
    "manifest of another kind": lambda folder: (folder / "2" / checkpoint.MANIFEST).write_text("[]"),
    "file replaced by a link": _replace_by_link,
    "arrays of another step": _exchange_steps,
    "arrays missing": lambda folder: shutil.rmtree(folder / "2" / "state"),
    "everything missing": lambda folder: shutil.rmtree(folder / "2") or (folder / "2").mkdir(),
    "a file in place of the step": lambda folder: shutil.rmtree(folder / "2") or (folder / "2").write_text("x"),
    "a manifest that is a folder": _make_manifest_a_folder,
}  # fmt: skip


def states() -> dict[int, dict[str, Any]]:
    """Make the states of two steps."""
    rng = np.random.default_rng(0)
    return {
        step: {"a": jnp.asarray(rng.normal(size=300), jnp.float32), "b": jnp.asarray(rng.integers(9, size=7))}
        for step in (1, 2)
    }


def cases(whole: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    """Give the listed tears, and `count` random ones of random files.

    Args:
        whole: new folder for two checkpoints.
        rng: of the random tears.
        count: number of them.
    """
    for step, state in states().items():
        checkpoint.save(whole, step, state, {"step": step})
    for name, tear in TEARS.items():
        yield Case(name, partial(restore_torn, whole, tear), (), (REPAIRED,))
    files = sorted(path.relative_to(whole) for path in (whole / "2").rglob("*") if path.is_file())
    for number in range(count):
        place, operations = files[rng.integers(len(files))], mutations.draw(rng)
        tear = partial(_mutate, place, operations)
        yield Case(f"{number}: {place}", partial(restore_torn, whole, tear), (), (REPAIRED, RUNS))


def _mutate(place: Path, operations: list[mutations.Operation], folder: Path) -> None:
    path = folder / place
    path.write_bytes(mutations.mutate(path.read_bytes(), operations))


def restore_torn(whole: Path, tear: Tear, folder: Path) -> str:
    """Tear a copy of two checkpoints, and restore the newest whole one; compare it with what was saved."""
    torn, saved = folder / "torn", states()
    shutil.copytree(whole, torn, symlinks=True)
    tear(torn)
    state, meta, step = checkpoint.restore(torn, saved[2])
    same = all(np.asarray(state[name]).tobytes() == np.asarray(saved[step][name]).tobytes() for name in state)
    if not same or meta != {"step": step}:
        return DIFFERENT
    return REPAIRED if step == 1 else RUNS

"""What is kept of a training step that broke: its batch, and which numbers are no longer finite."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ff_jax.runtime.atomic_files import replacing

FOLDER = "diverged"


class DivergedError(ValueError):
    """The loss or a parameter is no longer a finite number."""


def count_bad(tree: PyTree) -> dict[str, int]:
    """Return by name in how many numbers arrays are not finite; those that are finite are left out."""
    is_real = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
    bad = lambda leaf: int(np.count_nonzero(~np.isfinite(np.asarray(leaf))))
    counts = {name: bad(leaf) for name, leaf in _named(tree) if is_real(leaf)}
    return {name: count for name, count in counts.items() if count}


def save_batch(folder: Path, batch: PyTree) -> None:
    """Write the arrays of a batch into batch.npz."""
    with replacing(folder / "batch.npz") as temporary:
        np.savez(temporary, **{name: np.asarray(leaf) for name, leaf in _named(batch)})


def save_report(folder: Path, report: dict[str, Any], shown: dict[str, float]) -> None:
    """Write report.json: what JSON can hold, and the metrics that the log would show."""
    with replacing(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report | {"shown": {k: repr(v) for k, v in shown.items()}}, indent=2))


def culprit(in_batch: dict[str, int], after: dict[str, int]) -> str:
    """Return in a few words what is wrong, from the results of `count_bad` for the batch and for the parameters."""
    first = next(iter((in_batch or after).items()), None)
    text = f"{first[1]} numbers of {first[0]} are not finite" if first else "its loss is not finite"
    return text + (" in the batch" if in_batch else "")


def not_again(place: str, kept: int) -> DivergedError:
    """Return the error for a fault that did not come again when the steps after checkpoint `kept` were repeated."""
    return DivergedError(
        f"{place}, but not when they were repeated: a fault of the machine is likely; go on with --resume, from "
        f"checkpoint {kept}."
    )


def _named(tree: PyTree) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), jnp.asarray(leaf)) for path, leaf in paths]

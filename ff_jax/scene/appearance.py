"""Store what a PLY file of Gaussians does not hold: the sky, and the exposures of the recorded images.

The arrays of `scene.ply` are in `scene.appearance.npz` beside it: `exposure`, and `sky/...` with the names of the
parameters of the network.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.untrusted_files import UnreadableFileError, read_npz
from ff_jax.scene.scene import SceneParams
from ff_jax.scene.sky import black_sky

SUFFIX = ".appearance.npz"


def appearance_file(path: str | Path) -> Path:
    """Return the file beside a PLY file that holds its sky and exposures."""
    return Path(path).with_suffix(SUFFIX)


def write_appearance(path: str | Path, params: SceneParams, exposures: int = 0) -> None:
    """Write the sky of a scene and its first `exposures` exposures, those of its log, atomically.

    Raises:
        DiskFullError: the disk is full.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(params.sky)
    arrays: dict[str, Any] = {"exposure": np.asarray(params.exposure[:exposures])}
    arrays |= {_name(key): np.asarray(leaf) for key, leaf in leaves}
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def with_appearance(params: SceneParams, path: Path, exposures: int) -> SceneParams:
    """Replace the sky and the exposures of a scene by those of a file; without it the sky is black.

    Args:
        params: of the scene.
        path: file of `write_appearance`.
        exposures: number of exposures of the log; those of a file with another number are not taken.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return params.replace(sky=black_sky(params.sky))
    arrays = read_npz(path)
    leaves, structure = jax.tree_util.tree_flatten_with_path(params.sky)
    for key, leaf in leaves:
        stored = arrays.get(_name(key), np.full(0, np.nan))
        if stored.shape != leaf.shape or not np.isfinite(stored).all():
            what = f"finite array {_name(key)} of shape {leaf.shape}"
            raise UnreadableFileError(f"{path}: has no {what}; remove the file.")
    sky = jax.tree_util.tree_unflatten(structure, [jnp.asarray(arrays[_name(key)], leaf.dtype) for key, leaf in leaves])
    rows = arrays.get("exposure", np.zeros(0))
    if rows.shape != (exposures, 3, 4) or not np.isfinite(rows).all():
        return params.replace(sky=sky)
    return params.replace(sky=sky, exposure=params.exposure.at[:exposures].set(jnp.asarray(rows, jnp.float32)))


def _name(key: tuple) -> str:
    return f"sky/{jax.tree_util.keystr(key, simple=True, separator='/')}"

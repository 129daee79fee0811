"""Checkpoints that are whole or skipped: Orbax for the arrays, a manifest of checksums written last.

Layout: `<directory>/<step>/{state,meta,...}` by Orbax and `<directory>/<step>/manifest.json` by this module.
A step without a manifest, or with a file that differs from it, counts as torn and the one before it is used.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from ff_jax.runtime.atomic_files import explain_full_disk, replacing, sync

MANIFEST = "manifest.json"
logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint is torn, or does not fit the state that it should fill."""


def save(directory: str | Path, step: int, state: PyTree, meta: dict[str, Any], *, keep: int = 3) -> None:
    """Write `state` and `meta` as the checkpoint of `step` and keep the newest `keep` steps.

    Returns once everything is on the disk, so that buffers of `state` may be donated afterwards. Killed at
    any moment, it leaves the earlier checkpoints readable. A checkpoint of the same step is replaced.

    Args:
        directory: folder of all steps of one run; made if missing.
        step: number of the last finished step.
        state: pytree of arrays, typed PRNG keys and Python or NumPy numbers; every bit is kept.
        meta: what JSON can hold (the configuration, the data cursor, the shift reached).
        keep: how many checkpoints stay.

    Raises:
        ValueError: if a whole checkpoint of a later step exists (see `rewind`), or a leaf is not numeric.
        DiskFullError: if the disk is full; earlier checkpoints stay.
    """
    directory = Path(directory).absolute()
    if keep < 1:
        raise ValueError(f"{keep=} must be at least 1")
    newest = latest(directory) if any(s > step for s in _steps(directory)) else None
    if newest is not None and newest > step:
        raise ValueError(
            f"{directory} holds step {newest}, later than {step=}: resume from it, "
            f"call rewind(directory, {step}) or use an empty folder"
        )
    leaves = _named_leaves(state)
    arrays = {name: _storable(leaf) for name, leaf in leaves.items() if np.size(leaf)}
    try:
        with explain_full_disk(directory / str(step)):
            _discard(directory, [s for s in _steps(directory) if s >= step])
            items = ocp.args.Composite(
                # Orbax refuses an empty tree, and a state may consist of empty arrays only.
                state=ocp.args.StandardSave(arrays or {"nothing": 0}),
                meta=ocp.args.JsonSave(meta),
            )
            with _manager(directory) as manager:
                manager.save(step, args=items, force=True)
                manager.wait_until_finished()
            if jax.process_index() == 0:
                _write_manifest(directory / str(step), {name: _describe(leaf) for name, leaf in leaves.items()})
    except Exception:
        if jax.process_index() == 0:
            for partial in (directory / str(step), *directory.glob(f"{step}.orbax-checkpoint-tmp*")):
                shutil.rmtree(partial, ignore_errors=True)
        raise
    _prune(directory, keep)


def latest(directory: str | Path) -> int | None:
    """Return the newest step whose files all match their checksums, or None; warn about those skipped."""
    directory = Path(directory).absolute()
    for step in reversed(_steps(directory)):
        fault = _fault(directory / str(step))
        if fault is None:
            return step
        logger.warning("checkpoint %s is torn (%s): the one before it is used", directory / str(step), fault)
    return None


def restore(
    directory: str | Path, abstract_state: PyTree, step: int | None = None
) -> tuple[PyTree, dict[str, Any], int]:
    """Read a checkpoint back into the structure of `abstract_state`.

    Args:
        directory: folder that `save` wrote to.
        abstract_state: a state of the same structure, shapes and dtypes: concrete, or of `jax.ShapeDtypeStruct`
            (whose sharding is obeyed, so a checkpoint can move to another mesh). What is on no device in
            particular there is so here. NumPy leaves come back as NumPy.
        step: which checkpoint; the newest whole one by default.

    Returns:
        State, meta and the step they belong to.

    Raises:
        FileNotFoundError: if there is no (whole) checkpoint.
        CheckpointError: if the step asked for is torn, or its structure, shapes or dtypes differ.
    """
    directory = Path(directory).absolute()
    if step is None:
        step = latest(directory)
        if step is None:
            raise FileNotFoundError(f"no whole checkpoint in {directory}: start without resuming")
    elif step not in _steps(directory):
        raise FileNotFoundError(f"no checkpoint of {step=} in {directory}: it holds {_steps(directory)}")
    elif fault := _fault(directory / str(step)):
        raise CheckpointError(f"checkpoint {directory / str(step)} is torn ({fault}): restore an earlier step")
    leaves = _named_leaves(abstract_state)
    _check_structure(directory / str(step), leaves)
    targets = {name: _target(leaf) for name, leaf in leaves.items() if np.size(leaf)}
    items = ocp.args.Composite(state=ocp.args.StandardRestore(targets or {"nothing": 0}), meta=ocp.args.JsonRestore())
    with _manager(directory) as manager:
        restored = manager.restore(step, args=items)
    filled = [_like(leaf, restored.state.get(name)) for name, leaf in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(abstract_state), filled), restored.meta, step


def rewind(directory: str | Path, step: int) -> None:
    """Delete every checkpoint later than `step`, so that a run can go on from there on another path."""
    directory = Path(directory).absolute()
    _discard(directory, [s for s in _steps(directory) if s > step])


def _steps(directory: Path) -> list[int]:
    """Return the steps that have a folder, torn or whole, in rising order."""
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal())


def _manager(directory: Path) -> ocp.CheckpointManager:
    # Synchronous, without retention: a checkpoint only counts, and others only go, once its manifest is
    # there.
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(directory, options=options)


# --- leaves -------------------------------------------------------------------------------------------------


def _named_leaves(tree: PyTree) -> dict[str, Any]:
    """Return the leaves by a readable name; the number in front keeps names unique and in order."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {f"{i:04d} {jax.tree_util.keystr(path)}": leaf for i, (path, leaf) in enumerate(paths)}


def _describe(leaf: Any) -> str:
    """Return dtype and shape of a leaf as text, such as "float32(100, 3)" (or "int" for a Python number)."""
    if isinstance(leaf, (bool, int, float)) and not isinstance(leaf, np.generic):
        return type(leaf).__name__
    if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
        return f"{leaf.dtype}{tuple(leaf.shape)}"
    raise ValueError(f"a checkpoint state holds arrays and numbers only, got {leaf!r}: put it into meta")


def _storable(leaf: Any) -> Any:
    """Return a leaf in a type that Orbax stores: NumPy scalars become 0-d arrays.

    What is on one device comes to the host here: Orbax would compile a program for every shape to get it there.
    """
    _describe(leaf)
    on_one = isinstance(leaf, jax.Array) and leaf.is_fully_addressable and len(leaf.devices()) == 1
    is_key = on_one and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(leaf) if isinstance(leaf, np.generic) or (on_one and not is_key) else leaf


def _target(leaf: Any) -> Any:
    """Return what tells Orbax type, dtype and placement of a leaf."""
    if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    return _storable(leaf)


def _like(leaf: Any, value: Any) -> Any:
    """Return the stored `value` in the type of the target `leaf`; empty arrays were never stored."""
    if isinstance(leaf, np.generic):
        return leaf.dtype.type(value)
    if value is not None:
        return _unbound(value) if _is_unbound(leaf) else value
    if isinstance(leaf, np.ndarray):
        return np.empty(leaf.shape, leaf.dtype)
    return jax.numpy.empty(leaf.shape, leaf.dtype)


def _is_unbound(leaf: Any) -> bool:
    """Return whether a leaf is an array on no device in particular, as most of JAX's functions make them."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.sharding is None
    return isinstance(leaf, jax.Array) and not leaf.committed


def _unbound(array: jax.Array) -> jax.Array:
    """Return an array that is not bound to its device.

    Orbax binds what it reads. To jitted functions that is another kind of argument: after a resume every one of
    them would be compiled again.
    """
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_unbound(jax.random.key_data(array)), impl=jax.random.key_impl(array))
    return jax.device_put(np.asarray(array))


def _check_structure(folder: Path, leaves: dict[str, Any]) -> None:
    """Compare names, dtypes and shapes of the stored leaves with those wanted."""
    stored = json.loads((folder / MANIFEST).read_text())["leaves"]
    wanted = {name: _describe(leaf) for name, leaf in leaves.items()}
    differences = [
        f"{name[5:]}: {stored.get(name, 'absent')} in the file, {wanted.get(name, 'absent')} in the program"
        for name in sorted(stored.keys() | wanted.keys())
        if stored.get(name) != wanted.get(name)
    ]
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise CheckpointError(
            f"checkpoint {folder} does not fit the state: {'; '.join(differences[:3])}{more}; "
            "use the configuration it was written with"
        )


# --- integrity ----------------------------------------------------------------------------------------------


def _files(folder: Path) -> list[str]:
    """Return all files of a checkpoint but the manifest, relative to its folder."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if path != MANIFEST)


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _write_manifest(folder: Path, leaves: dict[str, str]) -> None:
    """Record every leaf and the checksum of every file; the manifest is what makes a checkpoint count."""
    files = {}
    for name in _files(folder):
        sync(folder / name)  # data must reach the disk before the manifest that vouches for it
        files[name] = _digest(folder / name)
    for path in folder.rglob("*/"):
        sync(path)
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps({"files": files, "leaves": leaves}, indent=1))
    sync(folder)


def _fault(folder: Path) -> str | None:
    """Return what is wrong with the checkpoint in `folder`, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except FileNotFoundError:
        return "it was never finished"
    except (ValueError, KeyError, TypeError, OSError) as error:
        return f"{MANIFEST} is unreadable: {error}"
    for name, digest in files.items():
        try:
            if _digest(folder / name) != digest:
                return f"{name} has changed"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} is unreadable: {error}"
    return None


def _prune(directory: Path, keep: int) -> None:
    """Delete all but the newest `keep` finished checkpoints; unfinished ones go too."""
    finished = [s for s in _steps(directory) if (directory / str(s) / MANIFEST).exists()]
    _discard(directory, [s for s in _steps(directory) if s not in finished[-keep:]])


def _discard(directory: Path, steps: list[int]) -> None:
    """Delete checkpoints, renamed first: a kill in between leaves no half checkpoint under a step's name."""
    if jax.process_index() == 0 and directory.is_dir():
        for step in steps:
            os.replace(directory / str(step), directory / f".deleted-{step}-{os.getpid()}")
        for leftover in directory.glob(".deleted-*"):
            shutil.rmtree(leftover, ignore_errors=True)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("checkpoints discarded")

"""Checkpoints in `<directory>/<step>/`: Orbax stores the arrays, a manifest written last makes the checkpoint valid.

`manifest.json` holds size and SHA-256 of every file, dtype and shape of every leaf, and its own hash. A step counts if
its manifest is undamaged and all sizes agree; `restore` also compares the hashes of the files. A torn step is skipped
for the one before it.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from ff_jax.runtime.atomic_files import atomic_write, explain_full_disk, sync
from ff_jax.runtime.untrusted_files import read_json_object

MANIFEST = "manifest.json"
_STEP = re.compile(r"0|[1-9][0-9]{0,17}")  # names of the folders of steps; others are not touched
logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint is torn, or does not fit the state to restore into."""


def save(directory: str | Path, step: int, state: PyTree, meta: dict[str, Any], *, keep: int = 3) -> None:
    """Write `state` and `meta` as the checkpoint of `step` and keep the newest `keep` steps.

    Everything is on the disk when the call returns, so buffers of `state` may be donated afterwards. A kill at any
    moment leaves the earlier checkpoints readable. A checkpoint of the same step is replaced.

    Args:
        directory: folder of all steps of one run; made if missing.
        step: number of the last finished step.
        state: pytree of arrays, typed PRNG keys and Python or NumPy numbers; every bit is kept.
        meta: JSON values (the configuration, the data cursor, the lateral shift).
        keep: number of checkpoints to keep.

    Raises:
        ValueError: a valid checkpoint of a later step exists (see `rewind`), or a leaf is not numeric.
        DiskFullError: the disk is full; earlier checkpoints stay.
    """
    directory = Path(directory).absolute()
    if keep < 1:
        raise ValueError(f"{keep=} must be at least 1")
    later = [s for s in _steps(directory) if s > step and not _fault(directory / str(s), verify=True)]
    if later:
        raise ValueError(
            f"{directory} holds step {later[-1]}, later than {step=}: resume from it, "
            f"call rewind(directory, {step}) or use an empty folder"
        )
    leaves = _named_leaves(state)
    arrays = {name: _storable(leaf) for name, leaf in leaves.items() if np.size(leaf)}
    folder = directory / str(step)
    # Orbax refuses an empty tree, and a state may consist of empty arrays only.
    args = ocp.args.Composite(state=ocp.args.StandardSave(arrays or {"nothing": 0}), meta=ocp.args.JsonSave(meta))
    try:
        with explain_full_disk(folder):
            _delete(directory, [s for s in _steps(directory) if s >= step])
            with _manager(directory) as manager:
                manager.save(step, args=args, force=True)
                manager.wait_until_finished()
            if jax.process_index() == 0:
                _write_manifest(folder, {name: _describe(leaf) for name, leaf in leaves.items()})
    except Exception:
        if jax.process_index() == 0:
            for partial in (folder, *directory.glob(f"{step}.orbax-checkpoint-tmp*")):
                shutil.rmtree(partial, ignore_errors=True)
        raise
    complete = [s for s in _steps(directory) if (directory / str(s) / MANIFEST).exists()]
    _delete(directory, [s for s in _steps(directory) if s not in complete[-keep:]])


def latest(directory: str | Path, *, verify: bool = False) -> int | None:
    """Find the newest valid step, or None; log a warning for every torn one that is skipped.

    Args:
        directory: folder that `save` wrote to.
        verify: compare hashes as well as sizes, which reads every file.
    """
    directory = Path(directory).absolute()
    for step in reversed(_steps(directory)):
        fault = _fault(directory / str(step), verify)
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
            (whose sharding is obeyed, so a checkpoint can move to another mesh). Leaves that are not committed to a
            device stay so. NumPy leaves come back as NumPy.
        step: which checkpoint; the newest valid one by default.

    Returns:
        State, meta and the step they belong to.

    Raises:
        FileNotFoundError: there is no (valid) checkpoint.
        CheckpointError: checkpoint `step` is torn, or its structure, shapes or dtypes differ.
    """
    directory = Path(directory).absolute()
    if step is None:
        step = latest(directory, verify=True)
        if step is None:
            raise FileNotFoundError(f"no whole checkpoint in {directory}: start without resuming")
    elif step not in _steps(directory):
        raise FileNotFoundError(f"no checkpoint of {step=} in {directory}: it holds {_steps(directory)}")
    elif fault := _fault(directory / str(step), verify=True):
        raise CheckpointError(f"checkpoint {directory / str(step)} is torn ({fault}): restore an earlier step")
    leaves = _named_leaves(abstract_state)
    _check_structure(directory / str(step), leaves)
    targets = {name: _target(leaf) for name, leaf in leaves.items() if np.size(leaf)}
    items = ocp.args.Composite(state=ocp.args.StandardRestore(targets or {"nothing": 0}), meta=ocp.args.JsonRestore())
    with _manager(directory) as manager:
        stored = manager.restore(step, args=items)
    values = [_like(leaf, stored.state.get(name)) for name, leaf in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(abstract_state), values), stored.meta, step


def rewind(directory: str | Path, step: int) -> None:
    """Delete every checkpoint later than `step`, so that a run can continue from there on another path."""
    directory = Path(directory).absolute()
    _delete(directory, [s for s in _steps(directory) if s > step])


def _steps(directory: Path) -> list[int]:
    """List the steps that have a folder, torn or valid, in rising order."""
    entries = directory.iterdir() if directory.is_dir() else ()
    return sorted(int(entry.name) for entry in entries if _STEP.fullmatch(entry.name))


def _manager(directory: Path) -> ocp.CheckpointManager:
    # Synchronous and without retention: a checkpoint counts, and older ones may go, only once its manifest is there.
    options = {"max_to_keep": None, "enable_async_checkpointing": False, "cleanup_tmp_directories": True}
    return ocp.CheckpointManager(directory, options=ocp.CheckpointManagerOptions(**options))


def _named_leaves(tree: PyTree) -> dict[str, Any]:
    """Name the leaves by their path; the number in front keeps names unique and in order."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {f"{i:04d} {jax.tree_util.keystr(path)}": leaf for i, (path, leaf) in enumerate(paths)}


def _describe(leaf: Any) -> str:
    """Describe dtype and shape of a leaf, such as "float32(100, 3)" (or "int" for a Python number)."""
    if isinstance(leaf, (bool, int, float)) and not isinstance(leaf, np.generic):
        return type(leaf).__name__
    if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
        return f"{leaf.dtype}{tuple(leaf.shape)}"
    raise ValueError(f"a checkpoint state holds arrays and numbers only, got {leaf!r}: put it into meta")


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _storable(leaf: Any) -> Any:
    """Convert a leaf to a type that Orbax stores: NumPy scalars become 0-d arrays, single-device arrays host arrays."""
    _describe(leaf)
    # Orbax would compile a program for every shape to bring an array of one device to the host.
    is_local = isinstance(leaf, jax.Array) and leaf.is_fully_addressable and len(leaf.devices()) == 1
    return np.asarray(leaf) if isinstance(leaf, np.generic) or (is_local and not _is_key(leaf)) else leaf


def _target(leaf: Any) -> Any:
    """Describe type, dtype and placement of a leaf for Orbax."""
    if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    return _storable(leaf)


def _like(leaf: Any, value: Any) -> Any:
    """Convert the stored `value` to the type of the target `leaf`; empty arrays are not stored and made here."""
    if isinstance(leaf, np.generic):
        return leaf.dtype.type(value)
    if value is None:
        return (np if isinstance(leaf, np.ndarray) else jax.numpy).empty(leaf.shape, leaf.dtype)
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return _uncommitted(value) if leaf.sharding is None else value
    return _uncommitted(value) if isinstance(leaf, jax.Array) and not leaf.committed else value


def _uncommitted(array: jax.Array) -> jax.Array:
    """Copy an array that Orbax has committed to a device: jitted functions would compile again for a committed one."""
    if _is_key(array):
        return jax.random.wrap_key_data(_uncommitted(jax.random.key_data(array)), impl=jax.random.key_impl(array))
    return jax.device_put(np.asarray(array))


def _check_structure(folder: Path, leaves: dict[str, Any]) -> None:
    """Compare names, dtypes and shapes of the stored leaves with those of the state to restore into."""
    stored = read_json_object(folder / MANIFEST)["leaves"]
    expected = {name: _describe(leaf) for name, leaf in leaves.items()}
    differences = [
        f"{name[5:]}: {stored.get(name, 'absent')} in the file, {expected.get(name, 'absent')} in the program"
        for name in sorted(stored.keys() | expected.keys())
        if stored.get(name) != expected.get(name)
    ]
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise CheckpointError(
            f"checkpoint {folder} does not fit the state: {'; '.join(differences[:3])}{more}; "
            "use the configuration it was written with"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _write_manifest(folder: Path, leaves: dict[str, str]) -> None:
    """Write sizes, hashes and leaves of a checkpoint, after its files have reached the disk."""
    paths = sorted(folder.rglob("*"))
    for path in paths:
        sync(path)
    files = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    hashes = {name: _digest(path) for name, path in files.items()}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    manifest: dict[str, Any] = {"files": hashes, "sizes": sizes, "leaves": leaves}
    with atomic_write(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest | {"sha256": _own_digest(manifest)}, indent=1))
    sync(folder)


def _own_digest(manifest: dict[str, Any]) -> str:
    """Hash a manifest: without it, damaged names of leaves would look like those of other settings."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _fault(folder: Path, verify: bool) -> str | None:
    """Describe the fault of a checkpoint, or return None; `verify` also compares hashes."""
    try:
        if not (folder / MANIFEST).exists():
            return "it was never finished"
        manifest = read_json_object(folder / MANIFEST)
        if manifest.pop("sha256", None) != _own_digest(manifest) or not manifest["files"]:
            return f"{MANIFEST} is damaged"
        for name, digest in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            size = path.stat().st_size
            if size != manifest["sizes"][name] or (verify and _digest(path) != digest):
                return f"{name} has changed"
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return f"it is unreadable: {error}"
    return None


def _delete(directory: Path, steps: list[int]) -> None:
    """Delete checkpoints, renamed first: a kill in between leaves no half checkpoint under the name of a step."""
    if jax.process_index() == 0 and directory.is_dir():
        for step in steps:
            os.replace(directory / str(step), directory / f".deleted-{step}-{os.getpid()}")
        for leftover in directory.glob(".deleted-*"):
            shutil.rmtree(leftover, ignore_errors=True)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("checkpoints deleted")

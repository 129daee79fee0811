"""Placement on devices: samples are split over the axis "data" of a mesh, wide kernels over its axis "model".

The same code serves one device and many: `jax.jit` inserts the communication that the placement of its arguments
requires. Attention and feed-forward layers are split in pairs (Shoeybi et al. 2019, arXiv 1909.08053): the first kernel
by its outputs, the second by its inputs, so devices exchange sums once per pair.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

DATA, MODEL = "data", "model"

# Regular expression of the last names of a parameter's path, and the dimension that is split, counted from the end
# (parameters of scanned blocks have a leading axis). Names of EIGent's transformer and of diffusers' U-Net.
RULES = (
    (r"(to_q|to_k|to_v|ff_in|net_0/proj)/kernel", -1),
    (r"(to_out|to_out_0|ff_out|net_2)/kernel", -2),
)


def make_mesh(data: int, model: int, devices: Sequence[Any] | None = None) -> Mesh:
    """Build a mesh of `data` x `model` devices with the axes "data" and "model".

    Args:
        data: number of parts of a batch.
        model: number of parts of wide kernels.
        devices: None takes all.

    Raises:
        ValueError: `data` times `model` is not the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    if data < 1 or model < 1 or data * model != len(devices):
        raise ValueError(f"{data=} times {model=} must be the number of devices, {len(devices)}; choose other sizes.")
    return jax.make_mesh((data, model), (DATA, MODEL), axis_types=(AxisType.Auto,) * 2, devices=devices)


def shardings(tree: PyTree, mesh: Mesh | AbstractMesh) -> PyTree:
    """Choose the placement of every leaf of parameters, or of a state that holds them.

    Kernels that match `RULES` are split over "model" if it divides them; all other leaves are replicated.

    Args:
        tree: arrays or their shapes.
        mesh: from `make_mesh`, or abstract, to plan without devices.
    """

    def placement(path: tuple, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, _spec(name, np.shape(leaf), mesh.shape[MODEL]))

    return jax.tree_util.tree_map_with_path(placement, tree)


def shard(tree: PyTree, mesh: Mesh) -> PyTree:
    """Place arrays by `shardings`; arrays that are in place are not copied, and NumPy arrays are moved in parts."""
    return place(tree, shardings(tree, mesh))


def place(tree: PyTree, places: PyTree) -> PyTree:
    """Move arrays to their places, parts of which other processes may own; all processes call it alike.

    Args:
        tree: arrays; those that are not distributed yet must be equal in all processes.
        places: a sharding for each.
    """
    return jax.tree.map(_put, tree, places)


def _put(leaf: Any, place: NamedSharding) -> jax.Array:
    is_local = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
    if place.is_fully_addressable or not is_local:
        return jax.device_put(leaf, place)
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = _put(jax.random.key_data(leaf), place)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    # From the host: a copy between devices of different processes would need both to offer it.
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, place, lambda part: whole[part])


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Split the leading axis of arrays, the samples, over "data"; every process passes the whole batch.

    Raises:
        ValueError: the number of samples is not divisible.
    """
    for leaf in jax.tree.leaves(batch):
        if not np.ndim(leaf) or len(leaf) % mesh.shape[DATA]:
            raise ValueError(
                f"a batch with an array of shape {np.shape(leaf)} does not split into {mesh.shape[DATA]} parts: choose "
                "a number of samples that is a multiple of it."
            )
    samples = NamedSharding(mesh, PartitionSpec(DATA))
    return place(batch, jax.tree.map(lambda _: samples, batch))


def _spec(name: str, shape: tuple[int, ...], parts: int) -> PartitionSpec:
    for pattern, axis in RULES:
        if re.search(rf"(^|/)({pattern})$", name):
            if parts == 1 or len(shape) < -axis or shape[axis] % parts:
                break
            return PartitionSpec(*(None,) * (len(shape) + axis), MODEL)
    return PartitionSpec()

"""Which device holds what: samples are split over the axis "data" of a mesh, wide kernels over its axis "model".

One path for a single device and for many: `jax.jit` inserts the communication that the placement of its arguments asks
for. Attention and feed-forward layers are split as pairs (Shoeybi et al. 2019, arXiv 1909.08053): the first kernel by
its outputs, the second by its inputs, so that devices exchange sums once per pair.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

DATA, MODEL = "data", "model"

# Regular expression of the last names of a parameter's path, and the dimension of it that is split. It counts from
# the end: parameters of blocks in a scan have an axis in front. Names of EIGent's transformer and of diffusers' U-Net.
RULES = (
    (r"(to_q|to_k|to_v|ff_in|net_0/proj)/kernel", -1),
    (r"(to_out|to_out_0|ff_out|net_2)/kernel", -2),
)


def make_mesh(data: int, model: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return a mesh of `data` x `model` devices with the axes "data" and "model".

    Args:
        data: parts that a batch is split into.
        model: parts that wide kernels are split into.
        devices: which ones; None is all of them.

    Raises:
        ValueError: the number of devices is another one.
    """
    devices = jax.devices() if devices is None else list(devices)
    if data < 1 or model < 1 or data * model != len(devices):
        raise ValueError(f"{data=} times {model=} must be the number of devices, {len(devices)}; choose other sizes.")
    return jax.make_mesh((data, model), (DATA, MODEL), axis_types=(AxisType.Auto,) * 2, devices=devices)


def shardings(tree: PyTree, mesh: Mesh | AbstractMesh) -> PyTree:
    """Return the placement of every leaf of parameters, or of a state that holds them.

    What `RULES` name is split over "model"; all else, and what does not divide, is replicated.

    Args:
        tree: arrays or their shapes.
        mesh: of `make_mesh`, or abstract to plan without devices.
    """

    def place(path: tuple, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, _spec(name, np.shape(leaf), mesh.shape[MODEL]))

    return jax.tree_util.tree_map_with_path(place, tree)


def shard(tree: PyTree, mesh: Mesh) -> PyTree:
    """Return the arrays placed by `shardings`; what is there already is not copied, and NumPy arrays go in parts."""
    return place(tree, shardings(tree, mesh))


def place(tree: PyTree, places: PyTree) -> PyTree:
    """Return the arrays at their places, of which other processes may own a part; all processes call it alike.

    Args:
        tree: arrays; without a part of other processes already, every process has the same.
        places: a sharding for each.
    """
    return jax.tree.map(_put, tree, places)


def _put(leaf: Any, place: NamedSharding) -> jax.Array:
    local = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
    if place.is_fully_addressable or not local:
        return jax.device_put(leaf, place)
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = _put(jax.random.key_data(leaf), place)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    # From the host: a copy between devices of different processes would need both to offer it.
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, place, lambda part: whole[part])


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Return arrays whose leading axis, the samples, is split over "data"; every process passes the whole batch.

    Raises:
        ValueError: the samples do not divide.
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

"""One scene on several devices: each holds a part of the Gaussians and draws a part of the tile rows.

A device projects and colours its own Gaussians, sends every other device the splats that touch rows of it (one
`all_to_all`), lists and blends its own rows, and all devices get the whole image. Splats arrive in the order in which
the Gaussians lie in the buffer, so that a tile's list, ties of depth included, is that of a single device: equal
pixels, bit for bit, where the kernels cut lists alike. The transpose of the exchange takes gradients back to the device
that holds the Gaussian.

Rows of tiles are dealt out in turns: the horizon of a driving scene, where most splats are, falls on all devices
without anybody having to know where it is. The price is that a splat of several rows goes to several devices.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int, PyTree

from kernels.bin_tiles.tile_spans import first_and_last_row, level_of
from kernels.project import Projected

AXIS = "gaussians"
COLUMNS = (2, 3, 1, 1, 2, 3)  # of `Projected`: mean2d, conic, opacity, depth, extent, colour
SPLAT_BYTES = 4 * sum(COLUMNS)


@dataclasses.dataclass(frozen=True)
class Shards:
    """The devices that share one scene (static; hashable).

    Attributes:
        mesh: with the axis "gaussians", over which Gaussians and tile rows are split.
        room: splats that one device can send to each other one, see `RenderOut.sent`; None: all that it has.
    """

    mesh: Mesh | AbstractMesh
    room: int | None = None

    @property
    def parts(self) -> int:
        """Return the number of devices that share the scene."""
        return self.mesh.shape[AXIS]


def make_shards(devices: Sequence[jax.Device] | None = None, room: int | None = None) -> Shards:
    """Return the shards of one scene on some devices, None for all.

    Raises:
        ValueError: `room` is under 1.
    """
    if room is not None and room < 1:
        raise ValueError(f"{room=} holds no splat: give at least 1, or None for all that a device has.")
    devices = jax.devices() if devices is None else list(devices)
    return Shards(jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices), room)


def draw(
    project: Callable[..., Projected],
    blend: Callable[..., tuple[Array, Array, Array]],
    per_gaussian: PyTree,
    shared: PyTree,
    shards: Shards,
    height: int,
    tile: int,
) -> tuple[Float[Array, "H W C"], Int[Array, ""], Int[Array, ""]]:
    """Draw an image whose Gaussians and tile rows are split over devices.

    Args:
        project: `project(*per_gaussian, *shared)`, the splats of some of the Gaussians.
        blend: `blend(splats, part=, parts=)`, the image (H, W, C - 1) of the tile rows of a part, its opacity (H, W),
            and the number of tile intersections that it needs room for.
        per_gaussian: arrays with one row per Gaussian; a number of rows that does not divide is filled up with zeros.
        shared: what all devices know.
        shards: the devices.
        height: of the image, pixels.
        tile: side of a tile, pixels.

    Returns:
        The image, opacity last, on all devices; the most intersections of a device; the most splats that one device
        had for another.
    """
    parts = shards.parts
    rows = -(-height // (tile * parts))  # of tiles, per device

    def local(per_gaussian: PyTree, shared: PyTree) -> tuple[Array, Array, Array]:
        # Once, here: each use of a camera's number inside would otherwise add up its gradient over devices on its own.
        shared = jax.tree.map(lambda x: lax.pcast(x, AXIS, to="varying"), shared)
        splats, sent = exchange(project(*per_gaussian, *shared), height, tile, parts, shards.room)
        part = lax.axis_index(AXIS)
        image, alpha, needed = blend(splats, part=part, parts=parts)
        image = jnp.concatenate([image, alpha[..., None]], -1)  # one array, to be gathered at once
        image = jnp.pad(image, ((0, rows * parts * tile - height), (0, 0), (0, 0)))
        own = image.reshape(rows, parts, tile, *image.shape[1:])[:, part]
        return own[:, None], lax.pmax(needed, AXIS), sent

    split, whole = PartitionSpec(AXIS), PartitionSpec()
    mapped = jax.shard_map(
        local,
        mesh=shards.mesh,
        in_specs=(split, whole),
        out_specs=(PartitionSpec(None, AXIS), whole, whole),
    )
    image, needed, sent = mapped(fill_up(per_gaussian, parts), shared)
    image = lax.with_sharding_constraint(image, NamedSharding(shards.mesh, whole))
    return image.reshape(-1, *image.shape[3:])[:height], needed, sent


def exchange(
    splats: Projected, height: int, tile: int, parts: int, room: int | None
) -> tuple[Projected, Int[Array, ""]]:
    """Send splats to the devices whose tile rows they touch; for use inside `shard_map`.

    Args:
        splats: those of this device, n of them.
        height: of the image, pixels.
        tile: side of a tile, pixels.
        parts: number of devices; tile row r belongs to device r modulo `parts`.
        room: splats that one device can send to each other one; None: n.

    Returns:
        The parts * room splats that this device is sent, by sender and in the order of their numbers there; unused
        places are culled splats. And the most splats that one device had for another: beyond `room`, those with the
        highest numbers were dropped.
    """
    n = splats.depth.shape[0]
    room = n if room is None else min(room, n)
    wanted = touching(splats, height, tile, parts)
    count = jnp.cumsum(wanted, 1, dtype=jnp.int32)
    # Places without a splat point past the end, each elsewhere: no two threads then add to one row on the way back.
    empty = n + jnp.arange(room, dtype=jnp.int32)
    place = jnp.where(wanted, count - 1, room)
    number = jnp.arange(n, dtype=jnp.int32)
    source = [empty.at[p].set(number, mode="drop", unique_indices=True) for p in place]
    # Rows are laid side by side before they are gathered: otherwise the gather would be one per column.
    table = lax.optimization_barrier(jnp.concatenate([x.reshape(n, -1) for x in splats], -1))
    places = {"mode": "fill", "fill_value": 0.0, "unique_indices": True, "indices_are_sorted": True}
    taken = [table.at[s].get(**places) for s in source]
    got = lax.all_to_all(jnp.stack(taken), AXIS, 0, 0).reshape(parts * room, -1)
    columns = jnp.split(got, np.cumsum(COLUMNS)[:-1], 1)
    shaped = [c[:, 0] if like.ndim == 1 else c for c, like in zip(columns, splats, strict=True)]
    return Projected(*shaped), lax.pmax(jnp.max(count[:, -1]), AXIS)


def touching(splats: Projected, height: int, tile: int, parts: int) -> Bool[Array, "parts n"]:
    """Return which splats touch a tile row of which part."""
    mean2d, conic, opacity, depth, extent, _ = map(lax.stop_gradient, splats)
    level = level_of(mean2d, conic, opacity, extent, depth)
    first, last = first_and_last_row(mean2d[:, 1], extent[:, 1], level, height, tile)
    part = jnp.arange(parts, dtype=jnp.int32)[:, None]
    return first + (part - first) % parts <= last


def fill_up(tree: PyTree, parts: int) -> PyTree:
    """Append rows of zeros (dead Gaussians) until every part has the same number of rows, and at least one."""

    def fill(x: Array) -> Array:
        return jnp.pad(x, ((0, max(-(-x.shape[0] // parts), 1) * parts - x.shape[0]), *[(0, 0)] * (x.ndim - 1)))

    return jax.tree.map(fill, tree)


def placements(tree: PyTree, slots: int, shards: Shards) -> PyTree:
    """Return the placement of every leaf of a scene or a training state, or of their shapes.

    Arrays of one row per slot (parameters, moments of the optimizer, `alive`) are split; all else, and everything if
    the slots do not divide, is on all devices.
    """

    def place(leaf: Any) -> NamedSharding:
        is_split = np.ndim(leaf) > 0 and leaf.shape[0] == slots and slots % shards.parts == 0
        return NamedSharding(shards.mesh, PartitionSpec(AXIS) if is_split else PartitionSpec())

    return jax.tree.map(place, tree)


def keep_split(tree: PyTree, slots: int, shards: Shards | None) -> PyTree:
    """Return a tree, inside jit, that stays where `placements` says; as it is without shards."""
    return tree if shards is None else lax.with_sharding_constraint(tree, placements(tree, slots, shards))


class Traffic(NamedTuple):
    """Bytes that each device sends to others, counted from shapes."""

    splats: int  # of the exchange; the gradient sends as many back
    image: int  # of the gathering of the image: its own tile rows to all others; the gradient sends nothing


def bytes_sent(slots: int, width: int, height: int, tile: int, shards: Shards, channels: int = 5) -> Traffic:
    """Return what one render of `slots` Gaussians sends, per device; counts and sums over cameras are left out."""
    others, n = shards.parts - 1, -(-slots // shards.parts)
    rows = -(-height // (tile * shards.parts))
    splats = others * (n if shards.room is None else min(shards.room, n)) * SPLAT_BYTES
    return Traffic(splats, others * rows * tile * width * channels * 4)

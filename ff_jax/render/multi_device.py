"""Render one scene on several devices: each holds a part of the Gaussians and renders a part of the tile rows.

A device projects its own Gaussians, sends every other device the splats that touch its rows (one `all_to_all`), and
bins and blends its own rows; then all devices get the whole image. Splats arrive in the order of the buffer, so the
list of a tile, ties of depth included, is that of a single device: pixels are equal bit for bit where the kernels cut
lists alike. The transpose of the exchange returns gradients to the device that holds the Gaussian.

Tile rows are assigned in turn (round robin), so all devices share the horizon of a driving scene, where most splats
are. The cost is that a splat that touches several rows is sent to several devices.
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

from kernels import Projected, touched_tile_rows

AXIS = "gaussians"
COLUMNS = (2, 3, 1, 1, 2, 3)  # of `Projected`: mean2d, conic, opacity, depth, extent, color
SPLAT_BYTES = 4 * sum(COLUMNS)


@dataclasses.dataclass(frozen=True)
class Shards:
    """The devices that share one scene (static; hashable).

    Attributes:
        mesh: with the axis "gaussians", over which Gaussians and tile rows are split.
        send_capacity: number of splats that one device can send to another (see `RenderOutput.num_sent`); None: all.
    """

    mesh: Mesh | AbstractMesh
    send_capacity: int | None = None

    @property
    def num_parts(self) -> int:
        """Return the number of devices that share the scene."""
        return self.mesh.shape[AXIS]


def make_shards(
    devices: Sequence[jax.Device] | None = None,  # pyright: ignore[reportInvalidTypeForm]: jax declares it as a variable
    send_capacity: int | None = None,
) -> Shards:
    """Make the shards of one scene on some devices (default: all).

    Raises:
        ValueError: `send_capacity` is less than 1.
    """
    if send_capacity is not None and send_capacity < 1:
        raise ValueError(f"invalid {send_capacity=}: expected at least 1, or None to send all splats.")
    devices = jax.devices() if devices is None else list(devices)
    return Shards(jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices), send_capacity)


def render_sharded(
    project: Callable[..., Projected],
    blend: Callable[..., tuple[Array, Array, Array]],
    per_gaussian: PyTree,
    shared: PyTree,
    shards: Shards,
    height: int,
    tile: int,
) -> tuple[Float[Array, "H W C"], Int[Array, ""], Int[Array, ""]]:
    """Render an image whose Gaussians and tile rows are split over devices.

    Args:
        project: `project(*per_gaussian, *shared)` -> splats of some of the Gaussians.
        blend: `blend(splats, part=, num_parts=)` -> image (H, W, C - 1) of the tile rows of a part, opacity (H, W), and
            number of tile intersections.
        per_gaussian: arrays with one row per Gaussian; zero rows are appended if their number is not divisible.
        shared: arguments that are the same on all devices.
        shards: the devices.
        height: of the image, pixels.
        tile: side of a tile, pixels.

    Returns:
        The image on all devices, opacity last; the largest number of tile intersections of a device; the largest
        number of splats that one device had to send to another.
    """
    num_parts = shards.num_parts
    rows = -(-height // (tile * num_parts))  # of tiles, per device

    def local(per_gaussian: PyTree, shared: PyTree) -> tuple[Array, Array, Array]:
        # pcast once: otherwise every use of a shared array inserts its own psum in the backward pass.
        shared = jax.tree.map(lambda x: lax.pcast(x, AXIS, to="varying"), shared)
        projected = project(*per_gaussian, *shared)
        splats, num_sent = all_to_all_splats(projected, height, tile, num_parts, shards.send_capacity)
        part = lax.axis_index(AXIS)
        image, alpha, num_intersections = blend(splats, part=part, num_parts=num_parts)
        image = jnp.concatenate([image, alpha[..., None]], -1)  # one array, so that one collective gathers it
        image = jnp.pad(image, ((0, rows * num_parts * tile - height), (0, 0), (0, 0)))
        own = image.reshape(rows, num_parts, tile, *image.shape[1:])[:, part]
        return own[:, None], lax.pmax(num_intersections, AXIS), num_sent

    split, whole = PartitionSpec(AXIS), PartitionSpec()
    mapped = jax.shard_map(
        local,
        mesh=shards.mesh,
        in_specs=(split, whole),
        out_specs=(PartitionSpec(None, AXIS), whole, whole),
    )
    image, num_intersections, num_sent = mapped(pad_rows(per_gaussian, num_parts), shared)
    image = lax.with_sharding_constraint(image, NamedSharding(shards.mesh, whole))
    return image.reshape(-1, *image.shape[3:])[:height], num_intersections, num_sent


def all_to_all_splats(
    splats: Projected, height: int, tile: int, num_parts: int, send_capacity: int | None
) -> tuple[Projected, Int[Array, ""]]:
    """Send splats to the devices whose tile rows they touch; for use inside `shard_map`.

    Args:
        splats: those of this device, n of them.
        height: of the image, pixels.
        tile: side of a tile, pixels.
        num_parts: number of devices; tile row r belongs to device r modulo `num_parts`.
        send_capacity: number of splats that one device can send to another; None: n.

    Returns:
        The num_parts * send_capacity splats that this device receives, by sender and in the order of the sender's
        buffer; unused slots are culled splats. And the largest number of splats that one device had to send to
        another: beyond `send_capacity`, the last ones in the buffer are dropped.
    """
    n = splats.depth.shape[0]
    capacity = n if send_capacity is None else min(send_capacity, n)
    is_touching = touched_parts(splats, height, tile, num_parts)
    count = jnp.cumsum(is_touching, 1, dtype=jnp.int32)
    # Empty slots have distinct out-of-range sources, so that no two threads of the backward pass add to one row.
    empty = n + jnp.arange(capacity, dtype=jnp.int32)
    slot = jnp.where(is_touching, count - 1, capacity)
    number = jnp.arange(n, dtype=jnp.int32)
    source = [empty.at[s].set(number, mode="drop", unique_indices=True) for s in slot]
    # The barrier keeps the columns in one table: otherwise there would be one gather per column.
    table = lax.optimization_barrier(jnp.concatenate([x.reshape(n, -1) for x in splats], -1))
    messages = [
        table.at[s].get(mode="fill", fill_value=0.0, unique_indices=True, indices_are_sorted=True) for s in source
    ]
    received = lax.all_to_all(jnp.stack(messages), AXIS, 0, 0).reshape(num_parts * capacity, -1)
    columns = jnp.split(received, np.cumsum(COLUMNS)[:-1], 1)
    shaped = [c[:, 0] if like.ndim == 1 else c for c, like in zip(columns, splats, strict=True)]
    return Projected(*shaped), lax.pmax(jnp.max(count[:, -1]), AXIS)


def touched_parts(splats: Projected, height: int, tile: int, num_parts: int) -> Bool[Array, "num_parts n"]:
    """Find which splats touch a tile row of which part."""
    first, last = touched_tile_rows(jax.tree.map(lax.stop_gradient, splats), height, tile)
    part = jnp.arange(num_parts, dtype=jnp.int32)[:, None]
    return first + (part - first) % num_parts <= last


def pad_rows(tree: PyTree, num_parts: int) -> PyTree:
    """Append rows of zeros (dead Gaussians) until every part has the same number of rows, and at least one."""

    def pad(x: Array) -> Array:
        rows = max(-(-x.shape[0] // num_parts), 1) * num_parts
        return jnp.pad(x, ((0, rows - x.shape[0]), *[(0, 0)] * (x.ndim - 1)))

    return jax.tree.map(pad, tree)


def placements(tree: PyTree, slots: int, shards: Shards) -> PyTree:
    """Compute the placement of every leaf of a scene or a training state, or of their shapes.

    Arrays with one row per slot (parameters, moments of the optimizer, `alive`) are split. Other arrays are replicated
    on all devices, and all arrays are if the number of slots is not divisible.
    """

    def place(leaf: Any) -> NamedSharding:
        is_split = np.ndim(leaf) > 0 and leaf.shape[0] == slots and slots % shards.num_parts == 0
        return NamedSharding(shards.mesh, PartitionSpec(AXIS) if is_split else PartitionSpec())

    return jax.tree.map(place, tree)


def keep_split(tree: PyTree, slots: int, shards: Shards | None) -> PyTree:
    """Constrain a tree, inside jit, to its `placements`; without shards, return it unchanged."""
    return tree if shards is None else lax.with_sharding_constraint(tree, placements(tree, slots, shards))


class Traffic(NamedTuple):
    """Number of bytes that each device sends to others, computed from shapes."""

    splats: int  # of the exchange of splats; the gradient sends as many back
    image: int  # of gathering the image: its own tile rows to all others; the gradient sends nothing


def bytes_sent(slots: int, width: int, height: int, tile: int, shards: Shards, channels: int = 5) -> Traffic:
    """Compute the traffic of one render of `slots` Gaussians, per device, without counts and sums over cameras."""
    others, n = shards.num_parts - 1, -(-slots // shards.num_parts)
    rows = -(-height // (tile * shards.num_parts))
    splats = others * (n if shards.send_capacity is None else min(shards.send_capacity, n)) * SPLAT_BYTES
    return Traffic(splats, others * rows * tile * width * channels * 4)

"""Find the nearest hits of blocks of rays, testing only primitives whose bounding sphere a block can reach.

Shapes are static: every block has a list of candidate primitives of full capacity and a count; a loop runs over the
longest list of the batch, several primitives per iteration.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.data.synthetic.ground import FAR
from ff_jax.data.synthetic.ray_intersections import hit, unpack
from ff_jax.data.synthetic.types import Primitives
from ff_jax.data.synthetic.vectors import dot, norm

MAX_STEP = 16  # most primitives tested per loop iteration


class CandidateLists(NamedTuple):
    """Candidate primitives per block of rays, one list per kind."""

    ids: tuple[Int[Array, "..."], ...]  # per kind: (B, capacity of the kind), reachable first
    counts: Int[Array, "B 4"]


def _step() -> int:
    """Choose the primitives per iteration: many amortize kernel launches, few stay in the cache of a CPU."""
    return 4 if jax.default_backend() == "cpu" else MAX_STEP


def _ranges(primitives: Primitives) -> list[tuple[int, int]]:
    ends = [sum(primitives.counts[: i + 1]) for i in range(4)]
    return list(zip([0, *ends[:3]], ends, strict=True))


def make_lists(primitives: Primitives, reach: Bool[Array, "B N"]) -> CandidateLists:
    """Compact a reachability table into candidate lists, in storage order."""
    ids, counts = [], []
    for low, high in _ranges(primitives):
        part = reach[:, low:high]
        order = jnp.argsort(~part, axis=1, stable=True).astype(jnp.int32) + low
        ids.append(jnp.pad(order, ((0, 0), (0, MAX_STEP)), constant_values=low))
        counts.append(jnp.sum(part, 1))
    return CandidateLists(tuple(ids), jnp.stack(counts, 1).astype(jnp.int32))


def reach_cone(
    centers: Float[Array, "N 3"], radii: Float[Array, "N"], origin: Float[Array, "3"], directions: Float[Array, "3 B R"]
) -> Bool[Array, "B N"]:
    """Test which spheres intersect the cone around each block of rays from one origin."""
    axis = jnp.mean(directions, 2)
    axis = axis / norm(axis)
    unit = directions / norm(directions)
    half = jnp.arccos(jnp.clip(jnp.min(dot(unit, axis[..., None]), 1), -1.0, 1.0))
    offset = centers - origin
    distance = jnp.maximum(norm(offset.T), 1e-6)
    angle = jnp.arccos(jnp.clip((jnp.matmul(offset, axis, precision="highest") / distance[:, None]).T, -1.0, 1.0))
    sphere = jnp.arcsin(jnp.clip(radii / distance, 0.0, 1.0))
    inside = distance <= radii
    # 2 mrad cover the rounding of arccos near 1.
    return (inside | (angle <= half[:, None] + sphere + 2e-3)) & (radii > 0)


def reach_sun(
    centers: Float[Array, "N 3"],
    radii: Float[Array, "N"],
    sun: Float[Array, "3"],
    points: Float[Array, "3 B R"],
    lit: Bool[Array, "B R"],
) -> Bool[Array, "B N"]:
    """Test which spheres can shade the points of each block: overlap of footprints cast onto the ground."""
    slope = sun[:2] / sun[2]
    cast = points[:2] - points[2] * slope[:, None, None]
    low = jnp.min(jnp.where(lit, cast, FAR), 2)
    high = jnp.max(jnp.where(lit, cast, -FAR), 2)
    middle = centers[:, :2] - centers[:, 2:] * slope
    extent = radii[:, None] * jnp.sqrt(1.0 + slope**2)
    overlap = (low.T[:, None] <= middle + extent) & (high.T[:, None] >= middle - extent)
    floor = jnp.min(jnp.where(lit, points[2], FAR), 1)
    return jnp.all(overlap, -1) & (radii > 0) & (centers[:, 2] + radii > floor[:, None])


def trace(
    table: Float[Array, "N 12"],
    lists: CandidateLists,
    origin: Float[Array, "3 B R"],
    direction: Float[Array, "3 B R"],
    start: Float[Array, "B R"],
    cone: Float[Array, ""],
) -> tuple[Float[Array, "B R"], Int[Array, "B R"]]:
    """Find the smallest ray parameter below `start` and the primitive hit there (-1: none)."""
    nearest, winner, step = start, jnp.full(start.shape, -1, jnp.int32), _step()
    for kind in range(4):
        ids, count = lists.ids[kind], lists.counts[:, kind]

        def body(state: tuple[Array, ...], kind: int = kind, ids: Array = ids, count: Array = count):
            i, t, best = state
            candidates = jax.lax.dynamic_slice_in_dim(ids, i * step, step, 1)
            row = unpack(table[candidates.T][:, :, None])
            hits = hit(kind, row, origin[:, None], direction[:, None], cone)
            is_listed = i * step + jnp.arange(step)[:, None] < count
            # The barrier keeps the tests one vectorized loop instead of the inside of a reduction.
            hits = jax.lax.optimization_barrier(jnp.where(is_listed[..., None], hits, FAR))
            first = jnp.min(hits, 0)
            which = jnp.max(jnp.where(hits == first, candidates.T[..., None], -1), 0)
            closer = first < t
            return i + 1, jnp.where(closer, first, t), jnp.where(closer, which, best)

        last = (jnp.max(count) + step - 1) // step
        state = (jnp.int32(0), nearest, winner)
        _, nearest, winner = jax.lax.while_loop(lambda s, last=last: s[0] < last, body, state)
    return nearest, winner

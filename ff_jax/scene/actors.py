"""Actors: Gaussians in the frame of a tracked box, which move along its trainable path.

Actors own the last rows of the Gaussian buffer. Their means are meters in the object frame (x forward, y left, z up,
origin in the center of the box), and their colors depend on directions in that frame. Between the key times of a track,
positions are interpolated linearly and rotations on the shortest arc. The Gaussians of an absent actor are not alive.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.render.gaussians import Gaussians
from ff_jax.render.rigid import in_float32, quats_to_matrices
from ff_jax.scene.deformable import SoftParams, init_soft
from kernels import sh_basis

_DIRECTIONS = 64  # more than the 16 basis functions that they determine


class ActorParams(struct.PyTreeNode):
    """Trainable corrections of the paths: of the poses of the boxes at key times."""

    turns: Float[Array, "A T 3"]  # rotation vector, radians, object frame
    moves: Float[Array, "A T 3"]  # meters, world frame
    soft: SoftParams | None = None  # how actors deform; None if all are rigid


class Tracks(struct.PyTreeNode):
    """The boxes of all actors at the key times."""

    times: Float[Array, "T"]  # seconds, increasing
    quats: Float[Array, "A T 4"]  # world from object, wxyz, unit length
    positions: Float[Array, "A T 3"]  # meters, world
    present: Bool[Array, "A T"]
    sizes: Float[Array, "A 3"]  # length, width, height, meters
    soft: Bool[Array, "A"]  # whether each actor deforms
    slots: int = struct.field(pytree_node=False)  # number of rows of the buffer, the last ones, that belong to actors


class Poses(NamedTuple):
    """The poses of all actors at one time."""

    quats: Float[Array, "A 4"]  # world from object, wxyz
    positions: Float[Array, "A 3"]  # meters, world
    present: Bool[Array, "A"]


def identity_motion(tracks: Tracks) -> ActorParams:
    """Make corrections that move nothing: identity poses and no deformation."""
    soft = init_soft(jax.random.key(0), len(tracks.soft)) if bool(tracks.soft.any()) else None
    return ActorParams(jnp.zeros_like(tracks.positions), jnp.zeros_like(tracks.positions), soft)


@in_float32
def poses_at(tracks: Tracks, params: ActorParams, time: Float[Array, ""]) -> Poses:
    """Compute the corrected poses at `time` (seconds); outside the key times they are constant."""
    last = tracks.times.shape[0] - 1
    below = jnp.clip(jnp.searchsorted(tracks.times, time, side="right") - 1, 0, max(last - 1, 0))
    above = jnp.minimum(below + 1, last)
    span = jnp.maximum(tracks.times[above] - tracks.times[below], 1e-6)
    share = jnp.clip((time - tracks.times[below]) / span, 0.0, 1.0)
    turned = jaxlie.SO3(tracks.quats) @ jaxlie.SO3.exp(params.turns)
    first, second = (jaxlie.SO3(turned.wxyz[:, i]) for i in (below, above))
    quats = (first @ jaxlie.SO3.exp(share * (first.inverse() @ second).log())).wxyz
    moved = tracks.positions + params.moves
    positions = (1 - share) * moved[:, below] + share * moved[:, above]
    return Poses(quats, positions, tracks.present[:, jnp.where(share < 0.5, below, above)])


@in_float32
def to_world(
    gaussians: Gaussians, actor: Int[Array, "M"], poses: Poses
) -> tuple[Gaussians, Bool[Array, "M"], Float[Array, "M 3 3"]]:
    """Transform Gaussians of actors to the world frame.

    Args:
        gaussians: in object frames.
        actor: index of the actor of each Gaussian.
        poses: of all actors.

    Returns:
        The Gaussians in the world frame, whether the actor of each is present, and the axes (columns, world) of the
        frame that their colors refer to.
    """
    matrices = quats_to_matrices(poses.quats)
    axes = matrices[actor]
    means = jnp.einsum("nij,nj->ni", axes, gaussians.means, precision="highest") + poses.positions[actor]
    quats = (jaxlie.SO3(poses.quats[actor]) @ jaxlie.SO3(gaussians.quats)).wxyz
    turn = sh_rotations(matrices, gaussians.sh.shape[1])
    sh = jnp.einsum("nkj,njc->nkc", turn[actor], gaussians.sh, precision="highest")
    return gaussians.replace(means=means, quats=quats, sh=sh), poses.present[actor], axes


def sh_rotations(matrices: Float[Array, "A 3 3"], coefficients: int) -> Float[Array, "A K K"]:
    """Compute D with basis(d) D = basis(R^T d) for every direction d: it rotates coefficients to the world frame.

    Each band of spherical harmonics is closed under rotation, so D is determined by as many directions as there are
    functions. More directions, evenly distributed, make the solution well conditioned.
    """
    # A Fibonacci lattice on the sphere.
    z = 1 - (2 * np.arange(_DIRECTIONS) + 1) / _DIRECTIONS
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(_DIRECTIONS)
    directions = np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], -1)
    with jax.ensure_compile_time_eval():
        inverse = np.linalg.pinv(np.asarray(sh_basis(jnp.asarray(directions, jnp.float32), coefficients), float))
    rotated = jnp.einsum("mi,aij->amj", jnp.asarray(directions, jnp.float32), matrices, precision="highest")
    basis = sh_basis(rotated, coefficients)
    return jnp.einsum("km,amj->akj", jnp.asarray(inverse, jnp.float32), basis, precision="highest")


def distance_outside_box(gaussians: Gaussians, actor: Int[Array, "M"], sizes: Float[Array, "A 3"]) -> Float[Array, "M"]:
    """Measure how far (meters, summed over axes) centers of Gaussians are outside the boxes of their actors."""
    return jnp.sum(jnp.maximum(jnp.abs(gaussians.means) - 0.5 * sizes[actor], 0.0), -1)


@in_float32
def roughness(tracks: Tracks, params: ActorParams) -> Float[Array, ""]:
    """Compute the mean squared distance, meters^2, of key poses from the straight path between their neighbors.

    A rotation counts as the displacement of the end of the box. Measured boxes jitter between key times, but vehicles
    and pedestrians move smoothly: braking at 5 m/s^2 bends a path by 2.5 cm in 0.1 s.
    """
    turned = jaxlie.SO3(tracks.quats) @ jaxlie.SO3.exp(params.turns)
    moved, quats = tracks.positions + params.moves, turned.wxyz
    turn = (jaxlie.SO3(quats[:, :-1]).inverse() @ jaxlie.SO3(quats[:, 1:])).log()
    arm = 0.5 * jnp.max(tracks.sizes, -1)[:, None, None]
    steps = jnp.concatenate([moved[:, 1:] - moved[:, :-1], arm * turn], -1)
    before, after = (jnp.diff(tracks.times)[rows][:, None] for rows in (slice(-1), slice(1, None)))
    bend = (after * steps[:, :-1] - before * steps[:, 1:]) / (before + after)
    is_complete = tracks.present[:, 2:] & tracks.present[:, 1:-1] & tracks.present[:, :-2]
    return jnp.sum(jnp.where(is_complete[..., None], bend**2, 0.0)) / jnp.maximum(is_complete.sum(), 1)

"""Nodes of a scene, for formats that hold more than one set of Gaussians: each with its own frame and motion."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ff_jax.render.gaussians import GaussianArrays

Array = np.ndarray


class NodeMotion(NamedTuple):
    """The pose of a node at key times; between them positions are linear, rotations on the shortest arc."""

    times: Float[Array, "T"]  # seconds, increasing
    quats: Float[Array, "T 4"]  # world from node, wxyz, unit length
    positions: Float[Array, "T 3"]  # meters, world
    present: Bool[Array, "T"]  # the nearest key time decides


class SceneNode(NamedTuple):
    """The Gaussians of a node."""

    name: str
    gaussians: GaussianArrays  # in the frame of the node, single precision
    motion: NodeMotion | None = None  # None: the frame is the world
    track: str | None = None  # id of the track that it follows

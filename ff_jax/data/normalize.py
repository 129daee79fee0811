"""Bring a log into the form that training expects: a world that starts near the vehicle, exposures without gaps."""

import logging

import numpy as np

from ff_jax.data.formats.common import start_at_vehicle
from ff_jax.data.scene_data import SceneData, with_dense_exposures

MAX_START = 1000.0  # meters from the world origin: float32 resolves 0.06 mm there


def normalize(scene: SceneData) -> SceneData:
    """Move a world far from its origin (map or satellite coordinates) to the vehicle, and number exposures densely."""
    scene, positions = with_dense_exposures(scene), scene.world_from_ego[:, :3, 3]
    if len(positions) == 0 or not np.isfinite(positions).all() or np.abs(positions[0]).max() <= MAX_START:
        return scene
    start = ", ".join(f"{value:.0f}" for value in positions[0])
    logging.getLogger(__name__).warning("%s starts at (%s) m; the origin is moved there.", scene.name, start)
    return start_at_vehicle(scene)

"""Gaussians for the tests of formats, and an independent reader (the package gaussforge)."""

from pathlib import Path

import gaussforge
import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.export.formats.splats import select_alive, unit_quats
from ff_jax.export.ply_layouts import read_splats
from ff_jax.render.gaussians import GaussianArrays, Gaussians, WorldGaussians
from ff_jax.render.renderer import RenderInput, RenderSettings, render
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole, quick, random_gaussians


def gaussians_of(count: int, coefficients: int) -> GaussianArrays:
    """Draw Gaussians whose colors fit into bytes."""
    options = {"coefficients": coefficients, "brightness": 0.0, "color_std": 0.25}
    return select_alive(random_gaussians(seeded_rng(), count, **options), np.ones(count, bool))


def decoded(path: Path, kind: str) -> GaussianArrays:
    """Convert a file to PLY by a program that shares no code with this project, and read that."""
    answer = gaussforge.GaussForge().convert(path.read_bytes(), kind, "ply")
    assert "error" not in answer, answer
    ply = path.with_suffix(f".{kind}.ply")
    ply.write_bytes(answer["data"])
    return read_splats(ply).gaussians


def rendered(gaussians: GaussianArrays) -> np.ndarray:
    """Render Gaussians from the origin along z, 48 x 32 pixels."""
    world = WorldGaussians(Gaussians(*map(jnp.asarray, gaussians)), jnp.ones(gaussians.count, bool))
    return np.asarray(_render(world))


@quick
def _render(world: WorldGaussians) -> jax.Array:
    return render(RenderInput(world, pinhole(48, 32, 40.0), RenderSettings(capacity=2048), 3)).rgb


def rotation_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Measure the angles (radians) between rotations given as quaternions of any length and sign."""
    return 2 * np.arccos(np.minimum(np.abs((unit_quats(a) * unit_quats(b)).sum(1)), 1))

"""One compiled renderer and one street, shared by all tests of the world."""

import jax
import pytest

from ff_jax.data.synthetic import WorldConfig, make_world, render_world

WIDTH, HEIGHT = 96, 64
SEED = 7


@pytest.fixture(scope="session")
def street():
    return make_world(SEED, WorldConfig(exposure_drift=True))


@pytest.fixture(scope="session")
def render():
    """Render one ray per pixel; call it with WIDTH x HEIGHT cameras to compile once."""
    return jax.jit(
        lambda world, camera, time, exposure: render_world(world, camera, time, samples=1, exposure=exposure)
    )

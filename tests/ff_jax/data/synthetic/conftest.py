"""One compiled renderer and one street, shared by all tests of the world."""

import jax
import pytest

from ff_jax.data.synthetic import StreetConfig, make_street, render_street

WIDTH, HEIGHT = 96, 64
SEED = 7


@pytest.fixture(scope="session")
def street():
    return make_street(SEED, StreetConfig(exposure_drift=True))


@pytest.fixture(scope="session")
def render():
    """Render one ray per pixel; call it with WIDTH x HEIGHT cameras to compile once."""
    return jax.jit(
        lambda street, camera, time, exposure: render_street(street, camera, time, samples=1, exposure=exposure)
    )

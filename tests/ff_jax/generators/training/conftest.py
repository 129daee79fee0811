"""Compiles without most optimisations: these small networks take much longer to compile than to run."""

import jax
import pytest

OPTION = "jax_disable_most_optimizations"


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update(OPTION, True)
    yield
    jax.config.update(OPTION, False)

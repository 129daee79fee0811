import pytest

from ff_jax import eig
from tests.random_inputs import seeded_rng
from tests.scenes import random_gaussians


def test_an_unknown_structure_is_an_error():
    gaussians = random_gaussians(seeded_rng(), 2)
    with pytest.raises(ValueError, match="structure='dense'"):
        eig.posterior(eig.init_precision(gaussians), eig.Priors(), gaussians, structure="dense")

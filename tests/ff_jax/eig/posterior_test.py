import numpy as np
import pytest

from ff_jax import eig
from tests.scenes import random_gaussians


def test_an_unknown_structure_is_an_error():
    gaussians = random_gaussians(np.random.default_rng(), 2)
    with pytest.raises(ValueError, match="structure='dense'"):
        eig.posterior(eig.init_precision(gaussians), eig.Priors(), gaussians, structure="dense")

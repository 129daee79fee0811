"""Without scales the network does not see EIG."""

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.self_fit.fixer import init_params
from ff_jax.fixers.self_fit.network import Network


def test_without_scales_the_residual_does_not_depend_on_eig():
    rng = np.random.default_rng()
    draw = lambda *shape: jnp.asarray(rng.random(shape), jnp.float32)
    render, reference, maps = draw(1, 8, 8, 3), draw(1, 8, 8, 3), (draw(1, 8, 8), draw(1, 8, 8))
    same = {}
    for kappas in ((), (0.1,)):
        config = SelfFitConfig(widths=(8, 8), kappas=kappas)
        params = init_params(jax.random.key(0), config)["network"]
        params = jax.tree.map(lambda leaf: leaf + 0.05 * rng.normal(size=leaf.shape).astype(np.float32), params)
        first, second = (np.asarray(Network(config).apply(params, render, eig, reference)) for eig in maps)
        assert first.std() > 1e-3
        same[kappas] = np.array_equal(first, second)
    assert same == {(): True, (0.1,): False}

"""The loop over the steps, with networks whose result is defined."""

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.fixers.eigent import noise_schedule, sampler
from ff_jax.fixers.eigent.noise_schedule import NoiseLevels, ScheduleConfig, make_solver_steps
from tests.random_inputs import seeded_rng

CONFIG = ScheduleConfig()
SHAPE = (2, 3, 4, 5, 6)


def oracle(x0):
    """Make a network that always predicts x0."""
    levels = noise_schedule.noise_levels(CONFIG)

    def denoise(x, t):
        assert t.shape == x.shape[:1]
        at = NoiseLevels(levels.signal[t[0]], levels.noise[t[0]])
        eps = (x - at.signal * x0) / at.noise
        return noise_schedule.v_target(jnp.asarray(x0), eps, at)

    return denoise


def test_the_sample_is_what_the_network_predicts():
    rng = seeded_rng()
    x0, noise = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    run = jax.jit(lambda key, noise, steps: sampler.sample(oracle(x0), key, noise, steps))
    key = jax.random.key(rng.integers(1 << 30))
    for solver in noise_schedule.SOLVERS:
        np.testing.assert_allclose(run(key, jnp.asarray(noise), make_solver_steps(CONFIG, 20, solver)), x0, atol=1e-4)
    assert run._cache_size() == 1


def test_loop_equals_single_steps():
    rng = seeded_rng()
    noise, key = rng.normal(size=SHAPE).astype(np.float32), jax.random.key(rng.integers(1 << 30))
    denoise = lambda x, t: jnp.tanh(x) * (1 + t[:, None, None, None, None] / 1000)
    steps, draws = (
        make_solver_steps(CONFIG, 6),
        jax.vmap(lambda key: jax.random.normal(key, SHAPE))(jax.random.split(key, 6)),
    )
    found = jax.jit(lambda noise: sampler.sample(denoise, key, noise, steps))(jnp.asarray(noise))
    x, before = noise, 0 * noise
    for i in range(6):
        at = jax.tree.map(lambda row, i=i: np.asarray(row[i]), steps)
        v = np.tanh(x) * (1 + at.t / 1000)
        x0 = at.levels.signal * x - at.levels.noise * v
        x, before = at.a * x + at.b * x0 + at.c * before + at.d * draws[i], x0
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)


def test_steps_keep_the_right_amount_of_noise():
    # The x0 of a standard normal variable is sqrt(abar) x in the mean: v = 0. Its samples must be normal, too.
    noise = jax.random.normal(jax.random.key(seeded_rng().integers(1 << 30)), (1, 20, 20, 20, 8))
    run = jax.jit(lambda noise, steps: sampler.sample(lambda x, t: 0 * x, jax.random.key(2), noise, steps))
    for solver in noise_schedule.SOLVERS:
        assert abs(float(run(noise, make_solver_steps(CONFIG, 50, solver)).std()) - 1) < 0.1

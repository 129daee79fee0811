"""Deformable actors: the identity at first, no effect on rigid actors, and able to fit a swing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ff_jax.scene import compose
from ff_jax.scene.deformable import deform, init_soft
from tests.ff_jax.scene.actors_test import FIXED, SLOTS, M, random_pose, scene_of, tracks_of
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def test_nothing_deforms_at_first_and_rigid_actors_never_deform():
    rng = seeded_rng()
    poses = np.stack([random_pose(rng), random_pose(rng)])
    rigid, soft = (scene_of(np.random.default_rng(1), tracks_of(poses, soft=soft)) for soft in (False, True))
    for a, b in zip(*(jax.tree.leaves(compose(s, jnp.float32(0.4))) for s in (rigid, soft)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert rigid.params.actors.soft is None
    moving = init_soft(jax.random.key(0), 2)
    moving = moving.replace(network=jax.tree.map(lambda x: x + 0.1, moving.network))
    own = jax.tree.map(lambda x: x[FIXED:], soft.params.gaussians)
    actor = jnp.arange(SLOTS) % 2
    out = deform(own, actor, moving, jnp.array([True, False]), jnp.ones((2, 3)), jnp.float32(0.5))
    shift = jnp.abs(out.means - own.means).max(-1)
    assert float(shift[actor == 0].min()) > 0 and float(shift[actor == 1].max()) == 0


def test_the_network_fits_a_swing():
    """Legs swing by a fifth of the box, in opposite phase."""
    rng = seeded_rng()
    scene = scene_of(rng, tracks_of(np.stack([np.eye(4)] * 2), soft=True))
    own = jax.tree.map(lambda x: x[FIXED : FIXED + M], scene.params.gaussians)
    actor, soft, sizes = jnp.zeros(M, int), jnp.array([True]), jnp.ones((1, 3))
    side = jnp.sign(own.means[:, 1])

    def error(params, time):
        moved = deform(own, actor, params, soft, sizes, time).means - own.means
        expected = jnp.zeros_like(moved).at[:, 0].set(0.2 * side * jnp.sin(4 * jnp.pi * time))
        return jnp.mean(jnp.sum((moved - expected) ** 2, -1))

    def mean_error(params):
        return jnp.mean(jax.vmap(lambda time: error(params, time))(jnp.linspace(0, 1, 16)))

    params, optimizer = init_soft(jax.random.key(3), 1), optax.adam(3e-3)

    @jax.jit
    def fit(params):
        def step(_, carry):
            params, state = carry
            updates, state = optimizer.update(jax.grad(mean_error)(params), state)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, 200, step, (params, optimizer.init(params)))[0]

    before, after = float(mean_error(params)), float(mean_error(fit(params)))
    assert abs(before - 0.02 * 15 / 16) < 1e-5 and after < 0.1 * before  # the first and the last time are one phase

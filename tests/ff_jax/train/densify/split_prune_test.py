"""Density control by clone, split and prune."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.gaussians import Gaussians, opacities
from ff_jax.render.rigid import quats_to_matrices
from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.densify.split_prune import (
    SHRINK,
    Mean2dGradStats,
    NodeRules,
    SplitConfig,
    add_gradient,
    clone_split_prune,
    init_grad_stats,
    is_reset,
    lower_opacities,
    select_children,
)
from tests.random_inputs import seeded_rng
from tests.scenes import normal

N = 120
CONFIG = SplitConfig(gradient=1.0, clone_below=0.1)


@pytest.fixture
def buffer():
    """Draw Gaussians of three nodes that share slots, half of them small and half large, and gradient statistics."""
    rng = seeded_rng()
    width = jnp.where(jnp.arange(N) % 2 == 0, 0.05, 0.3)
    sizes = jnp.log(width)[:, None] - jnp.abs(normal(rng, N, 3)).at[:, 0].set(0.0)
    gaussians = Gaussians(normal(rng, N, 3), normal(rng, N, 4), sizes, normal(rng, N), normal(rng, N, 4, 3))
    alive = jnp.asarray(rng.random(N) < 0.6)
    node = jnp.asarray(rng.integers(0, 3, N))
    stats = Mean2dGradStats(jnp.asarray(rng.uniform(0, 8, N), jnp.float32), jnp.full(N, 4))
    return gaussians, alive, node, stats


def rules(quota):
    return NodeRules(jnp.ones(3), jnp.full(3, 0.5), jnp.array([0.01, 0.01, 0.1]), jnp.asarray(quota, jnp.int32))


step = jax.jit(lambda key, *args: clone_split_prune(key, *args, CONFIG, 1e-6))


def naive_parents(alive, node, score, threshold, quota):
    """Select parents one at a time, in the order of their scores."""
    own, free, parents = np.bincount(node[alive], minlength=len(quota)), int((~alive).sum()), []
    for i in np.argsort(-score, kind="stable"):
        if alive[i] and score[i] > threshold and own[node[i]] < quota[node[i]]:
            own[node[i]] += 1
            parents.append(int(i))
    return parents[:free]


@pytest.mark.slow
@pytest.mark.parametrize("quota", [(120, 120, 120), (30, 25, 26), (0, 0, 0), (40, 120, 0)])
def test_the_largest_gradients_fill_free_slots_within_quotas(buffer, quota):
    _, alive, node, stats = buffer
    score = stats.total / 4
    target, source = select_children(alive, node, score, 1.0, jnp.asarray(quota))
    expected = naive_parents(*(np.asarray(x) for x in (alive, node, score)), 1.0, quota)
    assert [int(i) for i in source[target]] == expected
    assert not bool((target & alive).any())
    np.testing.assert_array_equal(source[~target], jnp.arange(N)[~target])


def test_totals_nodes_and_shapes_of_children(buffer):
    gaussians, alive, node, stats = buffer
    new, now, changed, source = step(jax.random.key(3), gaussians, alive, node, stats, rules([N] * 3))
    children = np.flatnonzero(np.asarray(now & ~alive))
    parents = np.asarray(source)[children]
    num_selected = int((alive & (stats.total / 4 > 1.0)).sum())
    assert len(children) == min(num_selected, int((~alive).sum())) > 0
    assert int(now.sum()) == int(alive.sum()) + len(children) <= N
    assert set(children) == set(np.flatnonzero(~np.asarray(alive))[: len(children)])  # the first free slots
    large = parents % 2 == 1
    scales, old = np.asarray(new.log_scales), np.asarray(gaussians.log_scales)
    np.testing.assert_allclose(scales[children[large]], old[parents[large]] - np.log(SHRINK), rtol=1e-6)
    np.testing.assert_allclose(scales[parents[large]], old[parents[large]] - np.log(SHRINK), rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(new.means)[children[~large]], np.asarray(gaussians.means)[parents[~large]])
    np.testing.assert_array_equal(np.asarray(new.means)[parents[~large]], np.asarray(gaussians.means)[parents[~large]])
    assert (np.asarray(new.means)[children[large]] != np.asarray(new.means)[parents[large]]).any(-1).all()
    np.testing.assert_array_equal(np.asarray(new.sh)[children], np.asarray(gaussians.sh)[parents])
    # Moments of children and of split Gaussians are reset; the others keep their bits.
    assert set(np.flatnonzero(np.asarray(changed))) == set(children) | set(parents[large])
    for before, after in zip(jax.tree.leaves(gaussians), jax.tree.leaves(new), strict=True):
        np.testing.assert_array_equal(np.asarray(before)[~np.asarray(changed)], np.asarray(after)[~np.asarray(changed)])


@pytest.mark.slow
def test_halves_lie_within_their_parent():
    """Their offsets, in units of the parent's axes, have mean 0 and deviation 1."""
    rng = seeded_rng()
    count = 4000
    means, quats, log_scales, sh = (normal(rng, count, *shape) for shape in ((3,), (4,), (3,), (1, 3)))
    gaussians = Gaussians(means, quats, log_scales - 0.5, normal(rng, count), sh)
    alive, node = jnp.arange(count) < count // 2, jnp.zeros(count, int)
    one_node = NodeRules(jnp.ones(1), jnp.full(1, 1e9), jnp.full(1, 0.01), jnp.array([count]))
    stats = Mean2dGradStats(jnp.full(count, 9.0), jnp.ones(count, int))
    config = SplitConfig(gradient=1.0, clone_below=0.0)
    new, _, _, source = clone_split_prune(jax.random.key(1), gaussians, alive, node, stats, one_node, config, 0.0)
    axes = np.asarray(quats_to_matrices(gaussians.quats))[source]
    offset = np.einsum("nji,nj->ni", axes, np.asarray(new.means - gaussians.means[source]))
    offset /= np.exp(np.asarray(gaussians.log_scales))[source]
    assert np.abs(offset.mean(0)).max() < 0.12 and np.abs(offset.std(0) - 1).max() < 0.08  # deviations of 0.016, 0.011


def test_transparent_and_oversized_are_pruned_and_their_slots_reused(buffer):
    gaussians, _, node, _ = buffer
    alive = jnp.ones(N, bool)
    clear, huge = jnp.arange(N) < 10, (jnp.arange(N) >= 10) & (jnp.arange(N) < 20)
    gaussians = gaussians.replace(
        logit_opacities=jnp.where(clear, -20.0, gaussians.logit_opacities),
        log_scales=jnp.where(huge[:, None], 0.0, gaussians.log_scales),
    )
    _, now, _, _ = step(jax.random.key(0), gaussians, alive, node, init_grad_stats(N), rules([N] * 3))
    np.testing.assert_array_equal(now, ~(clear | huge))
    large = Mean2dGradStats(jnp.where(jnp.arange(N) < 26, 9.0, 0.0), jnp.ones(N, int))  # six of them are not pruned
    new, now, _, source = step(jax.random.key(0), gaussians, alive, node, large, rules([N] * 3))
    assert int(now.sum()) == N - 20 + 6
    np.testing.assert_array_equal(np.sort(source[:6]), np.arange(20, 26))
    assert bool((opacities(new, now)[:6] > 1e-6).all())


def test_gradient_statistics_count_views_with_a_gradient():
    rng = seeded_rng()
    stats, gradients = init_grad_stats(5), rng.normal(size=(3, 5, 2)).astype(np.float32)
    gradients[0, 2] = gradients[1, 2] = gradients[:, 4] = 0
    for gradient in gradients:
        stats = add_gradient(stats, jnp.asarray(gradient), 40)
    np.testing.assert_allclose(stats.total, 20 * np.linalg.norm(gradients, axis=-1).sum(0), rtol=1e-5)
    np.testing.assert_array_equal(stats.num_views, [3, 3, 1, 3, 0])


def test_resets_come_at_intervals_and_stop():
    config, density = SplitConfig(reset_every=300, reset_until=1000), DensityConfig(every=100)
    times = [s for s in range(0, 5000, density.every) if bool(is_reset(jnp.int32(s), density.every, config))]
    assert times == [300, 600, 900]


def test_a_reset_only_lowers_opacities(buffer):
    gaussians = buffer[0]
    low = lower_opacities(gaussians, jnp.full(N, 0.1))
    before, after = (np.asarray(opacities(g, jnp.ones(N, bool))) for g in (gaussians, low))
    np.testing.assert_allclose(after, np.minimum(before, 0.1), rtol=1e-5)
    same = lower_opacities(gaussians, jnp.ones(N))
    np.testing.assert_array_equal(same.logit_opacities, gaussians.logit_opacities)


def test_invalid_settings_are_errors():
    with pytest.raises(ValueError, match="reset_to="):
        SplitConfig(reset_to=0.0)
    with pytest.raises(ValueError, match="method='adaptive'"):
        DensityConfig(method="adaptive")

"""Steps of training: gradients and density control."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.gaussians import WorldGaussians, opacities
from ff_jax.render.renderer import RenderInput, RenderSettings, render
from ff_jax.runtime import checkpoint
from ff_jax.scene import PointCloud, SceneModel, render_scene
from ff_jax.scene.camera_path import ROTATION_ARM
from ff_jax.scene.scene import with_ground
from ff_jax.train.config import ReconConfig
from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.densify.split_prune import SplitConfig
from ff_jax.train.densify.step import is_density_step, make_density_step
from ff_jax.train.loop import TrainPlan
from ff_jax.train.losses import FULL_COVERAGE, LossConfig, coverage
from ff_jax.train.optimizer import OptimConfig, ScheduleScale, make_optimizer, means_rate
from ff_jax.train.state import init_state
from ff_jax.train.step import add_novel, make_train_step, view_loss
from tests.random_inputs import seeded_rng
from tests.scenes import make_batch, make_view, pinhole, scene_from_points

pytestmark = pytest.mark.slow

W, H = 40, 24
SETTINGS = RenderSettings(capacity=4096)
CONFIG = ReconConfig(sh_degree=1, sh_every=20, budget=96, density=DensityConfig(start=5, every=10))
SCALE = ScheduleScale(radius=2.0, steps=60)
train_step, density_step = make_train_step(CONFIG, SETTINGS), make_density_step(CONFIG)


def recorded_batch(image, shift, index):
    return make_batch(image, make_view(pinhole(W, H, 30.0, shift), exposure=index, frame=index, rig=0))


def start_and_batches(seed=None):
    """Make a scene to train, and two images of another one."""
    rng = np.random.default_rng(seed)
    xyz, rgb = rng.uniform([-2, -1, 3], [2, 1, 8], (50, 3)), rng.uniform(size=(50, 3))
    sizes = {"capacity": 96, "exposures": 3, "frames": 2}
    truth = scene_from_points(xyz, rgb, 0.4, **sizes)
    start = scene_from_points(xyz + rng.normal(size=xyz.shape) * 0.05, np.full_like(rgb, 0.5), 0.4, **sizes)
    world = WorldGaussians(truth.params.gaussians, truth.alive)
    shifts = 0.0, 0.4
    images = [render(RenderInput(world, pinhole(W, H, 30.0, shift), SETTINGS, 0)).rgb for shift in shifts]
    return start, [recorded_batch(image, shift, i) for i, (image, shift) in enumerate(zip(images, shifts, strict=True))]


def state_of(start, config=CONFIG, seed=1, scale=SCALE):
    """Make a training state with its own copy of the scene (steps donate their state)."""
    optimizer = make_optimizer(config.optim, scale)
    return init_state(jax.random.key(seed), jax.tree.map(jnp.copy, start), optimizer, config.density.method)


def test_training_fits_with_one_trace_and_leaves_frozen_groups_alone():
    start, batches = start_and_batches()
    state, losses = state_of(start), []
    for k in range(60):
        if k % 10 == 0 and k > 5:
            state = density_step(state, SCALE)
        state, metrics = train_step(state, batches[k % 2], SCALE)
        losses.append(float(metrics["image"]))
    assert losses[-1] < 0.6 * losses[0]
    assert train_step.gradient._cache_size() == 1 and density_step._cache_size() == 1
    assert int(state.scene.alive.sum()) > 50
    np.testing.assert_array_equal(state.scene.params.poses, 0.0)
    np.testing.assert_array_equal(state.scene.params.intrinsics, 0.0)
    assert float(jnp.abs(state.scene.params.exposure[2]).max()) == 0  # no image has this exposure
    chex.assert_tree_all_finite(state.scene.params)


def test_the_rate_of_positions_follows_the_scale_and_programs_are_shared():
    start, batches = start_and_batches(2)
    optim, large = CONFIG.optim, ScheduleScale(6.0, 120)

    def rate(scale, step):
        return float(means_rate(optim, scale)(jnp.int32(step)))

    assert rate(SCALE, 0) == pytest.approx(2 * optim.means, rel=1e-5)
    assert rate(SCALE, 60) == pytest.approx(2 * optim.means_final, rel=1e-4)
    assert rate(large, 60) == pytest.approx(6 * (optim.means * optim.means_final) ** 0.5, rel=1e-3)

    def first_change(scale):
        after, _ = train_step(state_of(start, scale=scale), batches[0], scale)
        change = np.asarray(after.scene.params.gaussians.means - start.params.gaussians.means)
        density_step(after, scale)
        return np.median(np.abs(change[np.asarray(start.alive)]).max(1))

    assert first_change(large) == pytest.approx(3 * first_change(SCALE), rel=0.05)  # Adam's first step is its rate
    assert train_step.gradient._cache_size() == 1 and density_step._cache_size() == 1


def test_steps_are_reproducible_and_depend_on_the_key():
    start, batches = start_and_batches(3)

    def run(seed):
        state = state_of(start, seed=seed)
        for k in range(12):
            state = density_step(state, SCALE) if k == 10 else state
            state, _ = train_step(state, batches[k % 2], SCALE)
        return jax.tree.leaves(state.scene)

    a, b, c = run(5), run(5), run(6)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


SPLITTING = ReconConfig(
    sh_degree=1,
    sh_every=20,
    budget=80,
    density=DensityConfig(method="split", start=5, stop=50, every=10, min_opacity=0.002),
    split=SplitConfig(gradient=1e-5, clone_below=0.1, reset_every=20, reset_until=35),
)


def second_moment(state, name):
    """Compute the largest second moment of a group, per slot."""
    leaves = jax.tree_util.tree_leaves_with_path(state.opt)
    (leaf,) = (
        x for path, x in leaves if getattr(path[-1], "key", None) == name and ".nu" in jax.tree_util.keystr(path)
    )
    return np.asarray(leaf).reshape(leaf.shape[0], -1).max(1)


def test_clone_split_and_prune_within_the_budget_in_one_trace_and_resume_bit_for_bit(tmp_path):
    start, batches = start_and_batches()
    train_step, density_step = make_train_step(SPLITTING, SETTINGS), make_density_step(SPLITTING)
    brightest, counts = {}, []

    def run(state, first, last):
        for k in range(first, last):
            if is_density_step(k, SPLITTING.density):
                before, state = np.asarray(state.scene.alive), density_step(state, SCALE)
                alive = np.asarray(state.scene.alive)
                brightest[k] = float(opacities(state.scene.params.gaussians, state.scene.alive).max())
                counts.append(int(alive.sum()))
                assert second_moment(state, "means")[alive & ~before].max(initial=0) == 0
                assert not (second_moment(state, "logit_opacities").any() and k == 20)
                assert not state.grad_stats.total.any()
            state, _ = train_step(state, batches[k % 2], SCALE)
        return state

    whole = run(state_of(start, SPLITTING), 0, 45)
    assert train_step.gradient._cache_size() == 1 and density_step._cache_size() == 1
    assert max(counts) == 80 and int(whole.scene.alive.sum()) <= 80  # 50 at the start
    assert brightest[20] <= 0.0101 and min(brightest[10], brightest[30], brightest[40]) > 0.011
    chex.assert_tree_all_finite(whole.scene.params)
    checkpoint.save(tmp_path, 25, run(state_of(start, SPLITTING), 0, 25), {})
    resumed = run(checkpoint.restore(tmp_path, state_of(start, SPLITTING))[0], 25, 45)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)


def test_pixels_of_weight_0_do_not_change_the_scene():
    start, _ = start_and_batches()
    image_only = LossConfig(opacity=0.0, scale=0.0, exposure=0.0)
    config = ReconConfig(sh_degree=1, budget=96, loss=image_only, density=DensityConfig(noise=0.0))
    wrong = jnp.asarray(seeded_rng().uniform(size=(H, W, 3)), jnp.float32)
    nothing = make_batch(wrong, make_view(pinhole(W, H, 30.0), exposure=2), weight=0.0, novel=True)
    train_step = make_train_step(config, SETTINGS)
    state, _ = train_step(state_of(start, config), nothing, SCALE)
    for x, y in zip(jax.tree.leaves(start.params), jax.tree.leaves(state.scene.params), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-7)


def test_a_pseudo_view_is_added_to_the_recorded_image():
    """The gradient of both images together is the sum of their gradients; the depth of few pixels counts little."""
    start, batches = start_and_batches()
    config = LossConfig(opacity=0.0, scale=0.0, exposure=0.0, novel=0.7)
    rng = seeded_rng()
    other = make_batch(jnp.asarray(rng.uniform(size=(H, W, 3)), jnp.float32), batches[0].view, weight=0.3, novel=True)
    depth = np.zeros((H, W), np.float32)
    depth[:2, :3] = 4.0
    other = other.replace(lidar=jnp.asarray(depth))
    gradient = make_train_step(ReconConfig(sh_degree=1, sh_every=1, loss=config), SETTINGS).gradient
    alone, novel = (gradient(start, jnp.int32(1), batch, is_offset_used=False) for batch in (batches[0], other))
    together = add_novel(alone, novel)
    model = SceneModel(start, SETTINGS, jnp.int32(1))

    def loss_of_both(params):
        parts = [
            view_loss(model.replace(scene=start.replace(params=params)), b, config)[0] for b in (batches[0], other)
        ]
        return sum(parts)

    loss, expected = jax.jit(jax.value_and_grad(loss_of_both))(start.params)
    for a, b in zip(*map(jax.tree.leaves, (together.params, expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(together.metrics["loss"], loss, rtol=1e-5)
    assert float(coverage(other.lidar)) == pytest.approx(6 / (H * W) / FULL_COVERAGE, rel=1e-5)


def test_rates_of_zero_freeze_exactly_and_poses_follow_their_rate():
    """Frozen geometry keeps its bits over steps with gradients; the first step of Adam has the size of its rate."""
    start, batches = start_and_batches()
    frozen = OptimConfig(means=0.0, quats=0.0, log_scales=0.0, logit_opacities=0.0, poses=1e-3)
    config = ReconConfig(sh_degree=1, budget=96, optim=frozen)
    train_step = make_train_step(config, SETTINGS)
    state, _ = train_step(state_of(start, config), batches[1], SCALE)
    first = np.asarray(state.scene.params.poses)
    np.testing.assert_allclose(np.abs(first[1]), np.repeat([1e-3, 1e-3 * ROTATION_ARM], 3), rtol=1e-3)
    assert not first[0].any()
    for k in range(4):
        state, _ = train_step(state, batches[k % 2], SCALE)
    for name in ("means", "quats", "log_scales", "logit_opacities"):
        before, after = (getattr(scene.params.gaussians, name) for scene in (start, state.scene))
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(start.params.gaussians.sh, state.scene.params.gaussians.sh)


@pytest.mark.parametrize("config", [CONFIG, SPLITTING], ids=["mcmc", "split"])
def test_the_ground_keeps_its_positions_and_its_number_and_learns_the_rest(config):
    background, batches = start_and_batches()
    rng, slots = seeded_rng(), 20
    road = rng.uniform([-2, 0.5, 3], [2, 1, 8], (16, 3))
    cloud = PointCloud(*(jnp.asarray(part, jnp.float32) for part in (road, rng.random((16, 3)), np.full(16, 0.4))))
    start = with_ground(background, cloud, slots)
    config = dataclasses.replace(config, budget=start.alive.shape[0])
    step, densify = make_train_step(config, SETTINGS), make_density_step(config)
    state = state_of(start, config)
    for k in range(21):
        state = densify(state, SCALE) if k in (10, 20) else state
        state, _ = step(state, batches[k % 2], SCALE)
    before, after = start.params.gaussians, state.scene.params.gaussians
    np.testing.assert_array_equal(after.means[:slots], before.means[:slots])
    np.testing.assert_array_equal(state.scene.alive[:slots], start.alive[:slots])
    for name in ("quats", "log_scales", "logit_opacities", "sh"):
        assert np.abs(getattr(after, name) - getattr(before, name))[:16].max() > 1e-4
    assert np.abs(after.means - before.means)[slots : slots + 40].max() > 1e-4
    assert state.scene.alive[slots:].sum() != start.alive[slots:].sum()


@pytest.mark.parametrize("first", [0, 1])
def test_training_renders_the_color_bands_that_the_plan_shows(first):
    """A loaded scene trains with all of its bands from the first step on: its renders and its gradients have them."""
    start, batches = start_and_batches()
    gaussians = start.params.gaussians
    sh = jnp.asarray(seeded_rng().normal(0, 0.3, (len(gaussians.sh), 4, 3)), jnp.float32)
    start = start.replace(params=start.params.replace(gaussians=gaussians.replace(sh=gaussians.sh + sh)))
    config = dataclasses.replace(CONFIG, first_sh_degree=first)
    plan = TrainPlan(config, SETTINGS, radius=2.0, steps=60)
    result = make_train_step(config, SETTINGS).gradient(start, jnp.int32(0), batches[0], is_offset_used=False)
    shown = render_scene(plan.model(state_of(start, config)), batches[0].view).rgb
    squared = jnp.mean((jnp.clip(shown, 0, 1) - batches[0].image) ** 2)
    np.testing.assert_allclose(result.metrics["psnr"], -10 * jnp.log10(squared), rtol=1e-5)
    assert bool(jnp.any(result.params.gaussians.sh[:, 1:])) == (first == 1)

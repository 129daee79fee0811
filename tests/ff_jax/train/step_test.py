import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.camera import make_camera
from ff_jax.render.gaussians import opacities
from ff_jax.render.renderer import RenderSettings, render
from ff_jax.runtime import checkpoint
from ff_jax.scene import init_scene
from ff_jax.scene.camera_path import LEVER
from ff_jax.scene.scene import View
from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.densify.split_prune import SplitConfig
from ff_jax.train.densify.step import is_density_step, make_density_step
from ff_jax.train.losses import LossConfig
from ff_jax.train.pseudo_views import init_pool, pool_batch, push
from ff_jax.train.state import OptimConfig, Pace, init_state, make_optimizer, means_rate
from ff_jax.train.step import Batch, ReconConfig, make_train_step

W, H = 40, 24
SETTINGS = RenderSettings(capacity=4096)
CONFIG = ReconConfig(sh_degree=1, sh_every=20, budget=96, density=DensityConfig(start=5, every=10))
PACE = Pace(radius=2.0, steps=60)
step, density = make_train_step(CONFIG, SETTINGS), make_density_step(CONFIG)
K = np.array([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]])


def batch_of(image, shift=0.0, index=0, novel=False, weight=1.0):
    pose = np.eye(4)
    pose[0, 3] = shift
    number = jnp.int32
    row = number(-1 if novel else index)
    view = View(make_camera(K, pose, W, H), number(index), row, number(-1 if novel else 0), jnp.float32(0))
    return Batch(
        image,
        jnp.full((H, W), weight),
        view,
        jnp.zeros((H, W), bool),
        jnp.bool_(False),
        jnp.zeros((H, W)),
        jnp.bool_(novel),
        jnp.zeros((H, W), bool),
    )


def truth_and_start(seed):
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([-2, -1, 3], [2, 1, 8], (50, 3))
    rgb = rng.uniform(size=(50, 3))
    make = lambda xyz, rgb: init_scene(
        jax.random.key(0),
        *[jnp.asarray(a, jnp.float32) for a in (xyz, rgb, np.full(50, 0.4))],
        capacity=96, sh_degree=1, exposures=3, frames=2, cameras=1,
    )  # fmt: skip
    truth, start = make(xyz, rgb), make(xyz + rng.normal(size=xyz.shape) * 0.05, np.full_like(rgb, 0.5))
    images = []
    for shift in (0.0, 0.4):
        camera = batch_of(jnp.zeros((H, W, 3)), shift).view.camera
        images.append(render(truth.params.gaussians, truth.alive, camera, SETTINGS, sh_degree=0).rgb)
    batches = [batch_of(image, shift, i) for i, (image, shift) in enumerate(zip(images, (0.0, 0.4), strict=True))]
    return start, batches


def test_training_fits_with_one_trace_and_leaves_frozen_groups_alone():
    start, batches = truth_and_start(None)
    state = init_state(jax.random.key(1), start, make_optimizer(CONFIG.optim, PACE))
    first = last = None
    for k in range(60):
        if k % 10 == 0 and k > 5:
            state = density(state, PACE)
        state, shown = step(state, batches[k % 2], PACE)
        first = first if first is not None else float(shown["image"])
        last = float(shown["image"])
    assert last < 0.6 * first
    assert step._cache_size() == 1 and density._cache_size() == 1
    assert int(state.scene.alive.sum()) > 50
    np.testing.assert_array_equal(state.scene.params.poses, 0.0)
    np.testing.assert_array_equal(state.scene.params.intrinsics, 0.0)
    assert float(jnp.abs(state.scene.params.exposure[2]).max()) == 0  # belongs to no image that was seen
    chex.assert_tree_all_finite(state.scene.params)


def test_the_rate_of_positions_falls_with_the_pace_and_programs_are_shared():
    start, batches = truth_and_start(2)
    rate = lambda pace, at: float(means_rate(CONFIG.optim, pace)(jnp.int32(at)))
    assert rate(PACE, 0) == pytest.approx(2 * CONFIG.optim.means, rel=1e-5)
    assert rate(PACE, 60) == pytest.approx(2 * CONFIG.optim.means_final, rel=1e-4)
    assert rate(Pace(6.0, 120), 60) == pytest.approx(
        6 * (CONFIG.optim.means * CONFIG.optim.means_final) ** 0.5, rel=1e-3
    )

    def moved(pace):
        state = init_state(jax.random.key(1), jax.tree.map(jnp.copy, start), make_optimizer(CONFIG.optim, pace))
        after, _ = step(state, batches[0], pace)
        change = np.asarray(after.scene.params.gaussians.means - start.params.gaussians.means)
        density(after, pace)
        return np.median(np.abs(change[np.asarray(start.alive)]).max(1))

    slow, fast = moved(PACE), moved(Pace(6.0, 120))
    assert fast == pytest.approx(3 * slow, rel=0.05)  # a first step of Adam is as long as its rate
    assert step._cache_size() == 1 and density._cache_size() == 1


def test_steps_are_reproducible_and_depend_on_the_key():
    start, batches = truth_and_start(3)

    def run(key):
        state = init_state(key, jax.tree.map(jnp.copy, start), make_optimizer(CONFIG.optim, PACE))
        for k in range(12):
            state = density(state, PACE) if k == 10 else state
            state, _ = step(state, batches[k % 2], PACE)
        return jax.tree.leaves(state.scene)

    a, b, c = run(jax.random.key(5)), run(jax.random.key(5)), run(jax.random.key(6))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


SPLITTING = ReconConfig(
    sh_degree=1,
    sh_every=20,
    budget=80,
    density=DensityConfig(method="split", start=5, stop=50, every=10, min_opacity=0.002),
    split=SplitConfig(gradient=1e-5, clone_below=0.1, reset_every=20, reset_until=35),
)


def moment(state, name):
    """Return the largest second moment of a group, per slot."""
    leaves = jax.tree_util.tree_leaves_with_path(state.opt)
    (leaf,) = (
        x for path, x in leaves if getattr(path[-1], "key", None) == name and ".nu" in jax.tree_util.keystr(path)
    )
    return np.asarray(leaf).reshape(leaf.shape[0], -1).max(1)


def test_clone_split_and_prune_within_the_budget_in_one_trace_and_resume_bit_for_bit(tmp_path):
    start, batches = truth_and_start(None)
    method = SPLITTING.density.method
    fresh = lambda: init_state(
        jax.random.key(1), jax.tree.map(jnp.copy, start), make_optimizer(SPLITTING.optim, PACE), method
    )
    step, density = make_train_step(SPLITTING, SETTINGS), make_density_step(SPLITTING)
    brightest, counts = {}, []

    def advance(state, first, last):
        for k in range(first, last):
            if is_density_step(k, SPLITTING.density):
                before, state = np.asarray(state.scene.alive), density(state, PACE)
                alive = np.asarray(state.scene.alive)
                brightest[k] = float(opacities(state.scene.params.gaussians, state.scene.alive).max())
                counts.append(int(alive.sum()))
                assert moment(state, "means")[alive & ~before].max(initial=0) == 0
                assert not (moment(state, "logit_opacities").any() and k == 20)
                assert not state.pull.total.any()
            state, _ = step(state, batches[k % 2], PACE)
        return state

    whole = advance(fresh(), 0, 45)
    assert step._cache_size() == 1 and density._cache_size() == 1
    assert max(counts) == 80 and int(whole.scene.alive.sum()) <= 80  # 50 at the start
    assert brightest[20] <= 0.0101 and min(brightest[10], brightest[30], brightest[40]) > 0.011
    chex.assert_tree_all_finite(whole.scene.params)
    checkpoint.save(tmp_path, 25, advance(fresh(), 0, 25), {})
    resumed = advance(checkpoint.restore(tmp_path, fresh())[0], 25, 45)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)


def test_weightless_pixels_of_a_pseudo_view_teach_nothing():
    start, _ = truth_and_start(None)
    quiet = LossConfig(opacity=0.0, scale=0.0, exposure=0.0)
    config = ReconConfig(sh_degree=1, budget=96, loss=quiet, density=DensityConfig(noise=0.0))
    state = init_state(jax.random.key(1), jax.tree.map(jnp.copy, start), make_optimizer(config.optim, PACE))
    before = jax.tree.map(np.asarray, state.scene.params)
    step = make_train_step(config, SETTINGS)
    wrong = jnp.asarray(np.random.default_rng().uniform(size=(H, W, 3)), jnp.float32)
    state, _ = step(state, batch_of(wrong, index=2, novel=True, weight=0.0), PACE)
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(state.scene.params), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-7)


def test_pool_is_a_ring():
    rng = np.random.default_rng()
    pool = init_pool(5, H, W)
    clips = [jnp.asarray(rng.uniform(size=(3, H, W, 3)), jnp.float32) for _ in range(2)]
    eye, poses = jnp.tile(jnp.eye(3), (3, 1, 1)), jnp.tile(jnp.eye(4), (3, 1, 1))
    for clip in clips:
        pool = push(pool, clip, clip[..., 0], eye, poses, jnp.arange(3.0))
    assert int(pool.filled) == 5 and int(pool.cursor) == 1
    np.testing.assert_array_equal(pool.images[0], clips[1][2])  # the oldest frame was overwritten
    np.testing.assert_array_equal(pool.images[1], clips[0][1])
    batch = pool_batch(pool, jnp.int32(4), jnp.int32(7))
    np.testing.assert_array_equal(batch.image, clips[1][1])
    assert int(batch.view.exposure) == 11 and bool(batch.novel) and int(batch.view.frame) == -1


def test_rates_of_zero_freeze_exactly_and_poses_follow_their_rate():
    """Frozen geometry keeps its bits over steps with gradients; a first step of Adam is as long as its rate."""
    start, batches = truth_and_start(None)
    frozen = OptimConfig(means=0.0, quats=0.0, log_scales=0.0, logit_opacities=0.0, poses=1e-3)
    config = ReconConfig(sh_degree=1, budget=96, optim=frozen)
    step = make_train_step(config, SETTINGS)
    state = init_state(jax.random.key(1), jax.tree.map(jnp.copy, start), make_optimizer(config.optim, PACE))
    state, _ = step(state, batches[1], PACE)
    first = np.asarray(state.scene.params.poses)
    np.testing.assert_allclose(np.abs(first[1]), np.repeat([1e-3, 1e-3 * LEVER], 3), rtol=1e-3)
    assert not first[0].any()
    for k in range(4):
        state, _ = step(state, batches[k % 2], PACE)
    for name in ("means", "quats", "log_scales", "logit_opacities"):
        before, after = (getattr(scene.params.gaussians, name) for scene in (start, state.scene))
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(start.params.gaussians.sh, state.scene.params.gaussians.sh)

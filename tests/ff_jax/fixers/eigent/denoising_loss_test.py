"""The loss of the context branch: random inputs, and the terms of the loss."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.eigent import denoising_loss, noise_schedule
from ff_jax.fixers.eigent.context_branch import ContextBranch, branch_params
from ff_jax.fixers.eigent.denoising_loss import Clips, DenoisingLossConfig
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.transformer import Dit
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

SETTINGS = DenoisingLossConfig(eig=0.7, dropout=0.5)
CONFIG = DitConfig(
    depth=2, heads=1, head_dim=16, in_channels=6, out_channels=3, text_dim=8, text_length=2, time_dim=16,
    sample=(2, 4, 4), positions="rope_learned",
)  # fmt: skip
BACKBONE, BRANCH = Dit(CONFIG), ContextBranch(CONFIG, 1)
LEVELS = noise_schedule.noise_levels(SETTINGS.schedule)
COUNT = 24  # so many that some see EIG and some do not


def clips(count, frames=2, side=4, channels=3):
    rng = seeded_rng()
    normal = lambda *shape: jnp.asarray(rng.normal(size=(count, *shape)), jnp.float32)
    latents = lambda: normal(frames, side, side, channels)
    eig = jnp.asarray(rng.random((count, frames, side, side)), jnp.float32).at[:, 0].set(0)
    return Clips(latents(), latents(), eig, latents(), normal(2, 8))


def keys(count):
    return jax.random.split(jax.random.key(seeded_rng().integers(2**32)), count)


draw = jax.jit(lambda keys, clips: denoising_loss.draw_noisy(keys, clips, SETTINGS))


@pytest.fixture(scope="module")
def drawn():
    batch = clips(1000)
    return batch, draw(keys(1000), batch)


@pytest.fixture(scope="module")
def params():
    rng, image = seeded_rng(), clips(1)
    latents = jnp.concatenate([image.clean] * 2, -1)
    shapes = (
        jax.eval_shape(BRANCH.init, jax.random.key(0), *image[:5], jnp.zeros(1)),
        jax.eval_shape(BACKBONE.init, jax.random.key(0), latents, image.text, jnp.zeros(1)),
    )
    fill = lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32)
    return [jax.tree.map(fill, tree["params"]) for tree in shapes]


@pytest.fixture(scope="module")
def gradient():
    return jax.jit(
        jax.value_and_grad(denoising_loss.make_loss(BACKBONE, BRANCH, SETTINGS), argnums=(0, 2), has_aux=True)
    )


def test_noisy_latents_and_v_give_the_clean_ones(drawn):
    batch, out = drawn
    rows = lambda column: np.asarray(column)[out.t].reshape(-1, 1, 1, 1, 1)
    signal, noise = rows(LEVELS.signal), rows(LEVELS.noise)
    np.testing.assert_allclose((signal * out.latents - noise * out.v)[:, 1:], batch.clean[:, 1:], atol=3e-5)
    eps = (noise * out.latents + signal * out.v)[:, 1:]
    assert abs(eps.mean()) < 0.03 and abs(eps.std() - 1) < 0.03
    np.testing.assert_array_equal(out.latents[:, 0], batch.clean[:, 0])


def test_time_steps_are_uniform(drawn):
    t = np.asarray(drawn[1].t)
    assert 0 <= t.min() and t.max() <= 999
    counts = np.histogram(t, 4, (0, 1000))[0]
    assert np.abs(counts - 250).max() < 85  # six standard deviations


def test_half_of_the_samples_do_not_see_eig(drawn):
    batch, out = drawn
    hidden = np.asarray(out.eig == 0).all((1, 2, 3))
    assert 400 < hidden.sum() < 600
    np.testing.assert_array_equal(out.eig[~hidden], batch.eig[~hidden])


def test_renders_get_noise_of_log_normal_deviation(drawn):
    batch, out = drawn
    strength = np.log(np.std(out.render - batch.render, (1, 2, 3, 4)))
    assert abs(strength.mean() + 3) < 0.1 and abs(strength.std() - 0.5) < 0.1


def test_a_sample_does_not_depend_on_its_batch(drawn):
    batch, several = clips(4), keys(4)
    together = draw(several, batch)
    pick = lambda tree: jax.tree.map(lambda leaf: leaf[1:3], tree)
    jax.tree.map(np.testing.assert_array_equal, draw(several[1:3], pick(batch)), pick(together))


@jax.jit
def predict(params, backbone, inputs, joined):
    features = BRANCH.apply({"params": params}, *inputs)
    return BACKBONE.apply({"params": backbone}, joined, *inputs[-2:], features)


def naive(params, backbone, batch, out):
    """Compute the two terms of the loss as the paper defines it, by sample."""
    inputs = (out.latents, out.render, out.eig, batch.reference, batch.text, out.t)
    image = jnp.concatenate([out.latents[:, :1], 0 * out.latents[:, 1:]], 1)
    joined = jnp.concatenate([out.latents, image], -1)
    v = np.asarray(predict(params, backbone, inputs, joined), np.float64)
    abar = noise_schedule.alphas(SETTINGS.schedule)[np.asarray(out.t)].reshape(-1, 1, 1, 1, 1)
    x0 = np.sqrt(abar) * out.latents - np.sqrt(1 - abar) * v
    square = ((x0 - batch.clean) ** 2 / (1 - abar))[:, 1:]
    first = square.mean((1, 2, 3, 4))
    second = (np.asarray(out.eig)[:, 1:, ..., None] * square).mean((1, 2, 3, 4))
    return first, second


def test_the_loss_is_the_published_one(gradient, params):
    batch, several = clips(COUNT), keys(COUNT)
    (loss, metrics), (change, _) = gradient(*params, batch, several)
    out = draw(several, batch)
    first, second = naive(*params, batch, out)
    np.testing.assert_allclose(metrics["error"], first.mean(), rtol=1e-3)
    np.testing.assert_allclose(metrics["eig_error"], second.mean(), rtol=1e-3)
    np.testing.assert_allclose(loss, first.mean() + 0.7 * second.mean(), rtol=1e-3)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(change))


def test_dropped_eig_changes_nothing(gradient, params):
    batch, several = clips(COUNT), keys(COUNT)
    hidden = np.asarray(draw(several, batch).eig == 0).all((1, 2, 3))
    where = jnp.asarray(hidden)[:, None, None, None]
    (loss, _), (_, change) = gradient(*params, batch, several)
    assert np.array_equal(np.abs(change.eig).max((1, 2, 3)) == 0, hidden)
    other = batch._replace(eig=jnp.where(where, batch.eig[:, :, ::-1] / 2, batch.eig))
    assert float(gradient(*params, other, several)[0][0]) == float(loss)


def test_frames_that_fill_no_token_follow_copies_of_the_first():
    config = replace(CONFIG, sample=(4, 4, 4), positions="rope_slice", patch_time=2, offset_dim=16, image_scale=1.7)
    backbone, batch, t = Dit(config), clips(2, frames=3), jnp.array([3, 700])
    padded = [jnp.concatenate([part[:, :1], part], 1) for part in batch[:4]]
    jax.tree.map(np.testing.assert_array_equal, denoising_loss.pad_to_tokens(config, *batch[:4]), padded)
    jax.tree.map(np.testing.assert_array_equal, denoising_loss.pad_to_tokens(config, *padded), padded)
    image = jnp.concatenate([1.7 * batch.clean[:, :1], 0 * batch.clean], 1)
    joined = jnp.concatenate([padded[0], image], -1)
    shapes = jax.eval_shape(backbone.init, jax.random.key(0), joined, batch.text, t)["params"]
    rng = seeded_rng()
    params = jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32), shapes)
    expected = jax.jit(backbone.apply)({"params": params}, joined, batch.text, t)[:, 1:]
    found = jax.jit(partial(denoising_loss.predict_v, backbone))(params, batch.clean, batch.text, t)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    # Both losses take clips of any length.
    branch = ContextBranch(config, 1)
    branch_shapes = jax.eval_shape(lambda tree: branch_params(tree, config, 1), shapes)
    loss = denoising_loss.make_loss(backbone, branch, SETTINGS)
    assert jax.eval_shape(loss, branch_shapes, shapes, batch, keys(2))[0].shape == ()
    assert (
        jax.eval_shape(denoising_loss.make_pretraining_loss(backbone, SETTINGS), shapes, {}, batch, keys(2))[0].shape
        == ()
    )


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="use one for both"):
        other = DitConfig(depth=1, heads=1, head_dim=16, in_channels=6, out_channels=3)
        denoising_loss.make_loss(BACKBONE, ContextBranch(other, 1), SETTINGS)


def test_the_backbone_learns_v_of_clean_clips_after_frame_0(monkeypatch):
    """Replace the network by one that returns its input."""
    calls = []

    def echo(self, variables, latents, text, t, injections):
        assert injections is None
        calls.append((latents, text, t))
        return variables["params"] * latents[..., :3]

    monkeypatch.setattr(Dit, "apply", echo)
    batch, some = clips(3), keys(3)
    value, metrics = denoising_loss.make_pretraining_loss(BACKBONE, SETTINGS)(2.0, {}, batch, some)
    expected = denoising_loss.draw_noisy(some, batch, SETTINGS)
    latents, text, t = calls[0]
    np.testing.assert_array_equal(latents[:, 0, ..., 3:], batch.clean[:, 0])
    assert latents.shape[-1] == 6 and not latents[:, 1:, ..., 3:].any() and metrics == {}
    np.testing.assert_array_equal(t, expected.t)
    np.testing.assert_array_equal(text, batch.text)
    np.testing.assert_allclose(value, jnp.mean((2 * expected.latents - expected.v)[:, 1:] ** 2), rtol=1e-5)

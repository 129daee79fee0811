"""All networks together: initial parameters, the first frame, and the influence of each input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.eig import eig_weight
from ff_jax.fixers import weights
from ff_jax.fixers.eigent import config as configs
from ff_jax.fixers.eigent import detail_decoder, fixer, model
from ff_jax.fixers.fixer import fix
from ff_jax.fixers.pretrained import load_fixer
from ff_jax.fixers.training.state import zero_init_output
from tests.ff_jax.fixers.eigent.small import CONFIG, clips, params
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    return params(seeded_rng())


@pytest.fixture(scope="module")
def clip():
    found = clips(seeded_rng(), 1)
    colors = lambda images: jnp.asarray(images, jnp.float32) / 255
    return colors(found.renders), jnp.asarray(found.eigs, jnp.float32), colors(found.references)


@pytest.fixture(scope="module")
def repair():
    return jax.jit(model.repair, static_argnames="config")


def run(repair, network, clip, config=CONFIG):
    return jax.tree.map(np.asarray, repair(network, jax.random.key(1), *clip, config=config))


def test_an_untrained_model_has_its_shapes_and_identity_blocks():
    found, shapes = model.init(jax.random.key(0), CONFIG), model.shapes(CONFIG)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    kernels = found["backbone"]["blocks"]["block"]
    assert not kernels["norm1"]["linear"]["kernel"].any() and not found["details"]["out_0"]["kernel"].any()
    assert 0.15 < kernels["attn1"]["to_q"]["kernel"].std() * 4 < 1.8 and (found["moments"]["deviation"] == 1).all()


def test_the_size_in_the_package_is_small():
    count = weights.num_params(model.shapes(configs.tiny()))
    assert 5e6 < count < 1e7, count


def test_a_decoder_with_zero_output_changes_nothing(repair, network, clip):
    zeroed = network | {"vae": network["vae"] | {"decoder": zero_init_output(network["vae"]["decoder"])}}
    found = run(repair, zeroed, clip)
    assert found.correction.shape == (1, 9, 16, 16, 3) and found.share.shape == (1, 9, 16, 16, 1)
    assert not found.correction.any() and not found.share.any()


def test_every_input_counts_and_the_first_frame_is_kept(repair, network, clip):
    frames, eig, references = clip
    first = run(repair, network, clip)
    changed = lambda found: np.abs(found.correction - first.correction).max()
    other = run(repair, network, (frames, eig, references[:, ::-1]))
    assert changed(other) > 1e-4
    assert changed(run(repair, network, (frames, eig[:, ::-1], references))) > 1e-4
    assert changed(run(repair, network, (frames[:, ::-1], eig, references))) > 1e-3
    config = dataclasses.replace(CONFIG, conditioned_on_eig=False)
    one, two = run(repair, network, clip, config), run(repair, network, (frames, 2 * eig, references), config)
    np.testing.assert_array_equal(one.correction, two.correction)
    latents = jnp.asarray(seeded_rng().normal(size=(2, 1, 3, 4, 4, 3)), jnp.float32)
    generate = jax.jit(
        lambda key: model.generate(network, key, latents[0], jnp.zeros((1, 3, 4, 4)), latents[1], CONFIG)
    )
    found = generate(jax.random.key(2))
    np.testing.assert_array_equal(found[:, 0], latents[0][:, 0])
    assert np.abs(found - generate(jax.random.key(3)))[:, 1:].max() > 1e-3
    no_steps = model.generate(
        network,
        jax.random.key(2),
        latents[0],
        jnp.zeros((1, 3, 4, 4)),
        latents[1],
        dataclasses.replace(CONFIG, steps=0),
    )
    np.testing.assert_array_equal(no_steps, latents[0])


def test_clips_are_generated_whose_frames_fill_no_whole_tokens():
    dit = dataclasses.replace(CONFIG.dit, sample=(4, 4, 4), positions="rope_slice", patch_time=2, offset_dim=8)
    config = dataclasses.replace(CONFIG, dit=dit)
    network = params(seeded_rng(), config)
    latents = jnp.asarray(seeded_rng().normal(size=(2, 1, 3, 4, 4, 3)), jnp.float32)
    generate = jax.jit(lambda *inputs: model.generate(network, jax.random.key(2), *inputs, config))
    eig = jnp.zeros((1, 3, 4, 4))
    found = generate(latents[0], eig, latents[1])
    assert found.shape == latents[0].shape
    np.testing.assert_array_equal(found[:, 0], latents[0][:, 0])
    changed = lambda *inputs: np.abs(generate(*inputs) - found)[:, 1:].max()
    assert changed(latents[0], eig + 0.5, latents[1]) > 1e-4
    assert changed(latents[0].at[:, 0].add(1.0), eig, latents[1]) > 1e-4


def test_latents_are_normalized_by_the_moments(network, clip):
    plain = network | {"moments": {"mean": jnp.zeros(3), "deviation": jnp.ones(3)}}
    other = network | {"moments": {"mean": jnp.array([1.0, 0, -1]), "deviation": jnp.array([2.0, 1, 0.5])}}
    a, b = (np.asarray(model.encode(p, clip[0], CONFIG)) for p in (plain, other))
    np.testing.assert_allclose(b, (a - [1, 0, -1]) / [2, 1, 0.5], atol=1e-5)


def test_details_are_features_of_the_difference_and_of_eig():
    frames, references = jnp.asarray(seeded_rng().random((2, 1, 2, 3, 4, 3)), jnp.float32)
    eig = seeded_rng().exponential(size=(1, 2, 3, 4)).astype(np.float32)
    found = np.asarray(detail_decoder.features(frames, jnp.asarray(eig), references))
    assert found.shape[-1] == detail_decoder.CHANNELS
    np.testing.assert_allclose(found[..., 6:9], np.abs(found[..., 3:6]), atol=1e-6)
    np.testing.assert_allclose(found[..., 3:6] + frames, references, atol=1e-6)
    np.testing.assert_allclose(found[..., 10], 1 - np.exp(-eig / 0.5), atol=1e-5)
    change = detail_decoder.Change(jnp.full((1, 2, 3, 4, 3), 0.25), jnp.ones((1, 2, 3, 4, 1)))
    np.testing.assert_allclose(detail_decoder.apply(change, frames, references), references + 0.25, atol=1e-6)


@pytest.fixture(scope="module")
def trained(network):
    return fixer.fixer_from_params(network, CONFIG)


def long_clip(length, height, width):
    rng = seeded_rng()
    frames, references = rng.random((2, length, height, width, 3), np.float32)
    eig = rng.exponential(0.1, (length, height, width)).astype(np.float32)
    eig[:, :, : width // 2] = 0
    return frames, eig, references


def test_clips_of_any_length_and_size_keep_pixels_without_eig(trained):
    frames, eig, references = long_clip(12, 21, 34)
    found = np.asarray(fix(trained, jax.random.key(0), frames, eig, references))
    assert found.shape == frames.shape and np.isfinite(found).all()
    np.testing.assert_array_equal(found[:, :, :17], frames[:, :, :17])
    assert np.abs(found - frames)[:, :, 17:].mean() > 1e-3


def test_larger_frames_keep_their_detail(monkeypatch):
    def shift(params, key, frames, eig, references, config):
        assert frames.shape == (1, 9, 16, 16, 3) and config.size == (16, 16)
        return detail_decoder.Change(jnp.full(frames.shape, 0.125), jnp.zeros((*frames.shape[:-1], 1)))

    monkeypatch.setattr(fixer.model, "repair", shift)
    frames, eig, references = long_clip(9, 20, 30)
    frames = 0.1 + 0.7 * frames
    for share in (0.0, 0.5, 1.0):
        config = dataclasses.replace(CONFIG, blend=share)
        found = fixer.apply(config, {}, jax.random.key(0), *map(jnp.asarray, (frames, eig, references)))
        weight = share * np.asarray(eig_weight(jnp.asarray(eig), CONFIG.kappa))[..., None]
        np.testing.assert_allclose(found, frames + weight * 0.125, atol=1e-5)


def test_settings_that_cannot_work_are_refused():
    changed = lambda **changes: dataclasses.replace(CONFIG, **changes)
    learned = dataclasses.replace(CONFIG.dit, positions="rope_learned")
    for changes, message in (
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"blend": 1.5}, "blend=1.5"),
        ({"frames": 17}, "frames=17 must be 1 \\+ 8k, and 9 for"),
        ({"has_detail_decoder": False}, "out_channels=4 must be 4 with"),
        ({"dit": learned, "size": (8, 16)}, r"size=\(8, 16\) must be \(16, 16\)"),
        ({"dit": dataclasses.replace(CONFIG.dit, out_channels=5)}, "must predict the 3 channels"),
    ):
        with pytest.raises(ValueError, match=message):
            changed(**changes)
    assert configs.published().frames == 49 and configs.published().stride == 16


def test_a_file_round_trips(network, tmp_path):
    weights.save(tmp_path / "a.safetensors", network)
    found = load_fixer("eigent", tmp_path / "a.safetensors", CONFIG)
    assert found.name == "eigent" and found.use_aligned_references
    assert (found.chunk, found.overlap, found.num_context_frames) == (9, 1, 2)
    expected = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16).astype(np.float32), network)
    jax.tree.map(np.testing.assert_array_equal, found.params, expected)
    with pytest.raises(ValueError, match=r"fixer eigent .*the file has the weights of another network"):
        load_fixer("eigent", tmp_path / "a.safetensors", configs.tiny())

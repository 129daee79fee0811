"""The network as a fixer: frames of any size, tiles, and the blend with the render."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.eig import eig_weight
from ff_jax.fixers import registry
from ff_jax.fixers.difix import fixer
from ff_jax.fixers.fixer import fix
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = torch_difix.CONFIG
TRAINED = {"network": {}, "gain": jnp.ones(())}


def draw(frames=3, height=13, width=22):
    rng = seeded_rng()
    renders, references = rng.random((2, frames, height, width, 3), np.float32)
    return renders, rng.exponential(0.1, (frames, height, width)).astype(np.float32), references


@pytest.fixture
def input_shapes(monkeypatch):
    """Replace the network by a mixture of its inputs; return the shapes of its inputs."""
    shapes = []

    def repair(params, frames, eig, references, config):
        assert frames.shape == references.shape and eig.shape == frames.shape[:3]
        shapes.append(frames.shape)
        return 1.4 * references - 0.2 * frames + 0.1 * eig[..., None]

    monkeypatch.setattr(fixer.model, "repair", repair)
    return shapes


def mixture(renders, eig, references):
    """Compute the expected repair of frames that need no scaling."""
    fixed = np.clip(1.4 * references - 0.2 * renders + 0.1 * eig[..., None], 0, 1)
    return renders + np.asarray(eig_weight(jnp.asarray(eig), CONFIG.kappa))[..., None] * (fixed - renders)


def run(config, params, clip):
    return fixer.apply(config, params, None, *map(jnp.asarray, clip))


def test_frames_that_fit_are_padded_and_cut_again(input_shapes):
    clip = draw()
    np.testing.assert_allclose(run(CONFIG, TRAINED, clip), mixture(*clip), atol=1e-5)
    assert set(input_shapes) == {(3, 16, 24, 3)}


def test_large_frames_are_scaled_with_their_aspect(input_shapes):
    y, x = np.mgrid[:100, :160] / 160.0
    smooth = np.stack([x, y, 0.5 * (x + y)], -1)[None].astype(np.float32)
    eig = np.full((1, 100, 160), 5.0, np.float32)
    found = run(CONFIG, TRAINED, (smooth, eig, 0.3 + 0.2 * smooth))
    assert set(input_shapes) == {(1, 40, 64, 3)}
    # Compared away from the edges, where scaling extends colors: it preserves linear colors.
    expected = mixture(smooth, eig, 0.3 + 0.2 * smooth)
    np.testing.assert_allclose(found[:, 5:-5, 5:-5], expected[:, 5:-5, 5:-5], atol=5e-3)


def test_large_images_are_processed_in_tiles(input_shapes):
    config = dataclasses.replace(CONFIG, tile=(12, 16), overlap=4)
    clip = draw(height=30, width=40)
    np.testing.assert_allclose(run(config, TRAINED, clip), mixture(*clip), atol=1e-5)
    assert set(input_shapes) == {(3, 12, 16, 3)}


def test_without_eig_the_map_changes_nothing_and_every_pixel_is_repaired(input_shapes):
    renders, eig, references = draw()
    unconditioned = registry.without_eig(fixer.fixer_from_params(TRAINED, CONFIG))
    expected = np.clip(1.4 * references - 0.2 * renders, 0, 1)
    for other in (eig + 0.01, eig[::-1] + 3.0):
        found = run(unconditioned.config, TRAINED, (renders, other, references))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pixels_without_eig_keep_the_render_bit_for_bit(input_shapes):
    renders, eig, references = draw(height=70, width=90)  # scaled
    eig[:, :30] = 0.0
    eig[:, 30] = -1e-8
    found = run(CONFIG, TRAINED, (renders, eig, references))
    np.testing.assert_array_equal(found[:, :31], renders[:, :31])
    assert np.abs(found[:, 35:] - renders[:, 35:]).max() > 0.1


def test_the_protocol_takes_it_in_chunks(input_shapes):
    # A config of its own: the compiled mixture must not be used by other tests.
    trained = fixer.fixer_from_params(TRAINED, dataclasses.replace(CONFIG, chunk=2, kappa=0.123))
    renders, eig, references = draw(frames=5)
    fixed = np.clip(1.4 * references - 0.2 * renders + 0.1 * eig[..., None], 0, 1)
    expected = renders - np.expm1(-eig / 0.123)[..., None] * (fixed - renders)
    for key in map(jax.random.key, (1, 2)):
        np.testing.assert_allclose(fix(trained, key, renders, eig, references), expected, atol=1e-5)
    assert set(input_shapes) == {(2, 16, 24, 3)}


def test_an_untrained_network_leaves_frames_as_they_are_and_gain_opens_it(monkeypatch):
    monkeypatch.setattr(fixer.model, "repair", torch_difix.repair)
    clip = draw(frames=2, height=11, width=14)
    renders = clip[0]
    params = fixer.init_params(jax.random.key(0), CONFIG)
    np.testing.assert_array_equal(run(CONFIG, params, clip), renders)
    found = run(CONFIG, params | {"gain": jnp.ones(())}, clip)
    assert found.shape == renders.shape and found.min() >= 0 and found.max() <= 1
    assert np.abs(found - renders).max() > 0.05

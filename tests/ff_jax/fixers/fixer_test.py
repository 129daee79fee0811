"""The clip machinery shared by all fixers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.fixer import Fixer, check_clip, fix, with_context_frames

KEY = jax.random.key(3)


def clip(length, height=5, width=7, seed=0):
    rng = np.random.default_rng(seed)
    frames, references = rng.random((2, length, height, width, 3), np.float32)
    return frames, rng.exponential(size=(length, height, width)).astype(np.float32), references


def mix(config, params, key, frames, eig, references):
    mix.traced += 1
    return frames + params["gain"] * eig[..., None] * (references - frames)


def noise(config, params, key, frames, eig, references):
    return frames + jax.random.normal(key, frames.shape)


@pytest.mark.parametrize("length", [1, 3, 4, 9])
def test_pieces_give_what_the_whole_clip_gives(length):
    frames, eig, references = clip(length)
    mix.traced = 0
    fixer = Fixer(params={"gain": jnp.float32(0.3)}, name="mix", apply=mix, chunk=4)
    got = fix(fixer, KEY, frames, eig, references)
    np.testing.assert_allclose(got, frames + 0.3 * eig[..., None] * (references - frames), rtol=1e-5, atol=1e-6)


def test_one_trace_serves_every_length_and_other_parameters():
    mix.traced = 0
    for gain, length in ((0.1, 2), (0.2, 5), (0.3, 11)):
        fixer = Fixer(params={"gain": jnp.float32(gain)}, name="mix once", apply=mix, chunk=2)
        assert fix(fixer, KEY, *clip(length)).shape == (length, 5, 7, 3)
    assert mix.traced == 1


def test_no_chunk_means_the_whole_clip_at_once():
    def length_of(config, params, key, frames, eig, references):
        return frames * 0 + frames.shape[0]

    fixer = Fixer(params={}, name="length", apply=length_of)
    assert float(fix(fixer, KEY, *clip(6))[0, 0, 0, 0]) == 6


def test_randomness_comes_from_the_key_and_differs_between_pieces():
    fixer = Fixer(params={}, name="noise", apply=noise, chunk=1)
    frames, eig, references = clip(2)
    first = fix(fixer, KEY, frames, eig, references)
    np.testing.assert_array_equal(first, fix(fixer, KEY, frames, eig, references))
    assert not np.allclose(first, fix(fixer, jax.random.key(4), frames, eig, references))
    assert not np.allclose(first[0] - frames[0], first[1] - frames[1], atol=1e-3)


def count_on(config, params, key, frames, eig, references):
    """Add its EIG to the first frame, then 1 more for every further frame."""
    return frames[:1] + eig[:1, ..., None] + jnp.arange(len(frames), dtype=float)[:, None, None, None]


@pytest.mark.parametrize("length", [1, 3, 4, 7, 8, 11])
def test_pieces_continue_from_the_last_frames_of_the_piece_before(length):
    frames, eig, references = clip(length)
    fixer = Fixer(params={}, name="count on", apply=count_on, chunk=4, overlap=1)
    found = fix(fixer, KEY, frames, eig, references)
    expected = (frames[0] + eig[0, ..., None])[None] + np.arange(length)[:, None, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_context_frames_replace_renders_and_references_and_have_no_eig():
    frames, eig, references = clip(3)
    images = clip(2)[0] + 1
    found = with_context_frames(frames, eig, references, images)
    np.testing.assert_array_equal(found[0], np.concatenate([images, frames[2:]]))
    np.testing.assert_array_equal(found[1], np.concatenate([0 * eig[:2], eig[2:]]))
    np.testing.assert_array_equal(found[2], np.concatenate([images, references[2:]]))


def test_gradients_reach_parameters_and_frames():
    frames, eig, references = map(jnp.asarray, clip(3))
    mix.traced = 0
    fixer = Fixer(params={"gain": jnp.float32(0.3)}, name="mix", apply=mix, chunk=2)

    def total(fixer, frames):
        return fix(fixer, KEY, frames, eig, references).sum()

    to_fixer, to_frames = jax.grad(total, (0, 1))(fixer, frames)
    change = eig[..., None] * (references - frames)
    np.testing.assert_allclose(to_fixer.params["gain"], change.sum(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(to_frames, jnp.broadcast_to(1 - 0.3 * eig[..., None], frames.shape), rtol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f, e, r: (f[:0], e[:0], r[:0]), "non-empty"),
        (lambda f, e, r: (f[..., :2], e, r), "non-empty"),
        (lambda f, e, r: (f, e[:, :-1], r), "one EIG map"),
        (lambda f, e, r: (f, e, r[:-1]), "resize the real images"),
    ],
)
def test_clips_that_do_not_belong_together_are_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        check_clip(*spoil(*clip(3)))


def test_separate_references_have_one_image_with_confidence_per_source():
    frames, eig, _ = clip(3)
    check_clip(frames, eig, np.zeros((3, 2, 5, 7, 4), np.uint8), are_separate=True)
    for shape in ((3, 5, 7, 3), (3, 2, 5, 7, 3), (2, 2, 5, 7, 4)):
        with pytest.raises(ValueError, match=r"\(3, K, 5, 7, 4\)"):
            check_clip(frames, eig, np.zeros(shape, np.uint8), are_separate=True)


def paste(config, params, key, frames, eig, references, blend_eig=None):
    """Add the guidance to the references, and blend them in by the other map."""
    weight = (eig if blend_eig is None else blend_eig)[..., None]
    return frames + weight * (references + eig[..., None] - frames)


@pytest.mark.parametrize("length", [2, 3, 7])
def test_another_map_may_blend_the_repair(length):
    frames, eig, references = clip(length)
    blend = clip(length, seed=1)[1] / 9
    fixer = Fixer(params={}, name="paste", apply=paste, chunk=3)
    expected = frames + blend[..., None] * (references + eig[..., None] - frames)
    fixed = fix(fixer, KEY, frames, eig, references, blend_eig=blend)
    np.testing.assert_allclose(fixed, expected, rtol=1e-5, atol=1e-6)
    same = fix(fixer, KEY, frames, eig, references, blend_eig=eig)
    np.testing.assert_allclose(same, fix(fixer, KEY, frames, eig, references), atol=1e-6)
    # The last frame of the piece before is given: no map changes it.
    video = fixer.replace(overlap=1)
    fixed = np.asarray(fix(video, KEY, frames, eig, references, blend_eig=blend * 0))
    np.testing.assert_allclose(fixed, frames, atol=1e-6)


def test_a_fixer_that_blends_by_one_map_is_named():
    frames, eig, references = clip(2)
    fixer = Fixer(params={}, name="mix", apply=mix)
    with pytest.raises(ValueError, match="fixer 'mix' takes no blend_eig: use one signal for guidance and blending"):
        fix(fixer, KEY, frames, eig, references, blend_eig=eig)

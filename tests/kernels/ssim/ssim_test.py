"""The SSIM kernel against scikit-image, its own specification and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from kernels import ssim
from kernels.ssim.reference import window_taps
from kernels.ssim.specs import TEST_SHAPES
from kernels.ssim.xla import blur_banded, blur_shifted
from tests.random_inputs import seeded_rng


def pair(shape, rng=None):
    """Make two similar images, like a render and its target."""
    rng = rng or seeded_rng()
    a = rng.random(shape, np.float32)
    return jnp.asarray(a), jnp.asarray(np.clip(a + 0.2 * rng.normal(size=shape), 0, 1).astype(np.float32))


def test_gaussian_window_equals_scikit_image_in_the_interior():
    a, b = pair((40, 52, 3))
    _, expected = structural_similarity(
        np.asarray(a, np.float64),
        np.asarray(b, np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=-1,
        full=True,
    )
    np.testing.assert_allclose(ssim(a, b)[5:-5, 5:-5], expected.mean(-1)[5:-5, 5:-5], atol=2e-5)


def test_uniform_window_equals_scikit_image_in_the_interior():
    a, b = pair((30, 33, 2))
    _, expected = structural_similarity(
        np.asarray(a, np.float64),
        np.asarray(b, np.float64),
        win_size=7,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=-1,
        full=True,
    )
    np.testing.assert_allclose(ssim(a, b, window="uniform7")[3:-3, 3:-3], expected.mean(-1)[3:-3, 3:-3], atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("window", ["gaussian11", "uniform7"])
@pytest.mark.parametrize("shape", TEST_SHAPES)
def test_fast_form_equals_the_specification(shape, window):
    a, b = pair(shape)
    weight = jnp.asarray(seeded_rng().normal(size=shape[:2]), jnp.float32)

    def loss(a, b, implementation):
        return (weight * ssim(a, b, window=window, implementation=implementation)).sum()

    expected, expected_grad = jax.value_and_grad(loss, (0, 1))(a, b, "reference")
    value, grad = jax.value_and_grad(loss, (0, 1))(a, b, "xla")
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-3)
    for got, want in zip(grad, expected_grad, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * float(abs(want).max()))


@pytest.mark.parametrize("blur", [blur_banded, blur_shifted])
def test_both_blurs_sum_the_window_with_zeros_outside(blur):
    taps = window_taps("gaussian11")
    image = seeded_rng().random((2, 9, 270)).astype(np.float32)
    expected = np.apply_along_axis(np.convolve, 2, image, taps, "same")
    expected = np.stack([np.convolve(c, taps)[5:-5] for c in expected.transpose(0, 2, 1).reshape(-1, 9)])
    expected = expected.reshape(2, 270, 9).transpose(0, 2, 1)
    np.testing.assert_allclose(blur(jnp.asarray(image), taps), expected, atol=1e-6)


@pytest.mark.slow
def test_forward_mode_agrees_with_reverse_mode_and_finite_differences():
    rng = seeded_rng()
    a, b = pair((13, 12, 3), rng)
    tangent = jnp.asarray(rng.normal(size=a.shape), jnp.float32)

    def mean(x):
        return ssim(x, b).mean()

    _, forward = jax.jvp(mean, (a,), (tangent,))
    reverse = (jax.grad(mean)(a) * tangent).sum()
    with jax.enable_x64():
        wide = [np.asarray(x, np.float64) for x in (a, b, tangent)]
        ahead, behind = (ssim(jnp.asarray(wide[0] + s * wide[2]), jnp.asarray(wide[1])).mean() for s in (1e-5, -1e-5))
        numeric = (ahead - behind) / 2e-5
    np.testing.assert_allclose(forward, reverse, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(forward, numeric, rtol=2e-3, atol=1e-5)


def test_map_is_one_for_equal_images_and_works_under_vmap_and_jit():
    a, b = pair((12, 14, 3))
    np.testing.assert_allclose(ssim(a, a), 1.0, atol=1e-4)
    batch = jax.jit(jax.vmap(ssim))(jnp.stack([a, a]), jnp.stack([a, b]))
    np.testing.assert_allclose(batch[1], ssim(a, b), atol=1e-5)
    np.testing.assert_allclose(batch[1], ssim(b, a), atol=1e-5)


def test_wrong_arguments_are_named():
    a, _ = pair((8, 8, 3))
    with pytest.raises(ValueError, match=r"\(8, 8, 3\) and \(8, 7, 3\)"):
        ssim(a, a[:, :7])
    with pytest.raises(ValueError, match="box3"):
        ssim(a, a, window="box3")

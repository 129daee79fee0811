import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.render.gaussians import Gaussians
from ff_jax.train import losses
from tests.random_inputs import seeded_rng
from tests.scenes import normal, random_gaussians


def images(rng, height=24, width=31):
    return [jnp.asarray(rng.uniform(size=(height, width, 3)), jnp.float32) for _ in range(2)]


def test_photometric_against_numpy_and_zero_weight():
    rng = seeded_rng()
    a, b = images(rng)
    weight = jnp.asarray(rng.uniform(size=a.shape[:2]), jnp.float32)
    expected = np.mean(np.asarray(weight) * np.abs(np.asarray(a - b)).mean(-1))
    np.testing.assert_allclose(losses.photometric(a, b, weight, 0.0), expected, rtol=1e-5)
    assert float(losses.photometric(a, b, jnp.zeros_like(weight), 0.2)) == 0
    assert abs(float(losses.photometric(a, a, weight, 0.2))) < 1e-6


def test_depth_is_relative_and_ignores_pixels_without_returns():
    lidar = jnp.array([[10.0, 0.0], [20.0, 0.0]])
    alpha = jnp.array([[0.5, 0.9], [1.0, 0.0]])
    depth = jnp.array([[5.5, 77.0], [18.0, 3.0]])  # 11 and 18 meters
    np.testing.assert_allclose(losses.depth_l1(depth, alpha, lidar), 0.1, rtol=1e-5)
    gradient = jax.grad(lambda d: losses.depth_l1(d, alpha, lidar))(depth)
    assert bool((gradient[:, 1] == 0).all()) and bool((gradient[:, 0] != 0).all())
    assert float(losses.depth_l1(depth, alpha, jnp.zeros((2, 2)))) == 0


def test_the_sky_loss_lowers_opacity_in_the_sky_and_raises_it_elsewhere():
    sky = jnp.array([[True, False]])
    gradient = jax.grad(lambda a: losses.sky_opacity(a, sky))(jnp.full((1, 2), 0.5))
    assert gradient[0, 0] > 0 > gradient[0, 1]


def test_regularizers_ignore_dead_slots():
    rng = seeded_rng()
    g = random_gaussians(rng, 6).replace(log_scales=normal(rng, 6, 3), logit_opacities=normal(rng, 6))
    alive = jnp.arange(6) < 3
    config = losses.LossConfig(opacity=0.5, scale=0.25)
    opacity = 1 / (1 + np.exp(-np.asarray(g.logit_opacities[:3])))
    expected = 0.5 * opacity.mean() + 0.25 * np.exp(np.asarray(g.log_scales[:3])).mean()
    np.testing.assert_allclose(losses.regularizers(g, alive, config), expected, rtol=1e-5)
    gradient = jax.grad(lambda g: losses.regularizers(g, alive, config))(g)
    assert float(jnp.abs(gradient.log_scales[3:]).max()) == 0


def test_the_region_loss_is_that_of_its_region():
    rng = seeded_rng()
    image, target = (jnp.asarray(rng.uniform(size=(6, 8, 3)), jnp.float32) for _ in range(2))
    region = jnp.zeros((6, 8)).at[2:4, 3:6].set(1.0)
    expected = np.abs(np.asarray(image - target))[2:4, 3:6].mean()
    np.testing.assert_allclose(losses.region_l1(image, target, region), expected, rtol=1e-5)
    assert float(losses.region_l1(image, target, 0 * region)) == 0


def test_entropy_is_zero_for_open_and_covered_pixels():
    even = float(losses.opacity_entropy(jnp.full((4, 4), 0.5)))
    np.testing.assert_allclose(even, 0.5 * np.log(2), rtol=1e-5)
    assert abs(float(losses.opacity_entropy(jnp.round(jnp.linspace(0, 1, 16)).reshape(4, 4)))) < 1e-5


def test_only_needles_beyond_the_limit_are_penalized():
    scales = jnp.log(jnp.array([[1.0, 1, 1], [10.0, 1, 2], [30.0, 1, 1], [99.0, 1, 1]]))
    needles = Gaussians(jnp.zeros((4, 3)), jnp.ones((4, 4)), scales, jnp.zeros(4), jnp.zeros((4, 1, 3)))
    alive = jnp.array([True, True, True, False])
    np.testing.assert_allclose(losses.anisotropy(needles, alive), 20 / 3, rtol=1e-4)


def test_the_coarse_loss_is_that_of_squares_and_has_a_gradient_at_large_distances():
    rng = seeded_rng()
    image, target = (jnp.asarray(rng.uniform(size=(37, 50, 3)), jnp.float32) for _ in range(2))
    weight = jnp.asarray(rng.uniform(size=(37, 50)), jnp.float32)
    difference, expected = np.asarray(weight[..., None] * (image - target)), 0.0
    for side in (8, 16):
        rows, columns = 37 // side, 50 // side
        means = [
            difference[y * side : (y + 1) * side, x * side : (x + 1) * side].mean((0, 1))
            for y in range(rows)
            for x in range(columns)
        ]
        expected += np.abs(means).mean()
    np.testing.assert_allclose(losses.coarse_l1(image, target, weight), expected, rtol=1e-4)

    # Two thin bars at a distance of 7 pixels do not overlap: the gradient of the plain difference is nearly 0.
    def bar(position):
        return jnp.exp(-((jnp.arange(48.0) - position) ** 2))[None, :, None] * jnp.ones((16, 1, 3))

    def gradient(loss):
        return float(jax.grad(lambda position: loss(bar(position), bar(22.3), jnp.ones((16, 48))))(15.3))

    plain = gradient(lambda a, b, w: jnp.abs(a - b).mean())
    assert gradient(losses.coarse_l1) < -1e-4 and gradient(losses.coarse_l1) < -20 * abs(plain)

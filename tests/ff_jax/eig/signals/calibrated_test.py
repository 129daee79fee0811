"""Calibrated EIG against dense linear algebra in float64, and what residuals teach it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig.background import look_up
from ff_jax.eig.residual_noise import information_weight
from ff_jax.eig.scene_posterior import ScenePosterior, fit_posterior
from ff_jax.eig.signals import calibrated
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import SceneModel, render_scene
from ff_jax.train.batches import TrainBatches
from tests.ff_jax.eig.problems import dense_covariance_of_pixels, exact_eig, jacobian64, to_float64
from tests.random_inputs import seeded_rng
from tests.scenes import make_batch, make_view, pinhole, scene_from_points

pytestmark = pytest.mark.slow

W, H, N = 24, 16, 40
PRIORS = eig.Priors()


class FewBatches(TrainBatches):
    """Recorded views of one camera, in memory."""

    def __init__(self, stored):
        self.stored = stored
        self.recording = SimpleNamespace(frames=[SimpleNamespace(camera="front")] * len(stored))

    def __len__(self):
        return len(self.stored)

    def batch(self, index):
        return self.stored[index]


@pytest.fixture(scope="module")
def model():
    rng = seeded_rng()
    xyz = rng.uniform((-2, -1.3, 3), (2, 1.3, 5), (N, 3))
    scene = scene_from_points(xyz, rng.uniform(0.3, 0.7, (N, 3)), 0.4, capacity=N, sh_degree=0)
    return SceneModel(scene, RenderSettings(capacity=2048, tile=8, implementation="xla"), jnp.int32(0))


def recorded(model, residual_of):
    """Record views whose images are the render plus a residual."""
    views = [make_view(pinhole(W, H, 20.0, x=x)) for x in (-0.4, -0.2, 0.0, 0.2)]
    images = [render_scene(model, view).rgb + jnp.asarray(residual_of(i), jnp.float32) for i, view in enumerate(views)]
    return FewBatches([make_batch(image, view) for image, view in zip(images, views, strict=True)])


def calibration_of(model, residual_of) -> tuple[calibrated.Calibration, ScenePosterior]:
    batches = recorded(model, residual_of)
    posterior = fit_posterior(model, batches, PRIORS)
    return calibrated.calibrate(model, batches, PRIORS, posterior), posterior


def test_independent_residuals_count_once_and_equal_ones_several_times(model):
    rng = seeded_rng()
    white, _ = calibration_of(model, lambda i: rng.normal(0, 0.05, (H, W, 3)))
    assert 1 <= white.correlated.geometry < 1.4 and 1 <= white.correlated.color < 1.4
    # Squares of 4 x 4 pixels have one residual: up to 16, with the spread of 24 squares per view.
    coarse = [np.kron(rng.normal(0, 0.05, (H // 4, W // 4, 3)), np.ones((4, 4, 1))) for _ in range(4)]
    equal, posterior = calibration_of(model, lambda i: coarse[i])
    assert 8 < equal.correlated.color < 32 and 4 < equal.correlated.geometry < 32
    # The variance 1 / (prior + information) grows, at most by this number.
    growth = to_float64(equal.posterior.color / posterior.posterior.color) ** 2
    assert 1 <= growth.min() + 1e-5 and 1.5 < growth.max() <= float(equal.correlated.color) * (1 + 1e-3)
    np.testing.assert_array_equal(equal.posterior.background, posterior.posterior.background)


def test_the_energy_of_a_score_equals_dense_products(model):
    rng = seeded_rng()
    (batch, *_), noise = recorded(model, lambda i: rng.normal(0, 0.1, (H, W, 3))).stored, 0.05
    posterior = eig.posterior(eig.init_precision(model.scene.params.gaussians), PRIORS, model.scene.params.gaussians)
    found = calibrated.score_energies(model, batch, posterior, jnp.float32(noise), jnp.float32(2), jax.random.key(0))
    out = render_scene(model, batch.view)
    residual = batch.image - out.rgb
    weight = information_weight(residual, batch.weight, noise, 2.0)
    u = to_float64(weight[..., None] * residual).reshape(-1, 3) / noise**2
    J = jacobian64(model.render_input(batch.view), out.sky)
    geometry = np.einsum("pcni,pc,nij->nj", J.geometry, u, to_float64(posterior.geometry))
    color = np.einsum("pcnkd,pc,nkj->njd", J.sh, u, to_float64(posterior.color))
    np.testing.assert_allclose(found[0], [np.sum(geometry**2), np.sum(color**2)], rtol=2e-3)


def test_the_map_and_the_deviation_equal_those_of_the_dense_covariance(model):
    rng = seeded_rng()
    calibration, _ = calibration_of(model, lambda i: rng.normal(0, 0.03 * (i + 1), (H, W, 3)))
    view = make_view(pinhole(W, H, 20.0, x=0.7))
    J = jacobian64(model.render_input(view), render_scene(model, view).sky)
    F = [to_float64(part) for part in (calibration.posterior.geometry, calibration.posterior.color)]
    covariances = [np.einsum("nij,nkj->nik", part, part) for part in F]
    sky = to_float64(look_up(calibration.posterior.background, view.camera)).reshape(-1)
    noise = float(calibration.noise)
    covariance = dense_covariance_of_pixels(J, covariances, 0.0, 1.0)
    covariance += np.einsum("pce,pde,p->pcd", J.background, J.background, sky**2)
    unexplained = to_float64(calibrated.predicted_residual(model, calibration.variance, view)).reshape(-1)
    covariance += unexplained[:, None, None] * np.eye(3)
    found = calibrated.calibrated_eig(model, calibration, view)
    np.testing.assert_allclose(np.ravel(found), exact_eig(covariance / noise**2), rtol=2e-3, atol=1e-4)
    deviation = np.ravel(calibrated.deviation(model, calibration, view))
    np.testing.assert_allclose(deviation**2, np.trace(covariance, axis1=1, axis2=2) / 3, rtol=2e-3)


def test_errors_that_no_parameter_explains_stay_where_they_were(model):
    """The left half of all images is wrong by 0.2, the right half by 0.02."""
    halves = np.where(np.arange(W) < W // 2, 0.2, 0.02)[None, :, None] * np.ones((H, 1, 3))
    rng = seeded_rng()
    calibration, _ = calibration_of(model, lambda i: halves * rng.choice([-1, 1], (H, W, 1)))
    unexplained = to_float64(calibrated.predicted_residual(model, calibration.variance, make_view(pinhole(W, H, 20.0))))
    assert np.sqrt(np.median(unexplained[:, : W // 4])) == pytest.approx(0.2, rel=0.15)
    assert np.sqrt(np.median(unexplained[:, -W // 4 :])) < 0.1

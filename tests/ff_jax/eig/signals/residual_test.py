"""The regression of residuals, against a dense solution in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ff_jax.eig.signals import residual
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import SceneModel
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches
from tests.random_inputs import seeded_rng
from tests.scenes import make_batch, make_view, pinhole, scene_from_points

pytestmark = pytest.mark.slow


class FewBatches(TrainBatches):
    """Batches in memory."""

    def __init__(self, stored):
        self.stored = stored

    def __len__(self):
        return len(self.stored)

    def batch(self, index):
        return self.stored[index]


@pytest.fixture
def recorded():
    """Return a scene of 6 Gaussians, and two recorded views whose images are noise."""
    rng = seeded_rng()
    xyz = rng.uniform((-1, -0.6, 3), (1, 0.6, 5), (6, 3))
    scene = scene_from_points(xyz, rng.random((6, 3)), 0.4, capacity=6)
    model = SceneModel(scene, RenderSettings(capacity=256, tile=8, implementation="xla"), jnp.int32(1))
    views = [make_view(pinhole(16, 12, 14.0, x=x)) for x in (-0.2, 0.3)]
    images = rng.random((2, 12, 16, 3)).astype(np.float32)
    batches = FewBatches([make_batch(jnp.asarray(i), view) for i, view in zip(images, views, strict=True)])
    return model, batches


def test_coefficients_solve_the_regularized_least_squares_problem(recorded):
    model, batches = recorded
    found = residual.regress(model, batches)
    zero = jax.tree.map(jnp.zeros_like, found)
    flat, unflatten = ravel_pytree(zero)
    rows, errors = [], []
    for batch in batches.stored:
        predict = lambda x, view=batch.view: residual.predicted_residual(model, unflatten(x), view).reshape(-1)
        columns = jax.jit(lambda basis, predict=predict: jax.lax.map(predict, basis))(jnp.eye(flat.size))
        rows.append(np.asarray(columns, np.float64).T)  # linear: the columns are the images of unit vectors
        render = jnp.clip(residual.render_scene(model, batch.view).rgb, 0, 1)
        errors.append(np.asarray(residual.pixel_error(as_float(batch.image), render), np.float64).reshape(-1))
    A, e = np.concatenate(rows), np.concatenate(errors)
    mean, variance = e.mean(), e.var()
    prior_mean = unflatten(jnp.ones(flat.size)).replace(gaussians=jnp.zeros((6, 4)).at[:, 0].set(np.sqrt(4 * np.pi)))
    center = mean * np.asarray(ravel_pytree(prior_mean)[0], np.float64)
    bands = jnp.broadcast_to(jnp.array([np.sqrt(4 * np.pi), *[np.sqrt(4 * np.pi / 3) / 3] * 3]), (6, 4))
    std = mean * np.asarray(ravel_pytree(zero.replace(gaussians=bands, background=zero.background + 1))[0])
    normal = A.T @ A / variance + np.diag(std**-2.0)
    best = center + np.linalg.solve(normal, A.T @ (e - A @ center) / variance)
    start = np.linalg.norm(A @ (center - best))
    assert np.linalg.norm(A @ (np.asarray(ravel_pytree(found)[0]) - best)) < 0.02 * start


def test_what_no_view_shows_is_predicted_to_have_the_mean_error(recorded):
    model, batches = recorded
    found = residual.regress(model, batches)
    behind = make_view(pinhole(16, 12, 14.0, yaw=np.pi))
    predicted = np.asarray(residual.predicted_residual(model, found, behind))
    renders = [jnp.clip(residual.render_scene(model, batch.view).rgb, 0, 1) for batch in batches.stored]
    errors = [residual.pixel_error(as_float(b.image), r) for b, r in zip(batches.stored, renders, strict=True)]
    np.testing.assert_allclose(predicted, np.mean(errors), rtol=1e-4)

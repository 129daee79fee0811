"""The study of exposure drift: the errors of learned exposures, and the exposures of held-out frames."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.measures.exposure import best_affine, exposure_errors, held_out_psnr, per_image, shared
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.scene.exposure import apply_exposure
from ff_jax.scene.scene import exposure_of
from ff_jax.train.batches import view_of
from tests.random_inputs import seeded_rng
from tests.scenes import scene_from_points

pytestmark = pytest.mark.slow

COUNT = 12


def renderer_of(image, scene):
    """Make a renderer that applies an exposure of the scene to one image."""

    def render(frame, *, exposure):
        delta = exposure_of(scene.params, view_of(frame, exposure))
        return np.asarray(apply_exposure(jnp.asarray(image, jnp.float32), delta))

    return render


def linear_drift(rng):
    """Draw gain and bias of every time: linear in time, so that interpolation is exact."""
    return np.stack([np.linspace(0.8, 1.2, COUNT), np.linspace(0.05, -0.05, COUNT)], -1) + rng.normal(0, 0.02, 2)


def log_of(image, exposures, held_out=()):
    """Make a log of one image, recorded with these exposures."""
    source = lambda gain, bias: Source("image", lambda: (gain * image + bias).astype(np.float32))
    frame = lambda i: Frame("front", i, 0.1 * i, np.eye(3), np.eye(4), 10, 8, source(*exposures[i]), exposure_id=i)
    frames = [dataclasses.replace(frame(i), split="test" if i in held_out else "train") for i in range(COUNT)]
    times = 0.1 * np.arange(COUNT)
    return SceneData("street", "made in a test", "none", times, np.tile(np.eye(4), (COUNT, 1, 1)), tuple(frames))


def as_deltas(exposures):
    """Convert exposures to differences from the identity, as in a scene."""
    deltas = np.zeros((len(exposures), 3, 4))
    deltas[:, range(3), range(3)] = exposures[:, :1] - 1
    deltas[..., 3] = exposures[:, 1:]
    return deltas


def scene_with(exposures):
    scene = scene_from_points(np.zeros((1, 3)), np.zeros((1, 3)), 1.0, capacity=1, sh_degree=0, exposures=COUNT)
    return scene.replace(params=scene.params.replace(exposure=jnp.asarray(as_deltas(exposures), jnp.float32)))


def test_exposures_that_undo_the_drift_leave_only_the_common_part():
    rng = seeded_rng()
    drift = np.stack([rng.normal(1, 0.1, COUNT), rng.normal(0, 0.05, COUNT)], -1)
    log = log_of(rng.random((8, 10, 3)), drift)
    errors = exposure_errors(scene_with(drift + np.array([-0.3, 0.1])), log, drift)
    assert errors["before"] > 0.02 and errors["after"] < 1e-5
    untrained = exposure_errors(scene_with(np.tile([1.0, 0.0], (COUNT, 1))), log, drift)
    np.testing.assert_allclose(untrained["after"], errors["before"], rtol=1e-6)


def test_a_held_out_frame_gets_the_exposure_between_its_neighbors():
    rng = seeded_rng()
    image, drift, held_out = rng.uniform(0.2, 0.7, (8, 10, 3)), linear_drift(rng), (3, 7)
    exposures = np.where(np.isin(np.arange(COUNT), held_out)[:, None], 5.0, drift)  # their own are not used
    scores = held_out_psnr(renderer_of(image, scene_with(exposures)), log_of(image, drift, held_out))
    assert 20 < scores["nearest"] < 45 and scores["between"] > 80 and scores["fitted"] > 80


def test_the_best_affine_map_undoes_any():
    rng = seeded_rng()
    truth = rng.uniform(0.2, 0.8, (8, 10, 3)).astype(np.float32)
    image = truth @ (np.eye(3) + rng.normal(0, 0.1, (3, 3))) + rng.normal(0, 0.1, 3)
    np.testing.assert_allclose(best_affine(image.astype(np.float32), truth), truth, atol=1e-4)


def test_images_have_exposures_of_their_own_or_one_in_common():
    log = log_of(np.zeros((8, 10, 3)), np.tile([1.0, 0.0], (COUNT, 1)))
    assert [frame.exposure_id for frame in shared(log).frames] == [0] * COUNT
    assert [frame.exposure_id for frame in per_image(shared(log)).frames] == list(range(COUNT))

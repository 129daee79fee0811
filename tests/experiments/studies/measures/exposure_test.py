"""The study of drifting exposures: what was put in and learnt is compared, and held-out frames get an exposure."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.measures.actors import Trained
from experiments.studies.measures.exposure import absorbed, best_affine, held_out, per_image, shared
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.scene import init_scene
from ff_jax.scene.exposure import apply_exposure
from ff_jax.scene.scene import exposure_of
from ff_jax.train.batches import view_of

COUNT = 12


class Pictured(Trained):
    """Shows one picture, through an exposure of the scene."""

    def picture(self, frame, scene=None, *, exposure=0):
        scene = scene or self.scene
        delta = exposure_of(scene.params, view_of(frame, exposure))
        return np.asarray(apply_exposure(jnp.asarray(self.feed, jnp.float32), delta))


def drifting(rng):
    """Return gain and bias of every time: linear in time, so that what lies between is known."""
    return np.stack([np.linspace(0.8, 1.2, COUNT), np.linspace(0.05, -0.05, COUNT)], -1) + rng.normal(0, 0.02, 2)


def log_of(image, exposures, held=()):
    """Return a log of one picture, recorded with these exposures."""
    source = lambda gain, bias: Source("picture", lambda: (gain * image + bias).astype(np.float32))
    frame = lambda i: Frame("front", i, 0.1 * i, np.eye(3), np.eye(4), 10, 8, source(*exposures[i]), exposure_id=i)
    frames = [dataclasses.replace(frame(i), split="test" if i in held else "train") for i in range(COUNT)]
    times = 0.1 * np.arange(COUNT)
    return SceneData("street", "made in a test", "none", times, np.tile(np.eye(4), (COUNT, 1, 1)), tuple(frames))


def learnt(exposures):
    """Return exposures as the scene holds them: differences from the identity."""
    deltas = np.zeros((len(exposures), 3, 4))
    deltas[:, range(3), range(3)] = exposures[:, :1] - 1
    deltas[..., 3] = exposures[:, 1:]
    return deltas


def run_with(exposures, image=None):
    start = jnp.zeros((1, 3)), jnp.zeros((1, 3)), jnp.ones(1)
    scene = init_scene(jax.random.key(0), *start, capacity=1, sh_degree=0, exposures=COUNT, frames=1, cameras=1)
    scene = scene.replace(params=scene.params.replace(exposure=jnp.asarray(learnt(exposures), jnp.float32)))
    return Pictured(scene, image, None, 0)


def test_exposures_that_undo_the_drift_leave_nothing_but_what_all_frames_share():
    rng = np.random.default_rng()
    drift = np.stack([rng.normal(1, 0.1, COUNT), rng.normal(0, 0.05, COUNT)], -1)
    log = log_of(rng.random((8, 10, 3)), drift)
    found = absorbed(run_with(drift + np.array([-0.3, 0.1])), log, drift)
    assert found["before"] > 0.02 and found["after"] < 1e-5
    untrained = absorbed(run_with(np.tile([1.0, 0.0], (COUNT, 1))), log, drift)
    np.testing.assert_allclose(untrained["after"], found["before"], rtol=1e-6)


def test_a_held_out_frame_gets_the_exposure_between_its_neighbours():
    rng = np.random.default_rng()
    image, drift, held = rng.uniform(0.2, 0.7, (8, 10, 3)), drifting(rng), (3, 7)
    known = np.where(np.isin(np.arange(COUNT), held)[:, None], 5.0, drift)  # their own are never looked at
    found = held_out(run_with(known, image), log_of(image, drift, held))
    assert 20 < found["nearest"] < 45 and found["between"] > 80 and found["fitted"] > 80


def test_the_best_affine_map_undoes_any():
    rng = np.random.default_rng()
    truth = rng.uniform(0.2, 0.8, (8, 10, 3)).astype(np.float32)
    seen = truth @ (np.eye(3) + rng.normal(0, 0.1, (3, 3))) + rng.normal(0, 0.1, 3)
    np.testing.assert_allclose(best_affine(seen.astype(np.float32), truth), truth, atol=1e-4)


def test_images_have_exposures_of_their_own_or_one_in_common():
    log = log_of(np.zeros((8, 10, 3)), np.tile([1.0, 0.0], (COUNT, 1)))
    assert [frame.exposure_id for frame in shared(log).frames] == [0] * COUNT
    assert [frame.exposure_id for frame in per_image(shared(log)).frames] == list(range(COUNT))

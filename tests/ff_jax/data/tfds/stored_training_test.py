"""Training on a stored log gives the same bits as on the log itself."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.random_inputs import seeded_rng

pytest.importorskip("tensorflow_datasets")

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import LidarSweep, SceneData, boxes_at, hold_out, invert_rigid, transform
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.data.tfds import ff_driving
from ff_jax.pipeline.config import ActorConfig, DataConfig, FuseConfig, InitConfig
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.train.batches import TrainBatches
from ff_jax.train.config import ReconConfig
from ff_jax.train.loop import Hooks, train
from ff_jax.train.shift_schedule import ShiftSchedule

pytestmark = pytest.mark.slow

STEPS = 12
CONFIG = FuseConfig(
    steps=STEPS,
    check_every=4,
    save_every=4,
    recon=ReconConfig(sh_degree=0, budget=150),
    init=InitConfig(points=120),
    actors=ActorConfig(slots=20, points=10),
    schedule=ShiftSchedule(start=STEPS),
)


def scan(log: SceneData, time_index: int, rng: np.random.Generator) -> LidarSweep:
    """Make a sweep of points on the ground and in the boxes: the simulated LiDAR takes long to compile."""
    pose = log.world_from_ego[time_index] @ np.array([[1.0, 0, 0, 1.3], [0, 1, 0, 0], [0, 0, 1, 1.9], [0, 0, 0, 1]])
    ground = np.append(rng.uniform([3, -8], [30, 8], (300, 2)), np.full((300, 1), -1.9), 1)
    inside = [
        transform(invert_rigid(pose) @ box.world_from_object, rng.uniform(-0.5, 0.5, (20, 3)) * box.size)
        for box in boxes_at(log, time_index)
    ]
    points = np.concatenate([ground, *inside])
    points = np.append(points, rng.random((len(points), 1)), 1).astype(np.float32)
    return LidarSweep(time_index, pose, Source(f"scan {time_index}", lambda: points))


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> tuple[SceneData, SceneData]:
    """A street with traffic, drifting exposure, two cameras, LiDAR, boxes and lanes: itself, and stored and read."""
    rng = seeded_rng()
    config = StreetConfig(num_frames=4, moving=True, exposure_drift=True, lead_gap=(11.0, 17.0), clear_left=2.5)
    log = street_log(int(rng.integers(5)), config, 40, 24, ("front", "front_left"), lidar=None)
    log = dataclasses.replace(log, sweeps=tuple(scan(log, i, rng) for i in range(len(log.times))))
    folder = tmp_path_factory.mktemp("stored")
    ff_driving.build([log], folder)
    return hold_out(log, 4), open_log(DataConfig(source=str(folder), width=0, hold_out=4))


def trained(log: SceneData):
    """Train on a log; return the training state, and the metrics that were logged."""
    recording, logged = make_recording(log, CONFIG), []
    state, plan = initialize(recording, CONFIG, pseudo_views=0, steps=STEPS)
    hooks = Hooks(log=lambda step, metrics, _: logged.append((step, metrics)))
    state, _ = train(state, STEPS, plan, TrainBatches(recording), hooks)
    assert recording.actors and len(logged) == STEPS // CONFIG.check_every
    return state.train, logged


def test_a_stored_log_trains_to_the_same_bits(logs):
    (direct, metrics), (from_tfds, stored_metrics) = map(trained, logs)
    assert metrics == stored_metrics and metrics[0][1]["loss"] > 0
    first, second = (jax.tree.map(np.asarray, dataclasses.replace(state, key=None)) for state in (direct, from_tfds))
    jax.tree.map(np.testing.assert_array_equal, first, second)

"""EIG in nats does not depend on the unit of length: a scene of 0.01 and of 100 times the size has the same maps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.data.points.initial import nearest_distances
from ff_jax.data.points.visibility import is_visible
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import SceneData
from ff_jax.data.synthetic import LidarPattern, StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig.scene_posterior import fit_posterior, render_with_eig
from ff_jax.eig.signals.calibrated import calibrate, calibrated_eig
from ff_jax.render.gaussians import WorldGaussians
from ff_jax.render.renderer import RenderInput, RenderSettings
from ff_jax.scene import PointCloud, Scene, SceneModel, SceneSizes, init_scene
from ff_jax.scene.scene import with_actors
from ff_jax.scene.tracks import actor_names, make_tracks
from ff_jax.train.batches import TrainBatches, shifted_view
from tests.ff_jax.eig.problems import SETTINGS, add_view, distinct_world, eig_maps, posterior_of
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole

pytestmark = pytest.mark.slow

NOISE = 0.05
NEAR = dataclasses.replace(SETTINGS, near=1e-3)  # nearer than every Gaussian in every unit: the same program
TOLERANCE = 1e-2  # relative, of the EIG of a pixel; rounding of positions and scales moves it by less


def scaled_camera(camera, factor):
    """Move a camera away from the origin by a factor."""
    pose = camera.camera_from_world.at[:3, 3].multiply(factor)
    return camera.replace(camera_from_world=pose)


def scaled_world(world: WorldGaussians, factor: float) -> WorldGaussians:
    """Make Gaussians `factor` times as large and as far from the origin."""
    gaussians = world.gaussians
    changed = gaussians.replace(means=factor * gaussians.means, log_scales=gaussians.log_scales + np.log(factor))
    return world._replace(gaussians=changed)


def maps_at(world, cameras, factor):
    """Compute the EIG map of the last camera, after all others recorded the scene, in another unit of length."""
    world = scaled_world(world, factor)
    inputs = [RenderInput(world, scaled_camera(camera, factor), NEAR, 1) for camera in cameras]
    background = jnp.full((inputs[0].camera.height, inputs[0].camera.width, 3), 0.5)
    precision = None
    for view in inputs[:-1]:
        precision = add_view(precision, view, background, NOISE, has_background=True)
    posterior = posterior_of(precision, eig.Priors(), world.gaussians)
    return eig_maps(posterior, inputs[-1], background, NOISE)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_maps_in_nats_do_not_depend_on_the_unit_of_length(factor):
    rng = seeded_rng()
    cameras = [pinhole(24, 16, 20.0, x=x, yaw=yaw) for x, yaw in ((0.0, 0.0), (0.15, 0.02), (0.9, -0.1))]
    world = distinct_world(rng, 12, cameras)
    expected, found = maps_at(world, cameras, 1.0), maps_at(world, cameras, factor)
    for mode in ("exact", "trace"):
        np.testing.assert_allclose(found[mode], expected[mode], rtol=TOLERANCE, atol=1e-3, err_msg=mode)
    assert np.ptp(np.asarray(expected["exact"])) > 0.5  # nats
    masks = [np.asarray(eig.eig_mask(maps["exact"], eig.TAU)) for maps in (expected, found)]
    assert 0 < masks[0].mean() < 1 and np.mean(masks[0] != masks[1]) < 0.01  # one threshold


def scaled_pose(pose, factor):
    """Move a 4x4 pose away from the origin by a factor."""
    return np.concatenate([np.concatenate([pose[:3, :3], factor * pose[:3, 3:]], 1), pose[3:]])


def scaled_log(log: SceneData, factor: float) -> SceneData:
    """State the lengths of a log without LiDAR in another unit: poses of the ego vehicle, cameras, boxes; box sizes."""

    boxes = [
        dataclasses.replace(box, world_from_object=scaled_pose(box.world_from_object, factor), size=factor * box.size)
        for box in log.boxes
    ]
    frames = [dataclasses.replace(f, world_from_camera=scaled_pose(f.world_from_camera, factor)) for f in log.frames]
    poses = np.stack([scaled_pose(pose, factor) for pose in log.world_from_ego])
    return dataclasses.replace(log, frames=tuple(frames), world_from_ego=poses, boxes=tuple(boxes), sweeps=())


def cloud(xyz, rng) -> PointCloud:
    """Give points random colors and half the distance of their neighbors as deviation."""
    spacing, rgb = 0.5 * nearest_distances(xyz), rng.random((len(xyz), 3))
    return PointCloud(*(jnp.asarray(part, jnp.float32) for part in (xyz, rgb, spacing)))


def scene_of(log: SceneData, factor: float, seed: int) -> Scene:
    """Make the untrained scene of a log in meters, with its actors and cameras, in a unit of 1 / `factor` meters."""
    rng, times, frames = np.random.default_rng(seed), range(len(log.times)), len(log.frames)
    points = log.sweeps[0].load_world()
    points = points[is_visible(log, points)]
    sizes = SceneSizes(512, 1, exposures=frames, frames=frames)
    scene = init_scene(jax.random.key(3), cloud(factor * points[:: -(-len(points) // 400)], rng), sizes)
    names = actor_names(log, times)
    tracks = make_tracks(scaled_log(log, factor), names, times, 32 * len(names))
    own = [cloud(size * rng.uniform(-0.5, 0.5, (16, 3)), rng) for size in np.asarray(tracks.sizes)]
    owners = jnp.asarray(np.repeat(np.arange(len(own)), 16))
    scene = with_actors(scene, tracks, jax.tree.map(lambda *parts: jnp.concatenate(parts), *own), owners)
    poses = jnp.asarray(rng.normal(0, 0.01, (frames, 6)) * [1, 1, 1, factor, factor, factor], jnp.float32)
    return scene.replace(params=scene.params.replace(poses=poses))


def log_maps(log: SceneData, factor: float, seed: int):
    """Compute exact and calibrated EIG 2 m beside the first frame of a log, in a unit of 1 / `factor` meters."""
    model = SceneModel(scene_of(log, factor, seed), RenderSettings(capacity=1 << 14, near=0.2 * factor), 1)
    log = scaled_log(log, factor)
    batches, priors = TrainBatches(Recording(log, log.frames)), eig.Priors()
    posterior = fit_posterior(model, batches, priors)
    view = model.prepare(shifted_view(log.frames[0], log, 2.0 * factor))
    calibration = calibrate(model, batches, priors, posterior)
    return render_with_eig(model, posterior, view).eig, calibrated_eig(model, calibration, view)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_one_threshold_and_one_weight_serve_a_log_in_every_unit(factor):
    """Initial spacing from LiDAR, camera corrections, actors and their boxes are stated in the unit of the log."""
    config = StreetConfig(num_frames=3, speed=8.0, lead_gap=(12.0, 15.0))
    log = street_log(2, config, 48, 32, lidar=LidarPattern())
    seed = int(seeded_rng().integers(1 << 30))
    for expected, found in zip(log_maps(log, 1.0, seed), log_maps(log, factor, seed), strict=True):
        tau = jnp.median(expected)  # the calibrated map of an untrained scene is above `TAU` everywhere
        masks = [np.asarray(eig.eig_mask(nats, tau)) for nats in (expected, found)]
        assert np.mean(masks[0] != masks[1]) < 0.01 and 0.2 < masks[0].mean() < 0.8
        weights = [eig.eig_weight(nats, eig.DISTILL_KAPPA) for nats in (expected, found)]
        np.testing.assert_allclose(weights[1], weights[0], atol=0.01)
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=1e-3)

"""The untrained state of a run: initial points, shapes and plan."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from ff_jax.data.points.actors import actor_points
from ff_jax.data.points.initial import initial_points, nearest_distances
from ff_jax.data.points.lidar import draw_rows
from ff_jax.data.recording import Recording, time_indices, train_frames
from ff_jax.data.road import on_road
from ff_jax.data.scene_data import Frame, SceneData, invert_rigid
from ff_jax.data.validate import check
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.loaded_scene import load_scene, with_loaded
from ff_jax.scene import PointCloud, Scene, SceneSizes, init_scene
from ff_jax.scene.camera_path import CameraPath, make_path
from ff_jax.scene.novel_deformation import init_novel_motion
from ff_jax.scene.scene import with_actors, with_ground
from ff_jax.scene.tracks import actor_names, make_tracks
from ff_jax.train.batches import scene_radius, view_of
from ff_jax.train.capacity import count_intersections, planned_capacity
from ff_jax.train.loop import TrainPlan
from ff_jax.train.optimizer import make_optimizer
from ff_jax.train.pseudo_views import init_pseudo_views
from ff_jax.train.state import LoopState, init_state

_NOVEL = 2  # random stream of the deformation for cameras off the recorded path

Points = tuple[Float[np.ndarray, "M 3"], Float[np.ndarray, "M 3"]]  # positions (meters) and colors


def make_recording(log: SceneData, config: FuseConfig, frames: tuple[Frame, ...] | None = None) -> Recording:
    """Make the recording of some frames of a log (default: all training frames).

    Raises:
        ValueError: there is no frame, or the log has a problem (see `validate.check`).
    """
    check(log, f"log {log.name!r}", files=False)  # `open_log` has read their headers
    frames = train_frames(log) if frames is None else frames
    if not frames:
        raise ValueError(f"log {log.name!r} has no training frame: lower data.hold_out or select another camera.")
    names = actor_names(log, time_indices(frames), config.actors.min_path) if config.actors.slots else ()
    return Recording(log, frames, names, config.data.use_lidar)


_PLACEHOLDER = PointCloud(np.zeros((1, 3)), np.zeros((1, 3)), np.ones(1))  # where only shapes matter


def background_points(recording: Recording, config: FuseConfig) -> Points:
    """Make the initial positions (world, meters) and colors of the background; only recorded frames give colors."""
    rng = np.random.default_rng(config.seed)
    count = min(config.init.points, config.recon.budget)
    return initial_points(recording.visible_log, count, rng, random_share=config.init.random_share)


def split_ground(
    points: Points, recording: Recording, config: FuseConfig
) -> tuple[
    tuple[Float[np.ndarray, "G 3"], Float[np.ndarray, "G 3"]], tuple[Float[np.ndarray, "B 3"], Float[np.ndarray, "B 3"]]
]:
    """Split initial points into at most `init.ground` of the road, evenly chosen, and those that are not on it.

    Raises:
        ValueError: no road is found among the points.
    """
    try:
        is_ground = on_road(recording.visible_log, points[0].astype(float), config.seed)
    except ValueError as error:
        raise ValueError(f"init.ground={config.init.ground} needs a road: set it to 0 ({error})") from None
    rng = np.random.default_rng([config.seed, 2])
    ground = draw_rows(rng, config.init.ground, *(part[is_ground] for part in points))
    others = draw_rows(rng, config.recon.budget - config.init.ground, *(part[~is_ground] for part in points))
    return (ground[0], ground[1]), (others[0], others[1])


def with_spacing(points: Points, config: FuseConfig) -> PointCloud:
    """Add the spacing: the distance between neighbors times `init.scale`."""
    return PointCloud(*points, np.clip(nearest_distances(points[0]) * config.init.scale, 1e-3, None))


def actor_clouds(recording: Recording, config: FuseConfig) -> list[PointCloud]:
    """Make the initial points of all actors, in the frames of their boxes."""
    rng = np.random.default_rng([config.seed, 1])
    count = min(config.actors.points, config.actors.slots)
    clouds = actor_points(recording.visible_log, recording.actors, count, rng)
    return [with_spacing(points, config) for points in clouds]


def add_actors(scene: Scene, recording: Recording, config: FuseConfig, clouds: Sequence[PointCloud]) -> Scene:
    """Add the actors of a recording to a scene, each with its initial points."""
    if not recording.actors:
        return scene
    log = recording.log
    owner = np.repeat(np.arange(len(clouds)), [len(cloud.xyz) for cloud in clouds])
    times = time_indices((*train_frames(log), *recording.frames))
    tracks = make_tracks(log, recording.actors, times, config.actors.slots * len(clouds))
    points = _on_device(PointCloud(*(np.concatenate(part) for part in zip(*clouds, strict=True))))
    actor = jax.device_put(owner.astype(np.int32))
    return with_actors(scene, tracks, points, actor, opacity=config.init.opacity)


def _on_device(points: PointCloud) -> PointCloud:
    return PointCloud(*(jax.device_put(np.asarray(part, np.float32)) for part in points))


def camera_path(frames: Sequence[Frame]) -> CameraPath:
    """Make the recorded path of the cameras of some frames."""
    poses = invert_rigid(np.stack([frame.world_from_camera for frame in frames]))
    return make_path(poses, np.array([frame.time for frame in frames]), [frame.camera for frame in frames])


def initial_scene(recording: Recording, config: FuseConfig, *, shapes_only: bool) -> Scene:
    """Make the untrained scene of a recording; with `shapes_only` no image and no sweep of the log is read."""
    is_loaded = bool(config.init.scene)
    ground, points = _PLACEHOLDER, _PLACEHOLDER
    if not shapes_only and not is_loaded:
        start = background_points(recording, config)
        if config.init.ground:
            road, start = split_ground(start, recording, config)
            ground = with_spacing(road, config)
        points = with_spacing(start, config)
    count, optimize_poses = len(recording.frames), config.recon.optim.poses > 0
    sizes = SceneSizes(
        capacity=config.recon.budget - config.init.ground,
        sh_degree=config.recon.sh_degree,
        exposures=recording.log.num_exposures + max(config.pseudo_view_capacity, 1),
        frames=count if optimize_poses else max(count, len(train_frames(recording.log))),
        cameras=len(recording.cameras),
    )
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    scene = init_scene(key, _on_device(points), sizes, opacity=config.init.opacity)
    if is_loaded and not shapes_only:
        loaded = load_scene(config, recording.log)
        scene = with_loaded(scene, loaded, recording.log.num_exposures)
    if config.init.ground:
        scene = with_ground(scene, _on_device(ground), config.init.ground, opacity=config.init.opacity)
    if config.recon.deform_novel:
        motion = init_novel_motion(jax.random.fold_in(jax.random.key(config.seed), _NOVEL))
        scene = scene.replace(params=scene.params.replace(novel=motion))
    clouds = [_PLACEHOLDER] * len(recording.actors) if shapes_only else actor_clouds(recording, config)
    scene = add_actors(scene, recording, config, clouds)
    return scene.replace(path=camera_path(recording.frames)) if optimize_poses else scene


def plan_capacity(scene: Scene, recording: Recording, config: FuseConfig) -> int:
    """Plan the renderer's capacity from the untrained scene in all recorded views, and from what may be added to it."""
    views = [view_of(frame, 0) for frame in recording.padded_frames]
    count = count_intersections(scene, views, config.render.settings(1))
    alive, density = np.asarray(scene.alive), config.recon.density
    is_growing = density.start < min(density.stop, config.steps)
    return planned_capacity(count, int(alive.sum()), alive.size if is_growing else 0)


def initialize(
    recording: Recording, config: FuseConfig, *, pseudo_views: int, steps: int, shapes_only: bool = False
) -> tuple[LoopState, TrainPlan]:
    """Make the untrained state of a run on some frames of a log, and its plan.

    Args:
        recording: training frames.
        config: the settings.
        pseudo_views: capacity of the buffer of pseudo-views.
        steps: length of the learning-rate decay.
        shapes_only: whether a checkpoint will replace all values and the renderer's capacity.
    """
    scene = initial_scene(recording, config, shapes_only=shapes_only)
    plan = TrainPlan(
        recon=config.recon,
        settings=config.render.settings(1 if shapes_only else plan_capacity(scene, recording, config)),
        radius=scene_radius(np.stack([frame.world_from_camera for frame in recording.frames])),
        steps=steps,
        seed=config.seed,
        check_every=config.check_every,
    )
    optimizer = make_optimizer(config.recon.optim, plan.scale)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    state = init_state(key, scene, optimizer, config.recon.density.method)
    width, height = recording.image_size
    views = init_pseudo_views(max(pseudo_views, 1), height, width, with_offsets=config.recon.deform_novel)
    return LoopState(state, views), plan

"""The untrained run on some frames of a log: its first points, its shapes, its recipe."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from ff_jax.data.points.actors import actor_points
from ff_jax.data.points.initial import initial_points, nearest_distances
from ff_jax.data.scene_data import Frame, SceneData, Sweep, invert
from ff_jax.pipeline.config import FuseConfig
from ff_jax.scene import Scene, init_scene
from ff_jax.scene.camera_path import CameraPath, make_path
from ff_jax.scene.scene import with_actors
from ff_jax.scene.tracks import actor_names, make_tracks
from ff_jax.train.batches import Feed, scene_radius, view_of
from ff_jax.train.loop import Recipe, Run, count_needed, fitted
from ff_jax.train.pseudo_views import init_pool
from ff_jax.train.state import Pace, init_state, make_optimizer


def make_feed(log: SceneData, frames: tuple[Frame, ...], config: FuseConfig) -> Feed:
    """Return the feed of some frames of a log."""
    names = actor_names(log, key_times(frames), config.actors.min_path) if config.actors.slots else ()
    return Feed(log, frames, use_lidar=config.data.use_lidar, actors=names)


def key_times(frames: Sequence[Frame]) -> tuple[int, ...]:
    """Return the time indices of some frames, in order."""
    return tuple(sorted({frame.time_index for frame in frames}))


def recorded_frames(log: SceneData) -> tuple[Frame, ...]:
    """Return the frames of a log that may be learnt from."""
    return tuple(frame for frame in log.frames if frame.split == "train")


def start_points(
    log: SceneData, frames: tuple[Frame, ...], config: FuseConfig
) -> tuple[Float[np.ndarray, "M 3"], Float[np.ndarray, "M 3"]]:
    """Return the first positions (world, metres) and colours; only `frames` lend colours."""
    seen = dataclasses.replace(log, frames=frames, sweeps=known_sweeps(log) if config.data.use_lidar else ())
    rng = np.random.default_rng(config.seed)
    points = min(config.init.points, config.recon.budget)
    return initial_points(seen, points, rng, random_share=config.init.random_share)


def known_sweeps(log: SceneData) -> tuple[Sweep, ...]:
    """Return the sweeps of a log but those of held-out time steps, which measure the depth that is found there."""
    held, recorded = ({f.time_index for f in log.frames if f.split == split} for split in ("test", "train"))
    return tuple(sweep for sweep in log.sweeps if sweep.time_index not in held - recorded)


class Cloud(NamedTuple):
    """First points of the background or of an actor."""

    xyz: Float[np.ndarray, "M 3"]  # metres
    rgb: Float[np.ndarray, "M 3"]
    spacing: Float[np.ndarray, "M"]  # first standard deviations, metres


ANY = Cloud(np.zeros((1, 3)), np.zeros((1, 3)), np.ones(1))  # where shapes alone count


def cloud(points: tuple[Float[np.ndarray, "M 3"], Float[np.ndarray, "M 3"]], config: FuseConfig) -> Cloud:
    """Return positions and colours with the spacing that `init.scale` makes of the distances between them."""
    return Cloud(*points, np.clip(nearest_distances(points[0]) * config.init.scale, 1e-3, None))


def actor_clouds(log: SceneData, feed: Feed, config: FuseConfig) -> list[Cloud]:
    """Return the first points of the actors of `feed`, in the frames of their boxes."""
    seen = dataclasses.replace(log, frames=feed.frames, sweeps=known_sweeps(log) if config.data.use_lidar else ())
    rng = np.random.default_rng([config.seed, 1])
    count = min(config.actors.points, config.actors.slots)
    return [cloud(points, config) for points in actor_points(seen, feed.actors, count, rng)]


def add_actors(scene: Scene, log: SceneData, feed: Feed, config: FuseConfig, clouds: Sequence[Cloud]) -> Scene:
    """Return the scene with the actors of `feed`, each started from its points."""
    if not feed.actors:
        return scene
    owner = np.repeat(np.arange(len(clouds)), [len(one.xyz) for one in clouds])
    times = key_times((*recorded_frames(log), *feed.frames))
    tracks = make_tracks(log, feed.actors, times, config.actors.slots * len(clouds))
    points = [jax.device_put(np.concatenate(part).astype(np.float32)) for part in zip(*clouds, strict=True)]
    return with_actors(scene, tracks, *points, jax.device_put(owner.astype(np.int32)), opacity=config.init.opacity)


def path_of(frames: Sequence[Frame]) -> CameraPath:
    """Return the recorded path of the cameras of some frames."""
    poses = invert(np.stack([frame.world_from_camera for frame in frames]))
    return make_path(poses, np.array([frame.time for frame in frames]), [frame.camera for frame in frames])


def start_run(
    log: SceneData, feed: Feed, config: FuseConfig, *, pool: int, steps: int, shapes_only: bool = False
) -> tuple[Run, Recipe]:
    """Return the untrained run on the frames of `feed`, and its recipe for `steps` steps.

    Shapes are those that all recorded frames of the log need, so runs on some of them share their programs.

    Args:
        log: the driving log; only frames of `feed` lend colours to the initial points.
        feed: training frames.
        config: the settings.
        pool: pseudo-views that the run can hold.
        steps: length over which learning rates decay.
        shapes_only: whether a checkpoint will take the place of all values and of the renderer's capacity. Then
            no image and no sweep of the log is read for them.
    """
    points = ANY if shapes_only else cloud(start_points(log, feed.frames, config), config)
    key, count, learn_poses = jax.random.key(config.seed), len(feed.frames), config.recon.optim.poses > 0
    scene = init_scene(
        jax.random.fold_in(key, 0),
        *(jax.device_put(np.asarray(part, np.float32)) for part in points),
        capacity=config.recon.budget,
        sh_degree=config.recon.sh_degree,
        exposures=log.num_exposures + max(config.pool, 1),
        frames=count if learn_poses else max(count, len(recorded_frames(log))),
        cameras=len(feed.cameras),
        opacity=config.init.opacity,
    )
    clouds = [ANY] * len(feed.actors) if shapes_only else actor_clouds(log, feed, config)
    scene = add_actors(scene, log, feed, config, clouds)
    if learn_poses:
        scene = scene.replace(path=path_of(feed.frames))
    poses = np.stack([frame.world_from_camera for frame in feed.frames])
    settings = config.render.settings(1)
    needed = 0 if shapes_only else count_needed(scene, [view_of(frame, 0) for frame in feed.frames], settings)
    recipe = Recipe(
        recon=config.recon,
        settings=fitted(settings, needed),
        radius=scene_radius(poses),
        steps=steps,
        seed=config.seed,
        check_every=config.check_every,
    )
    optimizer = make_optimizer(recipe.recon.optim, Pace(recipe.radius, steps))
    state = init_state(jax.random.fold_in(key, 1), scene, optimizer, recipe.recon.density.method)
    width, height = feed.size
    return Run(state, init_pool(max(pool, 1), height, width)), recipe

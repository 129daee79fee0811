"""Phases of a run: each has a folder with its checkpoints and log, and goes on where it was stopped."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.config import FuseConfig, to_dict
from ff_jax.data.actor_points import actor_points
from ff_jax.data.contract import Frame, SceneData, Sweep, invert
from ff_jax.data.points import initial_points, nearest_distances
from ff_jax.scene import Scene, init_scene
from ff_jax.scene.path import CameraPath, make_path
from ff_jax.scene.scene import with_actors
from ff_jax.scene.tracks import actor_names, make_tracks
from ff_jax.train import checkpoint
from ff_jax.train.diverged import investigate
from ff_jax.train.feed import Feed, scene_radius, view_of
from ff_jax.train.log import Logger, progress
from ff_jax.train.loop import Hooks, NotFiniteError, Recipe, Run, count_needed, fitted, train
from ff_jax.train.pool import init_pool
from ff_jax.train.state import init_state, make_optimizer


def make_feed(log: SceneData, frames: tuple[Frame, ...], config: FuseConfig) -> Feed:
    """Return the feed of some frames of a log."""
    names = actor_names(log, key_times(frames), config.actors.min_path) if config.actors.slots else ()
    return Feed(log, frames, use_lidar=config.data.use_lidar, actors=names)


def key_times(frames: Sequence[Frame]) -> tuple[int, ...]:
    """Return the time indices of some frames, in order."""
    return tuple(sorted({frame.time_index for frame in frames}))


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


def add_actors(scene: Scene, log: SceneData, feed: Feed, config: FuseConfig) -> Scene:
    """Return the scene with the actors of `feed`, each started from points in its box."""
    if not feed.actors:
        return scene
    seen = dataclasses.replace(log, frames=feed.frames, sweeps=known_sweeps(log) if config.data.use_lidar else ())
    rng = np.random.default_rng([config.seed, 1])
    count = min(config.actors.points, config.actors.slots)
    clouds = actor_points(seen, feed.actors, count, rng)
    spacing = [nearest_distances(xyz) * config.init.scale for xyz, _ in clouds]
    owner = np.repeat(np.arange(len(clouds)), [len(xyz) for xyz, _ in clouds])
    tracks = make_tracks(log, feed.actors, key_times(feed.frames), config.actors.slots * len(clouds))
    flat = lambda parts: jnp.asarray(np.concatenate(parts), jnp.float32)
    xyz, rgb = (flat(part) for part in zip(*clouds, strict=True))
    widths = jnp.clip(flat(spacing), 1e-3)
    return with_actors(scene, tracks, xyz, rgb, widths, jnp.asarray(owner), opacity=config.init.opacity)


def path_of(frames: Sequence[Frame]) -> CameraPath:
    """Return the recorded path of the cameras of some frames."""
    poses = invert(np.stack([frame.world_from_camera for frame in frames]))
    return make_path(poses, np.array([frame.time for frame in frames]), [frame.camera for frame in frames])


def start_run(log: SceneData, feed: Feed, config: FuseConfig, *, pool: int, steps: int) -> tuple[Run, Recipe]:
    """Return the untrained run on the frames of `feed`, and its recipe for `steps` steps.

    Args:
        log: the driving log; only frames of `feed` lend colours to the initial points.
        feed: training frames.
        config: the settings.
        pool: pseudo-views that the run can hold.
        steps: length over which learning rates decay.
    """
    xyz, rgb = start_points(log, feed.frames, config)
    spacing = np.clip(nearest_distances(xyz) * config.init.scale, 1e-3, None)
    key = jax.random.key(config.seed)
    scene = init_scene(
        jax.random.fold_in(key, 0),
        jnp.asarray(xyz, jnp.float32),
        jnp.asarray(rgb, jnp.float32),
        jnp.asarray(spacing, jnp.float32),
        capacity=config.recon.budget,
        sh_degree=config.recon.sh_degree,
        exposures=log.num_exposures + max(pool, 1),
        frames=len(feed.frames),
        cameras=len(feed.cameras),
        opacity=config.init.opacity,
    )
    scene = add_actors(scene, log, feed, config)
    if config.recon.optim.poses > 0:
        scene = scene.replace(path=path_of(feed.frames))
    poses = np.stack([frame.world_from_camera for frame in feed.frames])
    recon = dataclasses.replace(config.recon, optim=dataclasses.replace(config.recon.optim, steps=steps))
    settings = config.render.settings(1)
    needed = count_needed(scene, [view_of(frame, 0) for frame in feed.frames], settings)
    recipe = Recipe(
        recon=recon,
        settings=fitted(settings, needed),
        radius=scene_radius(poses),
        seed=config.seed,
        check_every=config.check_every,
    )
    optimizer = make_optimizer(recon.optim, recipe.radius)
    state = init_state(jax.random.fold_in(key, 1), scene, optimizer, recon.density.method)
    width, height = feed.size
    return Run(state, init_pool(max(pool, 1), height, width)), recipe


def run_phase(
    folder: Path,
    description: str,
    run: Run,
    recipe: Recipe,
    stop: int,
    feed: Feed,
    config: FuseConfig,
    event: Callable[[Run, int, Recipe], Run] | None = None,
) -> tuple[Run, Recipe]:
    """Train `run` to step `stop`, checkpointing into `folder`; a whole checkpoint there is continued.

    Args:
        folder: folder of this phase.
        description: what the progress bar says.
        run: where the phase starts when `folder` holds no checkpoint; also the shapes to restore into.
        recipe: static settings; the capacity of a continued phase comes from its checkpoint.
        stop: step after the last one.
        feed: recorded frames.
        config: the settings; written beside every checkpoint.
        event: makes pseudo-views (see `Hooks`).

    Raises:
        DivergedError: the training broke; its last good checkpoint is kept (see `train.diverged`).
    """
    found = checkpoint.latest(folder / "checkpoints")
    if found is not None:
        run, meta, _ = checkpoint.restore(folder / "checkpoints", run, found)
        settings = dataclasses.replace(recipe.settings, capacity=meta["capacity"])
        recipe = dataclasses.replace(recipe, settings=settings)
    start = int(run.state.step)
    if start >= stop:
        return run, recipe

    def save(step: int, run: Run, recipe: Recipe) -> None:
        meta = {"capacity": recipe.settings.capacity, "config": to_dict(config), "phase": description}
        checkpoint.save(folder / "checkpoints", step, run, meta, keep=2)

    if found is None:
        save(start, run, recipe)  # where to go back to if the training diverges at once
    with Logger(folder, resume_step=start if found is not None else None) as log:
        bar = progress(range(start, stop), description, start=start, total=stop)

        def write(step: int, metrics: dict[str, float], recipe: Recipe) -> None:
            log.log(step, metrics | {"capacity": recipe.settings.capacity})
            bar.set_postfix_str(f"{metrics['psnr']:.2f} dB", refresh=False)

        hooks = Hooks(log=write, tick=lambda _: bar.update(), save=save, save_every=config.save_every)
        if event is not None:
            hooks = dataclasses.replace(hooks, event=event)
        shapes = jax.eval_shape(lambda: run)
        try:
            run, recipe = train(run, stop, recipe, feed, hooks)
        except NotFiniteError as error:
            raise investigate(folder, description, shapes, recipe, feed, hooks.event, error.step) from error
        finally:
            bar.close()
    return run, recipe


def restore_or(folder: Path, make: Callable[[], PyTree], like: Callable[[], PyTree]) -> PyTree:
    """Return the pytree saved in `folder`, or make it and save it there.

    Args:
        folder: where it is kept.
        make: computes it.
        like: gives its structure, shapes and dtypes.
    """
    if checkpoint.latest(folder) is not None:
        return checkpoint.restore(folder, like())[0]
    value = make()
    checkpoint.save(folder, 0, value, {}, keep=1)
    return value


def key_of(config: FuseConfig, stream: int) -> Key[Array, ""]:
    """Return the random key of one purpose of a run."""
    return jax.random.fold_in(jax.random.key(config.seed), stream)

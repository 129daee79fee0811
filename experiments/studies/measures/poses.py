"""What the study of wrong cameras measures, on streets whose truth is known."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Frame, SceneData, invert
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import make_feed, start_run
from ff_jax.pipeline.phases import is_begun, run_phase
from ff_jax.render.rigid import apply_delta
from ff_jax.train.loop import Run

LEVER = 5.73  # metres per radian: 20 cm and 2 degrees, or 3 cm and 0.3 degrees, count alike

Array = np.ndarray


def learning(config: FuseConfig, *, rate: float, coarse: float, path: float) -> FuseConfig:
    """Return the settings with learnt camera poses (`OptimConfig.poses`, `LossConfig.coarse` and `camera_path`).

    LiDAR depth is attached to the pixels where recorded poses put it, and would hold wrong poses where they are.
    """
    recon = config.recon
    optim = dataclasses.replace(recon.optim, poses=rate)
    loss = dataclasses.replace(recon.loss, coarse=coarse, camera_path=path, depth=0.0)
    return dataclasses.replace(config, recon=dataclasses.replace(recon, optim=optim, loss=loss))


def jittered(log: SceneData, metres: float, degrees: float, rng: np.random.Generator) -> SceneData:
    """Return the log with every camera pose off by random errors of this length (root mean square)."""

    def wrong(frame: Frame) -> Frame:
        motion = np.eye(4)
        motion[:3, :3] = Rotation.from_rotvec(rng.normal(0, np.deg2rad(degrees) / np.sqrt(3), 3)).as_matrix()
        motion[:3, 3] = rng.normal(0, metres / np.sqrt(3), 3)
        return dataclasses.replace(frame, world_from_camera=frame.world_from_camera @ motion)

    return dataclasses.replace(log, frames=tuple(map(wrong, log.frames)))


def trained(log: SceneData, config: FuseConfig, folder: Path) -> Run:
    """Reconstruct a log from its frames of split "train"; a finished one in `folder` is read."""
    feed = make_feed(log, tuple(f for f in log.frames if f.split == "train"), config)
    run, recipe = start_run(log, feed, config, pool=0, steps=config.steps, shapes_only=is_begun(folder))
    return run_phase(folder, folder.name.replace("_", " "), run, recipe, config.steps, feed, config)[0]


def learnt_poses(run: Run, log: SceneData) -> Float[Array, "F 4 4"]:
    """Return world_from_camera of the training frames with the learnt corrections."""
    frames = [f for f in log.frames if f.split == "train"]
    cameras = [jnp.asarray(invert(f.world_from_camera), jnp.float32) for f in frames]
    deltas = run.state.scene.params.poses
    moved = [apply_delta(delta, pose) for delta, pose in zip(deltas, cameras, strict=True)]
    return invert(np.asarray(jnp.stack(moved), float))


def pose_errors(
    found: Float[Array, "F 4 4"], truth: Float[Array, "F 4 4"], *, scale: bool = False
) -> tuple[float, float]:
    """Return the root mean square error of poses in metres and in degrees, after a rigid motion of all of them.

    A reconstruction may turn and shift as a whole, cameras and scene together. The motion is the one of least
    squares over positions and orientations, a radian counting as `LEVER` metres.

    Args:
        found: world_from_camera.
        truth: the same, as it should be.
        scale: take a change of scale out as well, which images alone cannot show.
    """
    found, centre = found.copy(), truth[:, :3, 3].mean(0)
    for _ in range(5):
        shift = truth[:, :3, 3] - found[:, :3, 3]
        turn = Rotation.from_matrix(truth[:, :3, :3] @ np.swapaxes(found[:, :3, :3], 1, 2)).as_rotvec()
        away = found[:, :3, 3] - centre
        grown = away if scale else np.zeros_like(away)
        rows = [
            np.block([[-_cross_matrix(a), np.eye(3), g[:, None]], [LEVER * np.eye(3), np.zeros((3, 4))]])
            for a, g in zip(away, grown, strict=True)
        ]
        wanted = np.concatenate([np.concatenate([s, LEVER * t]) for s, t in zip(shift, turn, strict=True)])
        step = np.linalg.lstsq(np.concatenate(rows), wanted, rcond=None)[0]
        rotation = Rotation.from_rotvec(step[:3]).as_matrix()
        found[:, :3, :3] = rotation @ found[:, :3, :3]
        found[:, :3, 3] = (1 + step[6]) * away @ rotation.T + centre + step[3:6]
    shift = truth[:, :3, 3] - found[:, :3, 3]
    turn = Rotation.from_matrix(truth[:, :3, :3] @ np.swapaxes(found[:, :3, :3], 1, 2)).magnitude()
    return float(np.sqrt((shift**2).sum(-1).mean())), float(np.rad2deg(np.sqrt((turn**2).mean())))


def _cross_matrix(v: Float[Array, "3"]) -> Float[Array, "3 3"]:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def recovered(run: Run, wrong: SceneData, smooth: SceneData, log: SceneData) -> dict[str, float]:
    """Return the errors of the cameras as given in `wrong`, in `smooth` that the run began with, and as learnt.

    "metres_any_scale" are those that are left in position if a change of scale counts for nothing either.
    """
    poses = lambda scene: np.stack([f.world_from_camera for f in scene.frames if f.split == "train"])
    found = {"before": poses(wrong), "smooth": poses(smooth), "after": learnt_poses(run, smooth)}
    errors = {name: pose_errors(value, poses(log)) for name, value in found.items()}
    figures = {f"{unit}_{name}": e[i] for name, e in errors.items() for i, unit in enumerate(("metres", "degrees"))}
    shapes = {
        f"metres_any_scale_{name}": pose_errors(value, poses(log), scale=True)[0] for name, value in found.items()
    }
    return figures | shapes


def table(rows: Mapping[int, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the figures of all streets as Markdown, with mean and spread."""
    cases = list(next(iter(rows.values())))
    columns = [(case, name) for case in cases for name in next(iter(rows.values()))[case]]
    values = np.array([[row[case][name] for case, name in columns] for row in rows.values()], float)
    line = lambda cells: "| " + " | ".join(cells) + " |"
    head = [line(["street", *(f"{case}: {name.replace('_', ' ')}" for case, name in columns)])]
    spread = values.std(0, ddof=1) if len(values) > 1 else np.zeros(len(columns))
    body = [line([str(seed), *(f"{v:.3f}" for v in row)]) for seed, row in zip(rows, values, strict=True)]
    last = line(["mean", *(f"{m:.3f} +- {s:.3f}" for m, s in zip(values.mean(0), spread, strict=True))])
    return "\n".join([*head, line(["---"] * (len(columns) + 1)), *body, last])

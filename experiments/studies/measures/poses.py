"""Measures of the study of pose refinement: errors of camera poses up to a rigid motion."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ff_jax.data.recording import train_frames
from ff_jax.data.scene_data import Frame, SceneData, invert_rigid
from ff_jax.pipeline.config import FuseConfig
from ff_jax.render.rigid import apply_delta
from ff_jax.scene import Scene

METERS_PER_RADIAN = 5.73  # 20 cm and 2 degrees, or 3 cm and 0.3 degrees, have equal weight

Array = np.ndarray


def with_pose_refinement(config: FuseConfig, *, rate: float, coarse: float, path: float) -> FuseConfig:
    """Enable refinement of camera poses (`OptimConfig.poses`, `LossConfig.coarse` and `camera_path`).

    LiDAR depth is off: it is projected with the recorded poses and would keep their errors.
    """
    recon = config.recon
    optim = dataclasses.replace(recon.optim, poses=rate)
    loss = dataclasses.replace(recon.loss, coarse=coarse, camera_path=path, depth=0.0)
    return dataclasses.replace(config, recon=dataclasses.replace(recon, optim=optim, loss=loss))


def perturb_poses(log: SceneData, meters: float, degrees: float, rng: np.random.Generator) -> SceneData:
    """Add random errors of this size (root mean square) to the camera poses."""

    def perturb(frame: Frame) -> Frame:
        motion = np.eye(4)
        motion[:3, :3] = Rotation.from_rotvec(rng.normal(0, np.deg2rad(degrees) / np.sqrt(3), 3)).as_matrix()
        motion[:3, 3] = rng.normal(0, meters / np.sqrt(3), 3)
        return dataclasses.replace(frame, world_from_camera=frame.world_from_camera @ motion)

    return dataclasses.replace(log, frames=tuple(map(perturb, log.frames)))


def refined_poses(scene: Scene, log: SceneData) -> Float[Array, "F 4 4"]:
    """Apply the corrections of a scene to world_from_camera of the training frames."""
    cameras = [jnp.asarray(invert_rigid(f.world_from_camera), jnp.float32) for f in train_frames(log)]
    moved = [apply_delta(delta, pose) for delta, pose in zip(scene.params.poses, cameras, strict=True)]
    return invert_rigid(np.asarray(jnp.stack(moved), float))


def pose_errors(
    poses: Float[Array, "F 4 4"], truth: Float[Array, "F 4 4"], *, use_scale: bool = False
) -> tuple[float, float]:
    """Compute the root mean square error of poses in meters and degrees, after alignment by one rigid motion.

    A reconstruction may move as a whole, cameras and scene together. The motion is that of least squares over
    positions and orientations, where a radian counts as `METERS_PER_RADIAN` meters.

    Args:
        poses: world_from_camera.
        truth: true world_from_camera.
        use_scale: align the scale as well, which images alone do not determine.
    """
    poses, center = poses.copy(), truth[:, :3, 3].mean(0)
    for _ in range(5):
        shift = truth[:, :3, 3] - poses[:, :3, 3]
        turn = Rotation.from_matrix(truth[:, :3, :3] @ np.swapaxes(poses[:, :3, :3], 1, 2)).as_rotvec()
        offset = poses[:, :3, 3] - center
        growth = offset if use_scale else np.zeros_like(offset)
        rows = [
            np.block([[-_cross_matrix(a), np.eye(3), g[:, None]], [METERS_PER_RADIAN * np.eye(3), np.zeros((3, 4))]])
            for a, g in zip(offset, growth, strict=True)
        ]
        residuals = np.concatenate(
            [np.concatenate([s, METERS_PER_RADIAN * t]) for s, t in zip(shift, turn, strict=True)]
        )
        step = np.linalg.lstsq(np.concatenate(rows), residuals, rcond=None)[0]
        rotation = Rotation.from_rotvec(step[:3]).as_matrix()
        poses[:, :3, :3] = rotation @ poses[:, :3, :3]
        poses[:, :3, 3] = (1 + step[6]) * offset @ rotation.T + center + step[3:6]
    shift = truth[:, :3, 3] - poses[:, :3, 3]
    turn = Rotation.from_matrix(truth[:, :3, :3] @ np.swapaxes(poses[:, :3, :3], 1, 2)).magnitude()
    return float(np.sqrt((shift**2).sum(-1).mean())), float(np.rad2deg(np.sqrt((turn**2).mean())))


def _cross_matrix(v: Float[Array, "3"]) -> Float[Array, "3 3"]:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def refinement_errors(scene: Scene, wrong: SceneData, smooth: SceneData, log: SceneData) -> dict[str, float]:
    """Measure the errors of the cameras of `wrong`, of `smooth` (the start of training), and after refinement.

    "meters_any_scale" is the error of positions after alignment that includes the scale.

    Args:
        scene: trained on `smooth`.
        wrong: with errors.
        smooth: `wrong` after smoothing.
        log: without errors.
    """

    def training_poses(log: SceneData) -> Float[Array, "F 4 4"]:
        return np.stack([frame.world_from_camera for frame in train_frames(log)])

    truth = training_poses(log)
    poses = {"before": training_poses(wrong), "smooth": training_poses(smooth), "after": refined_poses(scene, smooth)}
    errors = {name: pose_errors(value, truth) for name, value in poses.items()}
    figures = {f"{unit}_{name}": e[i] for name, e in errors.items() for i, unit in enumerate(("meters", "degrees"))}
    shapes = {f"meters_any_scale_{name}": pose_errors(value, truth, use_scale=True)[0] for name, value in poses.items()}
    return figures | shapes

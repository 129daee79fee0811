"""Ways to reconstruct a log badly, so that fixers can learn from the frames that were left out.

Time steps or whole cameras are left out, poses are disturbed, and the number of Gaussians is cut. `street_pairs`
renders the frames that were left out at several stages of each reconstruction.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.pipeline.config import FuseConfig

_ONE_CAMERA, _RIG = (2, 4, 6), (3, 6)  # one time step of so many is recorded
_TURN = 0.0015  # radians, about 1 pixel
_MOVE = 0.015  # meters, or units of the log


@dataclasses.dataclass(frozen=True)
class DegradedLog:
    """One way to reconstruct a log badly.

    Attributes:
        name: of the way.
        recorded: frames that it is reconstructed from.
        rendered: frames that were left out.
        gaussians: share of the usual number of Gaussians.
        is_disturbed: whether the poses of the recorded frames are disturbed.
    """

    name: str
    recorded: tuple[Frame, ...]
    rendered: tuple[Frame, ...]
    gaussians: float = 1.0
    is_disturbed: bool = False


def degraded_logs(log: SceneData, num_views: int) -> list[DegradedLog]:
    """List the ways to reconstruct a log badly: by time steps, and by cameras if there are several.

    Every second way also has few Gaussians, and another one disturbed poses.

    Args:
        log: the driving log; all its frames are used.
        num_views: at most so many of the frames that were left out are rendered, evenly spaced.
    """
    steps = sorted({frame.time_index for frame in log.frames})
    places = {step: place for place, step in enumerate(steps)}
    strides = _RIG if len(log.cameras) > 1 else _ONE_CAMERA
    splits = {f"every-{n}": [places[f.time_index] % n == 0 for f in log.frames] for n in strides if 2 * n <= len(steps)}
    if len(log.cameras) > 1:
        splits |= {f"without-{name}": [f.camera != name for f in log.frames] for name in log.cameras}
    ways = []
    for number, (name, is_recorded) in enumerate(splits.items()):
        pairs = list(zip(log.frames, is_recorded, strict=True))
        rendered = _spaced([frame for frame, kept in pairs if not kept], num_views)
        gaussians = (1.0, 0.25)[number % 2]
        recorded = tuple(frame for frame, kept in pairs if kept)
        ways.append(DegradedLog(name, recorded, rendered, gaussians, is_disturbed=number % 3 == 2))
    return ways


def reconstruction_of(way: DegradedLog, config: FuseConfig, seed: int) -> tuple[FuseConfig, tuple[Frame, ...]]:
    """Return the settings and the recorded frames of a bad reconstruction."""
    recon = dataclasses.replace(config.recon, budget=round(way.gaussians * config.recon.budget))
    frames = disturbed(way.recorded, seed) if way.is_disturbed else way.recorded
    return dataclasses.replace(config, recon=recon), frames


def disturbed(frames: Sequence[Frame], seed: int) -> tuple[Frame, ...]:
    """Turn and move the cameras of frames a little, each at random."""
    rng = np.random.default_rng(seed)

    def disturb(frame: Frame) -> Frame:
        change = np.eye(4)
        change[:3, :3] = Rotation.from_rotvec(_TURN * rng.standard_normal(3)).as_matrix()
        change[:3, 3] = _MOVE * rng.standard_normal(3)
        return dataclasses.replace(frame, world_from_camera=frame.world_from_camera @ change)

    return tuple(disturb(frame) for frame in frames)


def _spaced(frames: Sequence[Frame], count: int) -> tuple[Frame, ...]:
    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return tuple(frames[place] for place in places)

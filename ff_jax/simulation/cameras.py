"""Convert cameras between the messages of the contract and those of a log."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.scene_data import Frame, SceneData, invert_rigid
from ff_jax.render.rolling_shutter import middle_and_motion
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.frames_of_reference import mean_pose, to_matrix, to_pose
from ff_jax.simulation.intrinsics import Intrinsics
from ff_jax.simulation.messages import message, number

COLUMNS = ("ROLLING_LEFT_TO_RIGHT", "ROLLING_RIGHT_TO_LEFT")
BACKWARDS = ("ROLLING_BOTTOM_TO_TOP", "ROLLING_RIGHT_TO_LEFT")  # the last line is read first
GLOBAL = ("UNKNOWN", "GLOBAL")

Array = np.ndarray


class Exposure(NamedTuple):
    """The pose of a camera while an image is exposed, as the renderer takes it."""

    local_from_camera: Float[Array, "4 4"]  # at the middle line, or at the end of the exposure without a motion
    motion: Float[Array, "6"] | None  # of camera_from_world from the first to the last line; None: all lines at once
    columns: bool  # lines are columns


class RigCamera(NamedTuple):
    """A camera of the vehicle of a log."""

    name: str
    intrinsics: Intrinsics
    shutter: str  # name of a `ShutterType`
    rig_from_camera: Float[Array, "4 4"]


def exposure_of(pair: Any, shutter: int) -> Exposure:
    """Read the poses of the lines of an image.

    Args:
        pair: `PosePair` message, camera in the local frame at the start and at the end of the exposure. A missing one
            is equal to the other.
        shutter: a `ShutterType`. Without rolling, all lines have the pose at the end: an image belongs to the time at
            which its shutter closes.

    Raises:
        RequestError: there is no pose, or one is invalid.
    """
    if not pair.HasField("start_pose") and not pair.HasField("end_pose"):
        raise RequestError("invalid sensor_pose: expected start_pose and end_pose, the camera in the local frame.")
    end = to_matrix(pair.end_pose if pair.HasField("end_pose") else pair.start_pose, "sensor_pose.end_pose")
    start = to_matrix(pair.start_pose if pair.HasField("start_pose") else pair.end_pose, "sensor_pose.start_pose")
    name = next((n for n in (*GLOBAL, *COLUMNS, *BACKWARDS, "ROLLING_TOP_TO_BOTTOM") if _shutter(n) == shutter), None)
    if name is None:
        raise RequestError(f"invalid shutter_type={shutter}: expected 0 to 5.")
    if name in GLOBAL or np.array_equal(start, end):
        return Exposure(end, None, columns=False)
    first, last = (end, start) if name in BACKWARDS else (start, end)
    return Exposure(*middle_and_motion(first, last), columns=name in COLUMNS)


def _shutter(name: str) -> int:
    return number("ShutterType", name)


def rig_cameras(log: SceneData) -> dict[str, RigCamera]:
    """Collect the cameras of a log by name; their poses on the vehicle are means over their frames."""
    return {name: _rig_camera([frame for frame in log.frames if frame.camera == name], log) for name in log.cameras}


def _rig_camera(frames: list[Frame], log: SceneData) -> RigCamera:
    first = frames[0]
    poses = [invert_rigid(log.world_from_ego[f.time_index]) @ f.world_from_camera for f in frames]
    if first.readout is None:
        shutter = "GLOBAL"
    else:
        shutter = "ROLLING_LEFT_TO_RIGHT" if first.readout.columns else "ROLLING_TOP_TO_BOTTOM"
    intrinsics = Intrinsics(np.asarray(first.K, np.float64), first.width, first.height)
    return RigCamera(first.camera, intrinsics, shutter, mean_pose(np.stack(poses)))


def to_available_camera(camera: RigCamera) -> Any:
    """Make the `AvailableCamera` message of a camera."""
    K, width, height, _ = camera.intrinsics
    lens = {"focal_length_x": K[0, 0], "focal_length_y": K[1, 1]}
    lens |= {"principal_point_x": K[0, 2], "principal_point_y": K[1, 2]}
    spec = message("CameraSpec")(
        logical_id=camera.name,
        resolution_w=width,
        resolution_h=height,
        shutter_type=_shutter(camera.shutter),
        opencv_pinhole_param={name: float(value) for name, value in lens.items()},
    )
    return message("AvailableCamerasReturn.AvailableCamera")(
        intrinsics=spec, rig_to_camera=to_pose(camera.rig_from_camera), logical_id=camera.name
    )

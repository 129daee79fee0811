"""Convert cameras between the messages of the contract and those of a log."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.scene_data import Frame, SceneData, invert_rigid
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.frames_of_reference import mean_pose, middle_and_motion, to_matrix, to_pose
from ff_jax.simulation.messages import message, number

MAX_FOCAL = 1e3  # focal lengths, in image sides; 1 / MAX_FOCAL is the smallest
COLUMNS = ("ROLLING_LEFT_TO_RIGHT", "ROLLING_RIGHT_TO_LEFT")
BACKWARDS = ("ROLLING_BOTTOM_TO_TOP", "ROLLING_RIGHT_TO_LEFT")  # the last line is read first
GLOBAL = ("UNKNOWN", "GLOBAL")

Array = np.ndarray


class Intrinsics(NamedTuple):
    """The lens of a camera, for a sensor of a size."""

    K: Float[Array, "3 3"]  # pixels; pixel centers at .5
    width: int  # pixels
    height: int

    def scaled(self, width: int, height: int) -> "Intrinsics":
        """Scale to an image of `width` x `height` pixels of the same field of view."""
        return Intrinsics(np.diag([width / self.width, height / self.height, 1.0]) @ self.K, width, height)


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


def intrinsics_of(spec: Any) -> Intrinsics | None:
    """Read the lens of a `CameraSpec` message; None if it has none.

    Raises:
        RequestError: the lens is not supported, or a number is out of range.
    """
    kind = spec.WhichOneof("camera_param")
    if spec.WhichOneof("external_distortion"):
        raise RequestError("windshield distortion is not supported: leave external_distortion empty.", "UNIMPLEMENTED")
    if kind is None:
        return None
    lens = getattr(spec, kind)
    if kind != "opencv_pinhole_param":
        raise RequestError(f"{kind} is not supported: expected opencv_pinhole_param.", "UNIMPLEMENTED")
    if any((*lens.radial_coeffs, *lens.tangential_coeffs, *lens.thin_prism_coeffs)):
        raise RequestError("lens distortion is not supported: expected coefficients of 0.", "UNIMPLEMENTED")
    return _pinhole(lens, spec.resolution_w, spec.resolution_h)


def _pinhole(lens: Any, width: int, height: int) -> Intrinsics:
    """Check and read an `OpenCVPinholeCameraParam` message."""
    if width < 1 or height < 1:
        raise RequestError(f"invalid camera_intrinsics: resolution {width} x {height}, expected that of the sensor.")
    for name, size in (("x", width), ("y", height)):
        focal, center = getattr(lens, f"focal_length_{name}"), getattr(lens, f"principal_point_{name}")
        if not size / MAX_FOCAL <= focal <= size * MAX_FOCAL:  # true for NaN
            raise RequestError(f"invalid focal_length_{name}={focal:g}: expected pixels, of a side of {size}.")
        if not abs(center) <= size * MAX_FOCAL:
            raise RequestError(f"invalid principal_point_{name}={center:g}: expected pixels, of a side of {size}.")
    K = np.diag([lens.focal_length_x, lens.focal_length_y, 1.0])
    K[:2, 2] = lens.principal_point_x, lens.principal_point_y
    return Intrinsics(K, width, height)


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
    K, width, height = camera.intrinsics
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

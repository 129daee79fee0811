"""Ask a server of scenes for the images of its recorded drive, and summarize how fast they come."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ff_jax.simulation.frames_of_reference import to_matrix, to_pose
from ff_jax.simulation.messages import message, number


class Answered(NamedTuple):
    """One call that was answered."""

    end: float  # seconds since the start of the row
    seconds: float
    num_bytes: int


class RecordedDrive:
    """The requests of clients that follow the recorded drive of a scene."""

    def __init__(self, client: Any, scene_id: str):
        """Ask for the cameras and the drive of a scene; "" is the first one."""
        self.scene_id = scene_id or client.call("get_available_scenes").scene_ids[0]
        cameras = client.call("get_available_cameras", message("AvailableCamerasRequest")(scene_id=self.scene_id))
        drives = client.call(
            "get_available_trajectories", message("AvailableTrajectoriesRequest")(scene_id=self.scene_id)
        )
        self.cameras = list(cameras.available_cameras)
        self.poses = list(drives.available_trajectories[0].trajectory.poses)

    def request(self, index: int, size: tuple[int, int], encoding: str, camera: int = 0) -> Any:
        """Make the request of the camera at the recorded pose of an index, repeated from the start."""
        moment, mounted = self.poses[index % len(self.poses)], self.cameras[camera]
        pose = to_pose(to_matrix(moment.pose, "rig") @ to_matrix(mounted.rig_to_camera, "rig_to_camera"))
        return message("RGBRenderRequest")(
            scene_id=self.scene_id,
            resolution_w=size[0],
            resolution_h=size[1],
            camera_intrinsics=mounted.intrinsics,
            frame_start_us=moment.timestamp_us,
            frame_end_us=moment.timestamp_us,
            sensor_pose=message("PosePair")(start_pose=pose, end_pose=pose),
            image_format=number("ImageFormat", encoding),
        )

    def call(self, client: Any, name: str, index: int, size: tuple[int, int], encoding: str) -> tuple[int, int]:
        """Make one call; return the numbers of images and of bytes of its answer.

        Raises:
            ValueError: an image of a batch failed.
        """
        if name != "batch_render_rgb":
            return 1, client.call(name, self.request(index, size, encoding)).ByteSize()
        item = message("BatchRGBRenderRequestItem")
        requests = [self.request(index, size, encoding, camera) for camera in range(len(self.cameras))]
        items = [item(camera_name=str(number), request=request) for number, request in enumerate(requests)]
        answer = client.call(name, message("BatchRGBRenderRequest")(items=items))
        if failed := [one.error_message for one in answer.items if not one.success]:
            raise ValueError(f"an image of a batch failed: {failed[0]}")
        return len(items), answer.ByteSize()


def figures(answers: Sequence[Answered], images: int) -> dict[str, float]:
    """Summarize answered calls with `images` images each."""
    ends, times = np.array([a.end for a in answers]), np.array([a.seconds for a in answers])
    last = ends > 0.75 * ends.max()
    return {
        "frames_per_s": images * len(answers) / float(ends.max()),
        "last_quarter_frames_per_s": images * int(last.sum()) / (0.25 * float(ends.max())),
        "median_ms": 1e3 * float(np.median(times)),
        "p99_ms": 1e3 * float(np.percentile(times, 99)),
        "megabytes_per_s": 1e-6 * sum(a.num_bytes for a in answers) / float(ends.max()),
    }

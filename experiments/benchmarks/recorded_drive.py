"""Ask a server of scenes for the images of its recorded drive, and summarize how fast they come."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ff_jax.simulation.frames_of_reference import to_matrix, to_pose
from ff_jax.simulation.messages import message, number

FIGURES = ("frames_per_s", "last_quarter_frames_per_s", "median_ms", "p90_ms", "p99_ms", "max_ms", "megabytes_per_s")


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


class Work(NamedTuple):
    """One kind of call along the drive."""

    drive: RecordedDrive
    name: str  # render_rgb, batch_render_rgb with all cameras, or render_trust
    size: tuple[int, int]  # (width, height), pixels
    encoding: str

    def answer(self, client: Any, index: int) -> bytes:
        """Make the call at the recorded pose of an index; return its answer, serialized; errors as in `call`."""
        return self._call(client, index).SerializeToString(deterministic=True)

    def call(self, client: Any, index: int) -> tuple[int, int]:
        """Make the call at the recorded pose of an index; return the numbers of images and of bytes of its answer.

        Raises:
            grpc.RpcError: the call ended with a status code.
            ValueError: an image of a batch failed.
        """
        return (len(self.drive.cameras) if self.is_batch else 1), self._call(client, index).ByteSize()

    @property
    def is_batch(self) -> bool:
        """Return whether a call has several images."""
        return self.name == "batch_render_rgb"

    def _call(self, client: Any, index: int) -> Any:
        if not self.is_batch:
            return client.call(self.name, self.drive.request(index, self.size, self.encoding))
        item = message("BatchRGBRenderRequestItem")
        requests = [self.drive.request(index, self.size, self.encoding, i) for i in range(len(self.drive.cameras))]
        items = [item(camera_name=str(number), request=request) for number, request in enumerate(requests)]
        answer = client.call(self.name, message("BatchRGBRenderRequest")(items=items))
        if failed := [one.error_message for one in answer.items if not one.success]:
            raise ValueError(f"an image of a batch failed: {failed[0]}")
        return answer


def figures(answers: Sequence[Answered], images: int) -> dict[str, float]:
    """Summarize answered calls with `images` images each; zeros if none was answered."""
    ends, times = np.array([a.end for a in answers]), np.array([a.seconds for a in answers])
    if not len(ends):
        return dict.fromkeys(FIGURES, 0.0)
    last = ends > 0.75 * ends.max()
    values = (
        images * len(answers) / float(ends.max()),
        images * int(last.sum()) / (0.25 * float(ends.max())),
        *(1e3 * np.percentile(times, [50, 90, 99, 100])),
        1e-6 * sum(a.num_bytes for a in answers) / float(ends.max()),
    )
    return dict(zip(FIGURES, map(float, values), strict=True))

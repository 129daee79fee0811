"""Write a small segment of Waymo Perception, version 1, in the layout of dataset.proto."""

import io
import zlib
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from experiments.studies.measures.robustness.writers.protobuf import encode
from ff_jax.data.formats.waymo_messages import FRAME, MATRIX

ORIGIN = np.array([-12_000.0, 34_000, 55])  # the worlds of real segments are tens of kilometers from theirs
OFFSET = np.array([0.3, -0.2, 0.1])

Array = np.ndarray


def rotation(roll: float, pitch: float, yaw: float) -> Float[Array, "4 4"]:
    """Turn about x, then y, then z (rad)."""

    def about(axis: int, angle: float) -> Float[Array, "4 4"]:
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        matrix = np.eye(4)
        matrix[i, i] = matrix[j, j] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        return matrix

    return about(2, yaw) @ about(1, pitch) @ about(0, roll)


def vehicle(values: Any) -> Float[Array, "4 4"]:
    """Make a pose of roll, pitch, yaw (rad), x, y, z (m)."""
    matrix = rotation(*values[:3])
    matrix[:3, 3] = values[3:]
    return matrix


def transform(matrix: Float[Array, "4 4"]) -> dict[str, Any]:
    """Make the message of a pose."""
    return {"transform": matrix.ravel()}


def matrix_bytes(values: Float[Array, "..."]) -> bytes:
    """Encode a range image."""
    return zlib.compress(encode({"data": values.ravel(), "shape": {"dims": values.shape}}, MATRIX, packed=True))


def jpeg(rng: np.random.Generator) -> bytes:
    """Encode a picture of 24 x 16 random pixels."""
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8)).save(buffer, "jpeg")
    return buffer.getvalue()


class Segment:
    """A segment of three frames with two cameras and two lasers, in the layout of dataset.proto."""

    def __init__(self, rng: np.random.Generator):
        """Draw everything that the segment holds."""
        self.poses = [
            vehicle([*rng.normal(0, 0.02, 2), 0.1 * i, *ORIGIN + np.array([2.0 * i, 0, 0])]) for i in range(3)
        ]
        self.extrinsics = {1: vehicle([0, 0.01, 2.5, 1.4, 0, 2.2]), 2: vehicle([0, 0, 0.02, 4, 0, 0.7])}
        self.camera = vehicle([0.01, 0.02, 0.3, 1.5, 0.1, 2])
        self.inclinations = np.sort(rng.uniform(-0.3, 0.05, 4))
        self.images = {k: rng.uniform(-0.5, 40, (4, 9, 4)).astype(np.float32) for k in (1, 2)}
        self.second = np.where(rng.random((4, 9, 4)) < 0.5, rng.uniform(1, 40, (4, 9, 4)), 0).astype(np.float32)
        self.pixel = np.concatenate([rng.normal(0, 0.02, (4, 9, 3)), rng.normal(0, 3, (4, 9, 3)) + ORIGIN], -1)
        self.pixel = self.pixel.astype(np.float32)
        self.jpegs = [jpeg(rng) for _ in range(6)]
        self.line = rng.normal(size=(3, 3)) * 10 + ORIGIN
        names = ("v_x", "v_y", "v_z", "w_x", "w_y", "w_z")
        speed = [*rng.normal(0, 8, 3).astype(np.float32).tolist(), *rng.normal(0, 0.3, 3).tolist()]
        self.velocity = dict(zip(names, speed, strict=True))
        self.times = {"exposure": 0.002, "trigger": 100.0, "done": 100.05}

    def laser_calibration(self, name: int) -> dict[str, Any]:
        """Make the calibration of a laser."""
        common = {"name": name, "extrinsic": transform(self.extrinsics[name])}
        if name == 1:
            return common | {"inclinations": self.inclinations}
        return common | {"inclination_min": -1.2, "inclination_max": 0.4}

    def lasers(self) -> list[dict[str, Any]]:
        """Make the range images of both lasers."""
        top = {"ranges": matrix_bytes(self.images[1]), "poses": matrix_bytes(self.pixel)}
        return [
            {"name": 1, "first": top, "second": {"ranges": matrix_bytes(self.second)}},
            {"name": 2, "first": {"ranges": matrix_bytes(self.images[2])}},
        ]

    def record(self, index: int) -> bytes:
        """Encode a frame."""
        intrinsic = [20.0, 21, 12, 8, 0.01, 0.02, 0.001, 0.002, 0.003]
        calibration = {"intrinsic": intrinsic, "extrinsic": transform(self.camera), "width": 24, "height": 16}
        calibration["direction"] = 4  # right to left
        lidar_points = self.poses[index] @ vehicle([0, 0, 0, 0.5, 0, 0])
        box = dict(center_x=9.0, center_y=index, center_z=1, width=2, length=4.5, height=1.6, heading=0.4)
        images = [
            {
                "name": k,
                "jpeg": self.jpegs[2 * index + k - 1],
                "pose": transform(lidar_points),
                "time": 100.04 + 0.1 * index,
            }
            | {"velocity": self.velocity, **self.times}
            for k in (2, 1)
        ]
        message = {
            "context": {
                "name": "made",
                "cameras": [calibration | {"name": k} for k in (1, 2)],
                "lasers": [self.laser_calibration(k) for k in (1, 2)],
            },
            "micros": 100_000_000 + 100_000 * index,
            "pose": transform(self.poses[index]),
            "images": images,
            "lasers": self.lasers(),
            "labels": [{"box": box, "type": 1, "id": "car", "points": 30, "top_points": 12}],
            "map_offset": dict(zip("xyz", OFFSET, strict=True)),
        }
        points = {"points": [dict(zip("xyz", p, strict=True)) for p in self.line + OFFSET]}
        if index == 0:
            message["features"] = [{"lane_line": points}, {"road_edge": points}, {"crosswalk": points}]
        return encode(message, FRAME)

"""Read one frame of the Waymo Open Dataset: a folder with a `frame.json` and its five images.

The file holds, for every camera, K, the distortion (OpenCV k1, k2, p1, p2, k3) and `c2ego`; `ego2world`; 3D boxes in
the vehicle frame (x forward, y left, z up); and 2D boxes, which are not read. Image coordinates of Waymo's camera model
are 0 at the left edge of the image and its width at the right edge, so pixel centers are at .5 and the principal point
is unchanged. The log is far from the origin of Waymo's world, so the world is moved to the vehicle.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from ff_jax.data.lazy_arrays import ImageFile, read_object
from ff_jax.data.paths import inside
from ff_jax.data.scene_data import Box, Frame, SceneData
from ff_jax.runtime.untrusted_files import reason

CATEGORIES = {"TYPE_VEHICLE": "vehicle", "TYPE_PEDESTRIAN": "pedestrian", "TYPE_CYCLIST": "cyclist"}


def load(path: Path) -> SceneData:
    """Read the frame in folder `path` as a log of one time step; no image is decoded.

    Boxes of signs have the category "other". Images are undistorted on load.

    Raises:
        ValueError: frame.json is missing, broken or of another kind.
    """
    index = read_object(path / "frame.json", "cameras")
    try:
        return _scene(path, index)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path}/frame.json is not a Waymo frame ({reason(repr(error))}); restore the file."
        ) from error


def _scene(path: Path, index: dict) -> SceneData:
    world_from_ego = np.array(index["ego2world"], float)
    world_from_ego[:3, 3] = 0
    return SceneData(
        name=index["segment"],
        source="Waymo Open Dataset, one frame, 5 cameras",
        license="Waymo Dataset License Agreement for Non-Commercial Use",
        times=np.zeros(1),
        world_from_ego=world_from_ego[None],
        frames=tuple(_frame(path, record, i, world_from_ego) for i, record in enumerate(index["cameras"])),
        boxes=tuple(_box(record, world_from_ego) for record in index["boxes3d"]),
    )


def _frame(path: Path, record: dict, number: int, world_from_ego: Float[np.ndarray, "4 4"]) -> Frame:
    return Frame(
        camera=record["cam"],
        time_index=0,
        time=0.0,
        K=np.array(record["K"], float),
        world_from_camera=world_from_ego @ np.array(record["c2ego"], float),
        width=record["w"],
        height=record["h"],
        image=ImageFile(inside(path, record["file"])),
        distortion=np.array(record["dist_k1k2p1p2k3"], float),
        exposure_id=number,
    )


def _box(record: dict, world_from_ego: Float[np.ndarray, "4 4"]) -> Box:
    cos, sin = np.cos(record["heading"]), np.sin(record["heading"])
    ego_from_object = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    ego_from_object[:3, 3] = record["center"]
    category = CATEGORIES.get(record["type"], "other")
    pose = world_from_ego @ ego_from_object
    return Box(record["id"], category, 0, pose, np.array(record["lwh"], float), record["points"])

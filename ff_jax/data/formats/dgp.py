"""Read a scene in the Dataset Governance Policy format of DDAD (https://github.com/TRI-ML/dgp): one scene folder.

The folder holds scene_*.json, calibration/, ontology/, bounding_box_3d/, rgb/ and point_cloud/. Every datum has its own
pose in the world. Boxes are read where the LiDAR has labels. Images are rectified, and the principal point is moved by
half a pixel, because the calibration has pixel centers at integers.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.common import pinhole, pose, start_at_vehicle
from ff_jax.data.lazy_arrays import ImageFile, Source, read_object
from ff_jax.data.paths import inside
from ff_jax.data.scene_data import Box, Frame, LidarSweep, SceneData, invert_rigid
from ff_jax.runtime.untrusted_files import read_npz, reason

DGP_CATEGORIES = {
    "Car": "vehicle",
    "Truck": "vehicle",
    "Bus": "vehicle",
    "Van/RV": "vehicle",
    "Caravan/RV": "vehicle",
    "Emergency Vehicle": "vehicle",
    "Other Vehicle - Uncommon": "vehicle",
    "Pedestrian": "pedestrian",
    "Person": "pedestrian",
    "Bicyclist": "cyclist",
    "Bicycle": "cyclist",
    "Motorcyclist": "cyclist",
    "Motorcycle": "cyclist",
}
CATEGORIES = DGP_CATEGORIES | {"Bus/RV/Caravan": "vehicle", "Trailer": "vehicle"}  # other ontologies
BOXES_3D = "1"  # key of this kind of annotation
FIELDS = ("X", "Y", "Z", "INTENSITY")

Array = np.ndarray


def load(path: Path) -> SceneData:
    """Read the scene in folder `path`; no image and no point is decoded.

    Raises:
        ValueError: the folder is not a DGP scene, or one of its files is missing or broken.
    """
    files = sorted(path.glob("scene_*.json"))
    if len(files) != 1:
        raise ValueError(f"{path} holds {len(files)} files scene_*.json; use the folder of one DGP scene.")
    index = read_object(files[0], "samples")
    try:
        return start_at_vehicle(_scene(path, index))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{files[0]} is not a DGP scene ({reason(repr(error))}); restore the file.") from error


def _scene(path: Path, index: dict) -> SceneData:
    data = {record["key"]: record for record in index["data"]}
    samples = sorted(index["samples"], key=lambda sample: sample["id"]["timestamp"])
    start = _time(samples[0])
    groups = [[data[key] for key in sample["datum_keys"]] for sample in samples]
    calibrations = [_calibration(path, sample["calibration_key"]) for sample in samples]
    names = _class_names(path, index)
    frames, sweeps, boxes = [], [], []
    for step, (group, calibration) in enumerate(zip(groups, calibrations, strict=True)):
        for record in group:
            if "image" in record["datum"]:
                K, _ = calibration[record["id"]["name"]]
                frames.append(_frame(path, step, record, K, (_time(record) - start).total_seconds(), len(frames)))
            elif "point_cloud" in record["datum"]:
                sweeps.append(_sweep(path, step, record))
                boxes += _boxes(path, step, record["datum"]["point_cloud"], names)
    return SceneData(
        name=path.name,
        source=f"DGP scene {index.get('name') or path.name}",
        license="CC BY-NC-SA 4.0 (DDAD)",
        times=np.array([(_time(sample) - start).total_seconds() for sample in samples]),
        world_from_ego=np.stack([_ego(*pair) for pair in zip(groups, calibrations, strict=True)]),
        frames=tuple(frames),
        sweeps=tuple(sweeps),
        boxes=tuple(boxes),
    )


def _frame(path: Path, step: int, record: dict, K: Float[Array, "3 3"], time: float, exposure: int) -> Frame:
    image = record["datum"]["image"]
    return Frame(
        camera=record["id"]["name"],
        time_index=step,
        time=time,
        K=K,
        world_from_camera=_pose(image["pose"]),
        width=image["width"],
        height=image["height"],
        image=ImageFile(inside(path, image["filename"])),
        exposure_id=exposure,
    )


def _sweep(path: Path, step: int, record: dict) -> LidarSweep:
    cloud = record["datum"]["point_cloud"]
    file, columns = inside(path, cloud["filename"]), [cloud["point_format"].index(field) for field in FIELDS]

    def compute() -> Float[Array, "N 4"]:
        return read_npz(file)["data"][:, columns].astype(np.float32)

    return LidarSweep(step, _pose(cloud["pose"]), Source(str(file), compute, file), record["id"]["name"])


def _boxes(path: Path, step: int, cloud: dict, names: dict[int, str]) -> list[Box]:
    if BOXES_3D not in cloud["annotations"]:
        return []
    labels = read_object(inside(path, cloud["annotations"][BOXES_3D]), "annotations")["annotations"]
    world_from_lidar = _pose(cloud["pose"])
    return [
        Box(
            track_id=str(label["instance_id"]),
            category=CATEGORIES.get(names[label["class_id"]], "other"),
            time_index=step,
            world_from_object=world_from_lidar @ _pose(label["box"]["pose"]),
            size=np.array([label["box"][key] for key in ("length", "width", "height")], float),
            num_points=label["num_points"],
        )
        for label in labels
    ]


def _class_names(path: Path, index: dict) -> dict[int, str]:
    key = index["ontologies"].get(BOXES_3D)
    items = read_object(inside(path, f"ontology/{key}.json"), "items")["items"] if key else []
    return {item["id"]: item["name"] for item in items}


def _calibration(path: Path, key: str) -> dict[str, tuple[Float[Array, "3 3"], Float[Array, "4 4"]]]:
    """Read K and ego_from_sensor of every sensor."""
    content = read_object(inside(path, f"calibration/{key}.json"), "names")
    sensors = zip(content["names"], content["intrinsics"], content["extrinsics"], strict=True)
    return {n: (pinhole(i["fx"], i["fy"], i["cx"] + 0.5, i["cy"] + 0.5), _pose(e)) for n, i, e in sensors}


def _ego(group: list[dict], calibration: dict) -> Float[Array, "4 4"]:
    """Compute world_from_ego of a sample, from its LiDAR if it has one."""
    record = min(group, key=lambda record: "point_cloud" not in record["datum"])
    (datum,) = record["datum"].values()
    _, ego_from_sensor = calibration[record["id"]["name"]]
    return _pose(datum["pose"]) @ invert_rigid(ego_from_sensor)


def _pose(record: dict) -> Float[Array, "4 4"]:
    rotation, translation = record["rotation"], record["translation"]
    quaternion = np.array([rotation[key] for key in ("qw", "qx", "qy", "qz")], float)
    return pose(quaternion, np.array([translation[key] for key in "xyz"], float))


def _time(record: dict) -> datetime:
    return datetime.fromisoformat(record["id"]["timestamp"])

"""Ways to break the folder of a good scene, and what opening the broken one says."""

import copy
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.studies.measures.robustness.outcomes import REPAIRED, RUNS, SENTENCE, Case
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData

NAN, INF = math.nan, math.inf
_BROKEN = "broken"  # name of the copy

Edit = Callable[[dict, Path], None]  # changes the content of scene.json, or files of the folder


class Fault(NamedTuple):
    """One way to break a scene."""

    name: str
    edit: Edit
    is_repaired: bool = False  # whether opening mends it, with a note


def cases(good: Path) -> Iterator[Case]:
    """Give the cases of all faults of a good scene folder."""
    for fault in faults():
        allowed = (REPAIRED,) if fault.is_repaired else (SENTENCE,)
        yield Case(fault.name, partial(_open_broken, good, fault), (_BROKEN,), allowed)


def _open_broken(good: Path, fault: Fault, folder: Path) -> str:
    """Break a copy of a good scene, open it, and decode what training would.

    Raises:
        ValueError: it is refused.
    """
    broken = folder / _BROKEN
    shutil.copytree(good, broken)
    content = json.loads((broken / "scene.json").read_text())
    before = json.dumps(content)
    fault.edit(content, broken)
    if json.dumps(content) != before:
        (broken / "scene.json").write_text(json.dumps(content))
    log = open_log(str(broken))
    for frame in log.frames:
        load_image(frame)
        for kind in frame.masks:
            load_mask(frame, kind)
    points = [sweep.load_world() for sweep in log.sweeps]
    return REPAIRED if fault.is_repaired and _is_sound(log, points) else RUNS


def _is_sound(log: SceneData, points: list[np.ndarray]) -> bool:
    """Test whether a repaired log has finite near points, dense exposures and a near origin."""
    positions = np.concatenate([log.world_from_ego[:, :3, 3], *points])
    ids = {frame.exposure_id for frame in log.frames}
    return bool(np.abs(positions).max() < 1e4) and ids == set(range(len(ids)))


def faults() -> Iterator[Fault]:
    """List all faults."""
    for parts in (_poses(), _cameras(), _frames(), _timeline(), _sweeps(), _objects(), _documents(), _files()):
        yield from parts
    yield from _repairable()


def _set(path: str, value: Any) -> Edit:
    """Make the edit that sets the entry at a path such as "frames.2.K.0.0" of scene.json."""

    def edit(content: Any, _: Path) -> None:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        for part in parents:
            content = content[part]
        content[last] = copy.deepcopy(value)

    return edit


def _values(path: str, *values: Any) -> Iterator[Fault]:
    for value in values:
        yield Fault(f"{path} = {str(value)[:40]}", _set(path, value))


def _poses() -> Iterator[Fault]:
    eye = np.eye(4)
    mirrored, scaled, row = eye.copy(), eye.copy(), eye.copy()
    mirrored[1, 1], row[3, 0] = -1, 1
    scaled[:3, :3] *= 2
    whole = [np.zeros((4, 4)), mirrored, scaled, row, np.full((4, 4), NAN)]
    for pose in ("frames.2.world_from_camera", "world_from_ego.1", "sweeps.1.world_from_lidar"):
        yield from _values(f"{pose}.0.3", NAN, INF, -1e30, 5e6, None, "x")
        yield from _values(pose, *(matrix.tolist() for matrix in whole), eye[:3].tolist(), [], None)
    yield from _values("boxes.0.world_from_object.0.3", NAN, INF, -1e30, 5e6, None, "x")
    yield from _values("boxes.0.world_from_object", *(matrix.tolist() for matrix in whole), [], None)


def _cameras() -> Iterator[Fault]:
    for entry in ("frames.2.K.0.0", "frames.2.K.1.1"):
        yield from _values(entry, -38, 0, NAN, INF, 1e9, 1e-9, None, "38")
    yield from _values("frames.2.K.0.1", 5, NAN)
    yield from _values("frames.2.K.1.0", 5)
    yield from _values("frames.2.K.2.2", 2, 0)
    yield from _values("frames.2.K.0.2", -5, 1e6, NAN)
    yield from _values("frames.2.K", None, [], [[1, 2], [3, 4]], 38)
    bent = (
        [NAN, 0, 0, 0, 0],
        [50, 0, 0, 0, 0],
        [-50, 0, 0, 0, 0],
        [0, 0, INF, 0, 0],
        [0, 0, 30, 0, 0],
        [0.1] * 3,
        [[1]],
    )
    yield from _values("frames.2.distortion", *bent, "none", 5)
    motions = ([NAN] * 6, [0, 0, 0, 1e4, 0, 0], [9, 0, 0, 0, 0, 0], [0] * 3, None)
    for motion in motions:
        yield Fault(f"readout {motion}", _set("frames.2.readout", {"motion": motion, "lines": "rows"}))
    yield from _values("frames.2.readout", {"motion": [0] * 6, "lines": "diagonal"}, 7)


def _frames() -> Iterator[Fault]:
    yield from _values("frames.2.time", NAN, INF, 1e9, -50, "0", None, 10**400)
    yield from _values("frames.2.time_index", 99, -1, 1.5, "1", None, 10**30)
    yield from _values("frames.2.split", "validation", "", "Train", None, 1)
    yield from _values("frames.2.camera", "", "  ", "a\nb", "\0", "x" * 500, 7, None)
    yield from _values("frames.2.exposure_id", -1, -(10**9), 1.5, "0", None)
    yield from _values("frames.2.width", 0, -3, 5, 10**9, 1.5, "64", None)
    yield from _values("frames.2.height", 0, -3, 5, 10**9)
    yield from _values(
        "frames.2.image", "gone.png", "", "../x.png", "/etc/passwd", 7, None, "scene.json", "images", "a\0b"
    )
    yield from _values(
        "frames.2.masks", {"ego": "m.png"}, {"sky": "gone.png"}, {"sky": "../x.png"}, ["sky"], {"sky": 5}
    )
    yield from _values("frames.2", 7, None, [], {})
    yield from _values("frames", [], 3, None, {})
    yield Fault("a frame twice", lambda c, _: c["frames"].append(c["frames"][2]))
    yield Fault("an image of two frames", lambda c, _: c["frames"][3].update(image=c["frames"][2]["image"]))
    yield Fault("only test frames", _hold_all_out)


def _hold_all_out(content: dict, _: Path) -> None:
    for frame in content["frames"]:
        frame["split"] = "test"


def _timeline() -> Iterator[Fault]:
    yield from _values("times.1", NAN, INF, -1, 1e9, "0", None)
    yield Fault("times reversed", lambda c, _: c["times"].reverse())
    yield Fault("equal times", lambda c, _: c.update(times=[0.0] * len(c["times"])))
    yield Fault("dates as times", lambda c, _: c.update(times=[1.7e9 + t for t in c["times"]]))
    yield Fault("one time less", lambda c, _: c["times"].pop())
    yield Fault("one pose less", lambda c, _: c["world_from_ego"].pop())
    yield from _values("times", [], None, 3, [[0.0]])


def _sweeps() -> Iterator[Fault]:
    yield from _values("sweeps.1.time_index", 99, -1, 1.5, None)
    yield from _values("sweeps.1.sensor", "", 7, "\n")
    yield from _values("sweeps.1.file", "gone.npz", "../x.npz", "", 7, "scene.json")
    yield from _values("sweeps.1", 7, {}, None)
    yield Fault("a sweep twice", lambda c, _: c["sweeps"].append(c["sweeps"][1]))
    arrays = {"without points": np.zeros((0, 3)), "of two columns": np.zeros((9, 2)), "of NaN": np.full((9, 3), NAN)}
    arrays |= {"of text": np.full((9, 3), "x"), "in millimeters": np.full((9, 3), 1e7), "of one number": np.array(3.0)}
    for name, array in arrays.items():
        yield Fault(
            f"a sweep {name}", lambda c, folder, array=array: np.savez(folder / c["sweeps"][1]["file"], xyz=array)
        )
    yield Fault("a sweep of another array", lambda c, folder: np.savez(folder / c["sweeps"][1]["file"], a=np.zeros(3)))

    def plain(content: dict, folder: Path) -> None:
        with (folder / content["sweeps"][1]["file"]).open("wb") as file:
            np.save(file, np.zeros((5, 3)))

    yield Fault("a sweep that is a plain .npy", plain)
    yield Fault("a sweep of bytes", lambda c, folder: _write(folder / c["sweeps"][1]["file"], b"PK\3\4" + bytes(99)))


def _objects() -> Iterator[Fault]:
    yield from _values("boxes.0.size.0", -1, 0, NAN, INF, 1e9, "4", None)
    yield from _values("boxes.0.size", [1, 2], None, 4)
    yield from _values("boxes.0.category", "car", "", None)
    yield from _values("boxes.0.track_id", "", 7, None)
    yield from _values("boxes.0.num_points", -7, 1.5, None)
    yield from _values("boxes.0.time_index", 99, -1, None)
    yield from _values("boxes.0", 7, {})
    yield Fault("a box twice", lambda c, _: c["boxes"].append(c["boxes"][0]))
    yield from _values("lanes.0.points.0.0", NAN, INF, 1e12, None)
    yield from _values("lanes.0.points", [], [[0, 0, 0]], [[0, 0]], 3)
    yield from _values("lanes.0.kind", "curb", "", None)
    for name, arrays in {
        "NaN": {"xyz": np.full((9, 3), NAN)},
        "1e30": {"xyz": np.full((9, 3), 1e30)},
        "two columns": {"xyz": np.zeros((9, 2))},
        "colors of 255": {"xyz": np.ones((9, 3)), "rgb": np.full((9, 3), 255.0)},
        "NaN colors": {"xyz": np.ones((9, 3)), "rgb": np.full((9, 3), NAN)},
        "two colors": {"xyz": np.ones((9, 3)), "rgb": np.ones((2, 3))},
        "no xyz": {"a": np.ones(3)},
    }.items():
        yield Fault(f"sparse points: {name}", lambda c, f, arrays=arrays: _sparse(c, f, arrays))
    yield from _values("points", "gone.npz", "../x.npz", 7, "scene.json")


def _sparse(content: dict, folder: Path, arrays: dict) -> None:
    content["points"] = "sparse.npz"
    np.savez(folder / "sparse.npz", **arrays)


def _documents() -> Iterator[Fault]:
    texts = {
        "nothing": "",
        "no JSON": "{",
        "a list": "[]",
        "text": '"x"',
        "nested": "[" * 200_000,
        "digits": "9" * 9999,
    }
    for name, text in texts.items():
        yield Fault(f"scene.json is {name}", lambda _, folder, text=text: _write(folder / "scene.json", text.encode()))
    yield Fault("scene.json of bytes", lambda _, folder: _write(folder / "scene.json", bytes(range(256))))
    for key in ("name", "source", "license"):
        yield from _values(key, 7, None)
    yield from _values("version", 2, "1", None)
    yield from _values("format", "other", None)
    for key in ("times", "world_from_ego", "name", "format"):
        yield Fault(f"without {key}", lambda c, _, key=key: c.pop(key) and None)


def _write(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def _files() -> Iterator[Fault]:
    def image(content: dict, folder: Path) -> Path:
        return folder / content["frames"][2]["image"]

    def fifo(content: dict, folder: Path) -> None:
        image(content, folder).unlink()
        os.mkfifo(image(content, folder))

    def link(content: dict, folder: Path) -> None:
        path = image(content, folder)
        outside = folder.with_suffix(".png")
        shutil.move(path, outside)
        path.symlink_to(outside)

    def bomb(content: dict, folder: Path) -> None:
        data = bytearray(image(content, folder).read_bytes())
        data[16:24] = (30_000).to_bytes(4, "big") * 2  # width and height of a PNG
        _write(image(content, folder), bytes(data))

    def smaller(content: dict, folder: Path) -> None:
        Image.new("RGB", (5, 4)).save(image(content, folder))

    yield Fault("an image that is a FIFO", fifo)
    yield Fault("an image that is a link out of the folder", link)
    yield Fault("an image of 30000 x 30000", bomb)
    yield Fault("an image of another size", smaller)
    yield Fault("an image that is missing", lambda c, folder: image(c, folder).unlink())
    yield Fault("an image of text", lambda c, folder: _write(image(c, folder), b"no image"))
    yield Fault("an empty image", lambda c, folder: _write(image(c, folder), b""))
    yield Fault(
        "half an image", lambda c, f: _write(image(c, f), image(c, f).read_bytes()[: image(c, f).stat().st_size // 2])
    )


def _repairable() -> Iterator[Fault]:
    for name, column, value in (("Inf", 0, INF), ("NaN", 1, NAN), ("1000 km", 2, 1e6)):

        def edit(content: dict, folder: Path, column: int = column, value: float = value) -> None:
            path = folder / content["sweeps"][1]["file"]
            arrays = dict(np.load(path))
            arrays["xyz"][3, column] = value
            np.savez(path, **arrays)

        yield Fault(f"a LiDAR point of {name}", edit, is_repaired=True)
    yield Fault("exposures of 1e9", _number_exposures, is_repaired=True)
    yield Fault("map coordinates", _to_map, is_repaired=True)


def _number_exposures(content: dict, _: Path) -> None:
    for number, frame in enumerate(content["frames"]):
        frame["exposure_id"] = 10**9 + 7 * number


def _to_map(content: dict, _: Path) -> None:
    content["points"] = None
    poses = [frame["world_from_camera"] for frame in content["frames"]] + content["world_from_ego"]
    poses += [sweep["world_from_lidar"] for sweep in content["sweeps"]]
    poses += [box["world_from_object"] for box in content["boxes"]]
    offset = (458_000.0, 5_429_000.0, 120.0)
    for pose in poses:
        for axis in range(3):
            pose[axis][3] += offset[axis]
    for lane in content["lanes"]:
        lane["points"] = (np.array(lane["points"]) + offset).tolist()

import json
from collections import Counter

import numpy as np
import pytest

from ff_jax.data import lazy_arrays
from ff_jax.data.formats import waymo_frame
from ff_jax.data.lenses import distort
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import invert_rigid, transform
from ff_jax.data.validate import validate

FOLDER = "data/waymo_1frame_5cam"


@pytest.fixture(scope="module")
def scene(assets):
    return waymo_frame.load(assets / FOLDER)


@pytest.mark.assets
def test_the_frame_is_valid_and_decodes_nothing_on_loading(assets, monkeypatch):
    files, decode = [], lazy_arrays._decode
    monkeypatch.setattr(lazy_arrays, "_decode", lambda path: files.append(path) or decode(path))
    scene = waymo_frame.load(assets / FOLDER)
    assert files == [] and "Non-Commercial" in scene.license
    assert validate(scene, decode=True) is scene and len(files) == 5
    assert scene.cameras == ("FRONT", "FRONT_LEFT", "SIDE_LEFT", "FRONT_RIGHT", "SIDE_RIGHT")
    assert scene.num_exposures == 5 and scene.times.tolist() == [0]
    assert Counter(box.category for box in scene.boxes) == dict(vehicle=37, other=25, pedestrian=12, cyclist=1)
    assert min(box.num_points for box in scene.boxes) >= 0


@pytest.mark.assets
def test_the_rig_looks_forward_and_to_the_sides_and_boxes_stand_on_the_ground(scene):
    ego_from_world = invert_rigid(scene.world_from_ego[0])
    views = {frame.camera: (ego_from_world @ frame.world_from_camera)[:3, 2] for frame in scene.frames}
    assert views["FRONT"][0] > 0.99 and views["SIDE_LEFT"][1] > 0.9 and views["SIDE_RIGHT"][1] < -0.9
    assert views["FRONT_LEFT"][1] > 0.5 and views["FRONT_RIGHT"][1] < -0.5
    vehicles = [box for box in scene.boxes if box.category == "vehicle"]
    feet = [transform(ego_from_world, box.world_from_object[None, :3, 3])[0, 2] - box.size[2] / 2 for box in vehicles]
    assert np.abs(np.median(feet)) < 0.5
    assert np.median([box.size[0] for box in vehicles]) > 4


@pytest.mark.assets
def test_boxes_in_the_distorted_image_are_where_people_drew_them(assets, scene):
    """Large vehicles that stand free, projected with Waymo's distortion, against the 2D boxes."""
    labels = json.loads((assets / FOLDER / "frame.json").read_text())["boxes2d"]
    compared = {}
    for camera, track_points in (("FRONT", 602), ("FRONT_LEFT", 11442), ("SIDE_LEFT", 11442), ("SIDE_RIGHT", 2931)):
        frame = next(frame for frame in scene.frames if frame.camera == camera)
        box = next(box for box in scene.boxes if box.num_points == track_points)
        signs = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), -1).reshape(-1, 3)
        corners = transform(invert_rigid(frame.world_from_camera) @ box.world_from_object, signs * box.size)
        pixels = distort(corners[:, :2] / corners[:, 2:], frame.distortion) @ frame.K[:2, :2] + frame.K[:2, 2]
        low, high = np.clip([pixels.min(0), pixels.max(0)], 0, [frame.width, frame.height])
        compared[camera] = max(iou_of(low, high, b) for b in labels[camera] if b["type"] == "TYPE_VEHICLE")
    assert min(compared.values()) > 0.65 and np.median(list(compared.values())) > 0.75, compared


def iou_of(low, high, labels):
    other = np.array([labels["cx"] - labels["w"] / 2, labels["cy"] - labels["h"] / 2])
    end = other + np.array([labels["w"], labels["h"]])
    shared = np.clip(np.minimum(high, end) - np.maximum(low, other), 0, None).prod()
    return shared / ((high - low).prod() + labels["w"] * labels["h"] - shared)


@pytest.mark.assets
def test_loading_undistorts(scene):
    frame = scene.frames[2]
    raw, image = frame.image.load(), load_image(frame)
    assert image.shape == raw.shape == (886, 1920, 3)
    row, column = int(frame.K[1, 2]), int(frame.K[0, 2])
    np.testing.assert_allclose(image[row, column], raw[row, column], atol=0.1)
    assert np.abs(image[-200:, :200] - raw[-200:, :200]).mean() > 0.01


def test_broken_folders(tmp_path):
    with pytest.raises(ValueError, match=r"frame\.json: no such file"):
        waymo_frame.load(tmp_path)
    for text, message in (("{]", "not valid JSON"), ("[]", "holds a list"), ("{}", r"is not a Waymo frame \(KeyError")):
        (tmp_path / "frame.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            waymo_frame.load(tmp_path)

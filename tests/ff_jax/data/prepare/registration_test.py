"""Logs of pictures, from models that COLMAP could have found."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from ff_jax.data.pictures import Picture
from ff_jax.data.prepare import registration
from ff_jax.data.scene_data import OPENCV_FROM_EGO, invert_rigid, transform
from ff_jax.data.units import CameraHeight, MeasuredScale, median_depth
from ff_jax.data.validate import validate
from tests.random_inputs import seeded_rng

COUNT, STEP, HEIGHT, UNIT = 8, 0.7, 1.4, 0.03  # meters between pictures, of the camera; units of the model per meter


class Model:
    """The interface of a reconstruction of pycolmap: a drive along a level road, seen by a camera that nods."""

    def __init__(self, placed, with_road=True):
        rng = seeded_rng()
        world_from_ground = np.eye(4)  # the world of a model is turned at random
        world_from_ground[:3, :3] = Rotation.random(rng=rng).as_matrix()
        nod = np.eye(4)
        nod[:3, :3] = Rotation.from_euler("y", 4, degrees=True).as_matrix()
        self.cameras = {1: SimpleNamespace(model_name="SIMPLE_RADIAL", params=[30.0, 12, 8, 0.05], width=24, height=16)}
        self.images = {}
        for i in range(COUNT):
            ground_from_ego = np.eye(4)
            ground_from_ego[:3, 3] = STEP * i, 0, HEIGHT
            pose = world_from_ground @ ground_from_ego @ nod @ invert_rigid(OPENCV_FROM_EGO)
            pose[:3, 3] *= UNIT
            matrix = SimpleNamespace(matrix=lambda pose=pose: invert_rigid(pose)[:3])
            self.images[i] = SimpleNamespace(
                name=f"{i:06d}.png", camera_id=1, has_pose=i in placed, cam_from_world=lambda matrix=matrix: matrix
            )
        height = rng.normal(0, 0.02, 600) if with_road else rng.uniform(-30, 6, 600)
        road = np.stack([rng.uniform(0, 40, 600), rng.uniform(-5, 5, 600), height], -1)
        walls = np.stack([rng.uniform(5, 40, 300), rng.choice([-6, 6], 300), rng.uniform(0, 5, 300)], -1)
        xyz = UNIT * transform(world_from_ground, np.concatenate([road, walls]))
        track = SimpleNamespace(length=lambda: 4)
        points = [SimpleNamespace(xyz=p, color=[9, 99, 200], error=0.5, track=track) for p in xyz]
        points.append(SimpleNamespace(xyz=xyz[0] * 1e6, color=[0, 0, 0], error=9.0, track=track))
        self.points3D = dict(enumerate(points))

    def compute_mean_reprojection_error(self):
        return 0.5


@pytest.fixture
def pictures(tmp_path):
    for i in range(COUNT):
        Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(tmp_path / f"{i}.png")
    return [Picture(tmp_path / f"{i}.png", 0.25 * i) for i in range(COUNT)]


def register(monkeypatch, pictures, model, scale=CameraHeight(HEIGHT)):  # noqa: B008
    lines = []
    monkeypatch.setattr(registration, "_reconstruct", lambda *_: model)
    return registration.register(pictures, "drive", scale, lines.append), "\n".join(lines)


def test_the_path_is_level_and_in_meters(monkeypatch, pictures):
    placed = (0, 1, 2, 4, 5, 7)
    scene, lines = register(monkeypatch, pictures, Model(placed))
    validate(scene, decode=True)
    assert scene.has_meters and "6 of 8 pictures were placed" in lines and "1.4 m above the road" in lines
    np.testing.assert_allclose(scene.times, 0.25 * np.array(placed))
    assert [int(frame.image.path.stem) for frame in scene.frames] == list(placed)
    local = transform(invert_rigid(scene.world_from_ego[0]), scene.world_from_ego[:, :3, 3])
    np.testing.assert_allclose(local, np.outer(STEP * np.array(placed), [1, 0, 0]), atol=0.1)  # forward, level
    assert scene.frames[0].K[0, 0] == 30 and scene.frames[0].distortion[0] == 0.05
    assert len(scene.points.xyz) == 900 and 5 < median_depth(scene) < 40


def test_without_a_road_the_unit_stays_unknown(monkeypatch, pictures):
    scene, lines = register(monkeypatch, pictures, Model(range(COUNT), with_road=False))
    assert not scene.has_meters and median_depth(scene) == pytest.approx(10) and "The unit is unknown" in lines


def test_the_unit_may_follow_from_a_measurement(monkeypatch, pictures):
    model = Model(range(COUNT))
    by_height, _ = register(monkeypatch, pictures, model)
    table = pictures[0].file.parent / "way.txt"
    lines = [f"{i}.png {' '.join(map(str, 3 * pose[:3, 3]))}\n" for i, pose in enumerate(by_height.world_from_ego)]
    table.write_text("".join(lines))
    scene, lines = register(monkeypatch, pictures, model, MeasuredScale("positions", str(table)))
    assert scene.has_meters and median_depth(scene) == pytest.approx(3 * median_depth(by_height), rel=0.01)
    assert "unit of length: 1 unit is" in lines and "way.txt" in lines
    scene, lines = register(monkeypatch, pictures, model, MeasuredScale("gps"))
    assert not scene.has_meters and "0 of 8 images have positions" in lines and "The unit is unknown" in lines


@pytest.mark.parametrize("model", [Model((0, 1, 5)), None])
def test_too_few_placed_pictures_are_an_error_with_their_number(monkeypatch, pictures, model):
    with pytest.raises(ValueError, match=rf"drive: {3 if model else 0} of 8 pictures were placed"):
        register(monkeypatch, pictures, model)


def test_without_the_package_it_is_asked_for(monkeypatch, pictures):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ImportError, match="install it"):
        registration.register(pictures, "drive", CameraHeight(), print)


def test_pictures_that_show_nothing_are_not_placed(pictures):
    pytest.importorskip("pycolmap")
    with pytest.raises(ValueError, match="0 of 4 pictures were placed"):
        registration.register(pictures[:4], "blank", CameraHeight(), print)

import json

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from ff_jax.data.formats import nerfstudio
from ff_jax.data.validate import validate


@pytest.fixture
def data_set(tmp_path):
    """A random data set in the layout of Nerfstudio's documentation, and its poses."""
    rng = np.random.default_rng()
    poses = np.broadcast_to(np.eye(4), (3, 4, 4)).copy()
    poses[:, :3, :3], poses[:, :3, 3] = Rotation.random(3, rng).as_matrix(), rng.normal(size=(3, 3))
    vertices = np.zeros(6, [(n, "f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")])
    for name in "xyz":
        vertices[name] = rng.normal(size=6)
    vertices["green"] = rng.integers(0, 256, 6)
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(tmp_path / "sparse.ply"))
    content = {"camera_model": "OPENCV", "fl_x": 20, "fl_y": 21, "cx": 12, "cy": 8, "w": 24, "h": 16}
    content |= {"k1": 0.1, "k2": 0.0, "p1": 0.001, "p2": 0.0, "ply_file_path": "sparse.ply", "frames": []}
    (tmp_path / "images").mkdir()
    for i, pose in enumerate(poses):
        Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8)).save(tmp_path / f"images/{i}.png")
        content["frames"].append({"file_path": f"images/{i}.png", "transform_matrix": pose.tolist()})
    content["frames"][1] |= {"fl_x": 30.5, "k1": 0, "p1": 0, "mask_path": "mask.png"}
    Image.fromarray(rng.integers(0, 256, (16, 24), np.uint8)).save(tmp_path / "mask.png")
    content["test_filenames"] = ["images/2.png"]
    return tmp_path, content, poses, vertices


def load(path, content, **more):
    (path / "transforms.json").write_text(json.dumps(content))
    return nerfstudio.load(path, **more)


def test_frames_points_masks_and_splits(data_set):
    path, content, poses, vertices = data_set
    scene = validate(load(path, content), decode=True)
    assert scene.cameras == ("images",) and [f.split for f in scene.frames] == ["train", "train", "test"]
    for frame, pose in zip(scene.frames, poses, strict=True):
        # Seen by OpenGL, a camera looks along its -z axis and y points up.
        np.testing.assert_allclose(frame.world_from_camera[:3, 2], -pose[:3, 2])
        np.testing.assert_allclose(frame.world_from_camera[:3, 1], -pose[:3, 1])
        np.testing.assert_allclose(frame.world_from_camera[:3, 3], pose[:3, 3] - poses[0, :3, 3], atol=1e-9)
    assert scene.frames[0].distortion.tolist() == [0.1, 0, 0.001, 0, 0] and scene.frames[1].distortion is None
    assert scene.frames[1].K[0, 0] == 30.5 and scene.frames[2].K[0, 0] == 20 and set(scene.frames[1].masks) == {"valid"}
    xyz = np.stack([vertices[n] for n in "xyz"], -1)
    np.testing.assert_allclose(scene.points.xyz, xyz - poses[0, :3, 3], atol=1e-6)
    np.testing.assert_allclose(scene.points.rgb[:, 1], vertices["green"] / 255)
    larger = load(path, content, scale=3.0)
    np.testing.assert_allclose(larger.points.xyz, 3 * scene.points.xyz, atol=1e-6)


def test_what_is_wrong_is_said_in_one_sentence(data_set):
    path, content, _, _ = data_set
    with pytest.raises(ValueError, match="camera model OPENCV_FISHEYE is none of OPENCV, PINHOLE; undistort"):
        load(path, content | {"camera_model": "OPENCV_FISHEYE"})
    with pytest.raises(ValueError, match=r"transforms\.json lacks an entry \(KeyError\('cy'\)\); add it"):
        load(path, {key: value for key, value in content.items() if key != "cy"})
    with pytest.raises(ValueError, match="has 0 posed images"):
        load(path, content | {"frames": []})
    (path / "sparse.ply").write_bytes((path / "sparse.ply").read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"sparse\.ply: cannot be read as PLY"):
        load(path, content)
    with pytest.raises(ValueError, match=r"none\.ply: cannot be read as PLY"):
        load(path, content | {"ply_file_path": "none.ply"})

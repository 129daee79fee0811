import json

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from ff_jax.data.formats import nerfstudio
from ff_jax.data.formats.registry import open_source
from ff_jax.data.lenses import distort
from ff_jax.data.validate import validate
from tests.random_inputs import seeded_rng


@pytest.fixture
def data_set(tmp_path):
    """A random data set in the layout of Nerfstudio's documentation, and its poses."""
    rng = seeded_rng()
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
    with pytest.raises(ValueError, match=r"camera model EQUIRECTANGULAR is none of .*OPENCV_FISHEYE"):
        load(path, content | {"camera_model": "EQUIRECTANGULAR"})
    with pytest.raises(ValueError, match=r"transforms\.json lacks an entry \(KeyError\('fl_x'\)\)"):
        load(path, {key: value for key, value in content.items() if key != "fl_x"})
    with pytest.raises(ValueError, match=r"unknown coefficient k5"):
        load(path, content | {"k5": 0.1})
    content["frames"].append(content["frames"][0])
    with pytest.raises(ValueError, match=r"image images/0\.png is listed twice"):
        load(path, content)
    content["frames"].pop()
    with pytest.raises(ValueError, match="has 0 posed images"):
        load(path, content | {"frames": [], "test_filenames": []})
    (path / "sparse.ply").write_bytes((path / "sparse.ply").read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"sparse\.ply: cannot be read as PLY"):
        load(path, content)
    assert load(path, content | {"ply_file_path": "none.ply"}).points is None  # points are optional


@pytest.fixture
def plain(tmp_path):
    """A data set of six images with names without zeros and backslashes, one unit apart, and a byte order mark."""
    frames = []
    for i in range(6):
        pose = np.eye(4)
        pose[2, 3] = -i
        frames.append({"file_path": f".\\images\\f{i + 7}.png", "transform_matrix": pose.tolist()})
    content = {"fl_x": 20, "fl_y": 21, "cx": 12, "cy": 8, "w": 24, "h": 16, "frames": frames}
    draw_images(tmp_path, [f"images/f{i + 7}.png" for i in range(6)])
    return tmp_path, content


def draw_images(path, names):
    for name in names:
        (path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(path / name)


def write(path, content, name="transforms.json"):
    (path / name).write_text("\ufeff" + json.dumps(content))


def test_order_and_names_of_other_systems(plain):
    path, content = plain
    content["frames"].reverse()
    write(path, content)
    scene = validate(open_source(str(path)))
    assert [f.image.path.name for f in scene.frames] == [f"f{i + 7}.png" for i in range(6)]
    np.testing.assert_allclose([f.world_from_camera[2, 3] for f in scene.frames], -np.arange(6))


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({}, ["train"] * 6),
        ({"train": range(4), "test": (4, 5)}, ["train"] * 4 + ["test"] * 2),
        ({"train": range(4), "val": (4, 5)}, ["train"] * 4 + ["test"] * 2),
        ({"train": range(3), "val": (3,), "test": (4, 5)}, ["train"] * 3 + [None] + ["test"] * 2),
        ({"test": (0,)}, ["test"] + ["train"] * 5),
        ({"val": (0,)}, ["test"] + ["train"] * 5),
        ({"train": (1, 2)}, [None, "train", "train", None, None, None]),
        ({"train": range(6), "test": (4,)}, ["train"] * 4 + ["test", "train"]),  # never trained on
    ],
)
@pytest.mark.parametrize("name", ["images/f{}.png", "./images/f{}.png", "images\\f{}.png"])
def test_splits_are_those_of_the_lists(plain, lists, expected, name):
    path, content = plain
    content |= {f"{key}_filenames": [name.format(i + 7) for i in numbers] for key, numbers in lists.items()}
    write(path, content)
    split = {int(f.image.path.stem[1:]) - 7: f.split for f in nerfstudio.load(path).frames}
    assert [split.get(i) for i in range(6)] == expected
    write(path, content | {"val_filenames": ["images/f99.png"]})
    with pytest.raises(ValueError, match=r"val_filenames names images/f99\.png, which no frame has"):
        nerfstudio.load(path)


@pytest.mark.parametrize(
    ("lens", "radius"),
    [
        (
            {"is_fisheye": True, "k1": 0.05, "k4": -0.01},
            lambda r: theta(r) * (1 + 0.05 * theta(r) ** 2 - 0.01 * theta(r) ** 8),
        ),
        ({"camera_model": "OPENCV_FISHEYE", "k3": 0.02}, lambda r: theta(r) * (1 + 0.02 * theta(r) ** 6)),
        ({"camera_model": "OPENCV", "k1": 0.05, "k4": -0.2}, lambda r: r * (1 + 0.05 * r**2 - 0.2 * r**8)),
        ({"camera_model": "SIMPLE_RADIAL", "k1": 0.05}, lambda r: r * (1 + 0.05 * r**2)),
        ({"camera_model": "SIMPLE_PINHOLE"}, lambda r: r),
        ({"camera_model": "PINHOLE"}, lambda r: r),
    ],
)
def test_every_camera_model_is_applied(plain, lens, radius):
    path, content = plain
    write(path, content | lens)
    frame = nerfstudio.load(path).frames[0]
    r = np.array([0.0, 0.1, 0.3, 0.5])
    rays = np.stack([r, 0 * r], -1)
    actual = rays if frame.distortion is None else distort(rays, frame.distortion)
    np.testing.assert_allclose(actual[:, 0], radius(r), atol=1e-12)
    assert frame.K[1, 1] == 21 and frame.K[0, 2] == 12


def theta(radius):
    return np.arctan(radius)


def test_missing_images_and_masks_are_left_out(plain, caplog):
    path, content = plain
    content["frames"][1]["mask_path"] = "masks\\none.png"
    write(path, content)
    (path / "images/f9.png").unlink()
    scene = validate(open_source(str(path)))
    assert [f.time_index for f in scene.frames] == [0, 1, 3, 4, 5] and not scene.frames[1].masks
    assert "1 of 6 images are missing and left out" in caplog.text and "1 of 1 masks" in caplog.text


def test_the_files_of_blender(tmp_path):
    pose = np.eye(4)
    for split, numbers in {"train": range(3), "val": range(2), "test": range(2)}.items():
        draw_images(tmp_path, [f"{split}/r_{i}.png" for i in numbers])
        frames = []
        for i in numbers:
            pose[:3, 3] = len(split), 0, -i
            frames.append({"file_path": f"./{split}/r_{i}", "rotation": 0.01, "transform_matrix": pose.tolist()})
        write(tmp_path, {"camera_angle_x": 0.8, "frames": frames}, f"transforms_{split}.json")
    scene = validate(open_source(str(tmp_path)))
    names = {f.image.path.relative_to(tmp_path).as_posix(): f.split for f in scene.frames}
    assert names == {f"train/r_{i}.png": "train" for i in range(3)} | {f"test/r_{i}.png": "test" for i in range(2)}
    np.testing.assert_allclose(scene.frames[0].K, [[12 / np.tan(0.4), 0, 12], [0, 12 / np.tan(0.4), 8], [0, 0, 1]])

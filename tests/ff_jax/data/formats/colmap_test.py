import struct

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from experiments.studies.measures.robustness.writers.colmap import NAMES, Model
from ff_jax.data.formats import colmap
from ff_jax.data.formats.registry import open_source
from ff_jax.data.scene_data import invert_rigid
from ff_jax.data.validate import validate
from tests.random_inputs import seeded_rng


@pytest.fixture(params=["text", "binary"])
def reconstruction(request, tmp_path):
    rng, folder = seeded_rng(), tmp_path / "sparse/0"
    model = Model(rng)
    folder.mkdir(parents=True)
    getattr(model, request.param)(folder)
    for name in NAMES:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8)).save(tmp_path / "images" / name)
    return tmp_path, model


def test_both_forms_of_a_model_are_read(reconstruction):
    path, model = reconstruction
    scene = validate(colmap.load(path), decode=True)
    assert scene.cameras == ("front", "left") and len(scene.times) == 2
    actual = {frame.image.path.relative_to(path / "images").as_posix(): frame for frame in scene.frames}
    steps = [actual[name].time_index for name in NAMES]
    assert steps == [1, 0, 0]  # the names of a camera's images are its order in time
    expected = np.broadcast_to(np.eye(4), (3, 4, 4)).copy()
    expected[:, :3, :3] = Rotation.from_quat(model.quaternions[:, [1, 2, 3, 0]]).as_matrix()
    expected[:, :3, 3] = model.translations
    origin = invert_rigid(expected[1])[:3, 3]  # the world starts at the first image of the first camera
    for name, camera_from_world in zip(NAMES, expected, strict=True):
        scaled_points = invert_rigid(camera_from_world)
        scaled_points[:3, 3] -= origin
        np.testing.assert_allclose(actual[name].world_from_camera, scaled_points, atol=1e-9)
    np.testing.assert_allclose(scene.points.xyz, model.xyz - origin, atol=1e-9)
    np.testing.assert_allclose(scene.points.rgb, model.rgb / 255)
    assert actual[NAMES[0]].distortion.tolist() == [0.1, 0.02, 0.001, -0.002, 0]
    assert actual[NAMES[2]].distortion.tolist() == [-0.03, 0, 0, 0, 0]
    assert actual[NAMES[2]].K.tolist() == [[19, 0, 11.5], [0, 19, 8.5], [0, 0, 1]]


def test_scale_stretches_everything_but_the_lens(reconstruction):
    path, _ = reconstruction
    unit, scaled = colmap.load(path), colmap.load(path, scale=2.5)
    for a, b in zip(unit.frames, scaled.frames, strict=True):
        np.testing.assert_allclose(b.world_from_camera[:3, 3], 2.5 * a.world_from_camera[:3, 3], atol=1e-9)
        np.testing.assert_array_equal(b.world_from_camera[:3, :3], a.world_from_camera[:3, :3])
    np.testing.assert_allclose(scaled.points.xyz, 2.5 * unit.points.xyz, atol=1e-9)
    with pytest.raises(ValueError, match=r"invalid scale=0.0"):
        colmap.load(path, scale=0.0)


def test_damaged_models_give_one_sentence(reconstruction):
    path, _ = reconstruction
    folder = path / "sparse/0"
    suffix = "bin" if (folder / "cameras.bin").exists() else "txt"
    file = folder / f"images.{suffix}"
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    with pytest.raises(ValueError, match=rf"images\.{suffix}: cannot be read as a COLMAP model"):
        colmap.load(path)
    file.write_bytes(whole)
    cameras = folder / f"cameras.{suffix}"
    whole = cameras.read_bytes()
    cameras.write_bytes(struct.pack("<QiiQQ", 1, 3, 7, 24, 16) if suffix == "bin" else b"3 FOV 24 16 1 1 1 1 0")
    with pytest.raises(ValueError, match=r"camera 3: camera model FOV is none of SIMPLE_PINHOLE.*image_undistorter"):
        colmap.load(path)
    cameras.write_bytes(whole)
    (folder / f"points3D.{suffix}").unlink()
    assert colmap.load(path).points is None
    cameras.unlink()
    with pytest.raises(ValueError, match="holds no COLMAP model"):
        colmap.load(path)


def text_model(path, images, camera="PINHOLE 24 16 20 20 12 8", folder="images"):
    """Write a text model of images at z = 0, 1, ...; `images` are the lines of each one."""
    (path / "sparse/0").mkdir(parents=True)
    (path / "sparse/0/cameras.txt").write_text(f"\ufeff# cameras\r\n\n1 {camera}\n")
    lines = [f"{i + 1} 1 0 0 0 0 0 -{i} 1 {line}" for i, line in enumerate(images)]
    (path / "sparse/0/images.txt").write_text("# images\n" + "\n".join(lines))
    for line in images:
        file = path / folder / line.split("\n")[0].replace("\\", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(file)


def test_blank_lines_and_numbers_without_zeros_keep_the_order(tmp_path):
    ends = ["\n", "\n1.5 2.5 -1", "\n\n\n", "\n3.5 4.5 7 1 2 -1\n\n"]
    text_model(tmp_path, [f"f{i}.png{ends[i % 4]}" for i in range(12)])
    scene = colmap.load(tmp_path)
    assert [f.image.path.name for f in scene.frames] == [f"f{i}.png" for i in range(12)]
    np.testing.assert_allclose([f.world_from_camera[2, 3] for f in scene.frames], range(12))
    assert [f.time_index for f in scene.frames] == list(range(12)) and scene.points is None


def test_a_model_without_lines_of_observations_is_refused(tmp_path):
    text_model(tmp_path, [f"{i}.png" for i in range(4)])
    with pytest.raises(ValueError, match=r"images\.txt.*image 0\.png is not followed by a line of observations"):
        colmap.load(tmp_path)


def test_wrong_parameters_are_counted(tmp_path):
    text_model(tmp_path, ["0.png\n"], "OPENCV 24 16 20 20 12 8")
    with pytest.raises(ValueError, match=r"camera 1: OPENCV takes 8 parameters .*, found 4"):
        colmap.load(tmp_path)


def test_images_in_input_names_of_windows_and_masks(tmp_path):
    text_model(tmp_path, ["left\\0.png\n", "left\\1.png\n"], "OPENCV_FISHEYE 24 16 20 20 12 8 0 0 0 0", "input")
    (tmp_path / "masks/left").mkdir(parents=True)
    Image.fromarray(np.full((16, 24), 255, np.uint8)).save(tmp_path / "masks/left/1.png.png")
    scene = validate(open_source(str(tmp_path)), decode=True)
    assert scene.cameras == ("left",) and [set(f.masks) for f in scene.frames] == [set(), {"valid"}]
    assert [f.image.path for f in scene.frames] == [tmp_path / f"input/left/{i}.png" for i in range(2)]
    assert scene.frames[0].distortion[-1] == 1  # a fisheye without other coefficients is not a pinhole


def test_missing_images_are_left_out_with_a_count(tmp_path, caplog):
    text_model(tmp_path, [f"{i}.png\n" for i in range(6)])
    for i in (0, 3):
        (tmp_path / f"images/{i}.png").unlink()
    scene = open_source(str(tmp_path))
    assert [f.time_index for f in scene.frames] == [1, 2, 4, 5] and [f.exposure_id for f in scene.frames] == [
        0,
        1,
        2,
        3,
    ]
    assert "2 of 6 images are missing and left out" in caplog.text and len(scene.times) == 6
    for i in (1, 2):
        (tmp_path / f"images/{i}.png").unlink()
    with pytest.raises(ValueError, match=r"4 of 6 images are missing, the first one is .*images/0\.png"):
        open_source(str(tmp_path))


def test_folders_that_do_not_match_are_separate_drives(tmp_path):
    text_model(tmp_path, [f"drive/{i}.png\n" for i in range(3)] + [f"photos/{i}.png\n" for i in (7, 8)])
    scene = validate(colmap.load(tmp_path))
    assert [(f.camera, f.time_index) for f in scene.frames] == [
        *(("drive", i) for i in range(3)),
        ("photos", 3),
        ("photos", 4),
    ]
    np.testing.assert_allclose(scene.world_from_ego[:, 2, 3], range(5))


def test_no_image_is_opened(tmp_path):
    text_model(tmp_path, [f"{i}.png\n" for i in range(3)])
    for i in range(3):
        (tmp_path / f"images/{i}.png").write_bytes(b"")
    assert len(open_source(str(tmp_path)).frames) == 3

import json
from dataclasses import replace

import numpy as np
import pytest

from ff_jax.data import folder, lazy_arrays, loader
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Readout
from ff_jax.data.validate import validate
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def scene(tmp_path):
    return tiny.make_scene(tmp_path / "files", seeded_rng(), np.array([0.1, 0, 0, 0, 0.01]))


def assert_same(a, b):
    """Compare two scenes to the last bit."""
    for name in ("name", "source", "license"):
        assert getattr(a, name) == getattr(b, name)
    np.testing.assert_array_equal(a.times, b.times)
    np.testing.assert_array_equal(a.world_from_ego, b.world_from_ego)
    for x, y in zip(a.frames, b.frames, strict=True):
        for name in ("camera", "time_index", "time", "width", "height", "exposure_id", "split"):
            assert getattr(x, name) == getattr(y, name)
        for name in ("K", "world_from_camera", "distortion"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name))
        np.testing.assert_array_equal(x.image.load(), y.image.load())
        assert set(x.masks) == set(y.masks)
        np.testing.assert_array_equal(loader.load_mask(x, "sky"), loader.load_mask(y, "sky"))
    for x, y in zip(a.sweeps, b.sweeps, strict=True):
        assert (x.time_index, x.sensor) == (y.time_index, y.sensor)
        np.testing.assert_array_equal(x.world_from_lidar, y.world_from_lidar)
        np.testing.assert_array_equal(x.points.load(), y.points.load())
    for x, y in zip(a.boxes, b.boxes, strict=True):
        for name in ("track_id", "category", "time_index", "num_points"):
            assert getattr(x, name) == getattr(y, name)
        np.testing.assert_array_equal(x.world_from_object, y.world_from_object)
        np.testing.assert_array_equal(x.size, y.size)
    for x, y in zip(a.lanes, b.lanes, strict=True):
        assert x.kind == y.kind
        np.testing.assert_array_equal(x.points, y.points)
    np.testing.assert_array_equal(a.points.xyz, b.points.xyz)


def test_round_trip_is_exact(scene, tmp_path):
    readout = Readout(seeded_rng().normal(size=6), columns=True)
    scene = replace(scene, frames=(replace(scene.frames[0], readout=readout), *scene.frames[1:]))
    path = folder.write_folder(scene, tmp_path / "out" / "scene")
    assert_same(scene, folder.read_folder(path))
    first, second = folder.read_folder(path).frames[:2]
    np.testing.assert_array_equal(first.readout.motion, readout.motion)
    assert first.readout.columns and second.readout is None
    np.testing.assert_allclose(loader.camera_of(first).shutter.motion, readout.motion, rtol=1e-6)
    again = folder.write_folder(folder.read_folder(path), tmp_path / "again")
    assert (again / "scene.json").read_text() == (path / "scene.json").read_text()


def test_the_earlier_spelling_of_license_is_read_and_the_new_one_written(scene, tmp_path):
    path = folder.write_folder(replace(scene, license="CC0"), tmp_path / "scene")
    content = json.loads((path / "scene.json").read_text())
    assert content["license"] == "CC0" and "licence" not in content
    content["licence"] = content.pop("license")
    (path / "scene.json").write_text(json.dumps(content))
    assert folder.read_folder(path).license == "CC0"


def test_computed_images_are_stored_with_eight_bits(scene, tmp_path):
    image = seeded_rng().random((tiny.HEIGHT, tiny.WIDTH, 3), np.float32)
    frame = replace(scene.frames[0], image=Source("computed", lambda: image), camera="odd name/../x")
    path = folder.write_folder(replace(scene, frames=(frame,)), tmp_path / "scene")
    (read,) = folder.read_folder(path).frames
    assert np.abs(read.image.load() - image).max() <= 0.5 / 255 + 1e-6
    assert read.camera == frame.camera and read.image.path.parent == path / "images"


def test_reading_decodes_no_image(scene, tmp_path, monkeypatch):
    path = folder.write_folder(scene, tmp_path / "scene")

    def refuse(path):
        pytest.fail(f"decoded {path}")

    for name in ("_decode", "read_points"):
        monkeypatch.setattr(lazy_arrays, name, refuse)
    assert len(folder.read_folder(path).frames) == 6


def test_failed_write_leaves_nothing(scene, tmp_path):
    def raise_error():
        raise ValueError("camera unplugged")

    frames = (*scene.frames, replace(scene.frames[0], image=Source("broken", raise_error)))
    before = set(tmp_path.iterdir())
    with pytest.raises(ValueError, match="unplugged"):
        folder.write_folder(replace(scene, frames=frames), tmp_path / "scene")
    assert set(tmp_path.iterdir()) == before
    (tmp_path / "scene").mkdir()
    with pytest.raises(ValueError, match=r"scene exists"):
        folder.write_folder(scene, tmp_path / "scene")


def test_example_of_the_documentation_is_a_scene(tmp_path, request):
    text = (request.config.rootpath / "docs" / "scene_contract.md").read_text()
    example = json.loads(text.split("```json")[1].split("```")[0])
    example["points"] = None
    (tmp_path / "scene.json").write_text(json.dumps(example))
    scene, problems = folder.parse(tmp_path)
    assert not problems and scene.frames[0].camera == "front" and len(scene.boxes) == 1
    with pytest.raises(ValueError) as error:
        validate(tmp_path)
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 3 and all("no such file" in line for line in lines)  # image, mask, sweep


def broken_entries():
    """Return edits of scene.json with the words that the error must contain."""
    return [
        (lambda c: c["frames"][1].pop("K"), ("frames[1]", "images/000001_b.png", "'K' is missing")),
        (lambda c: c["frames"][2].update(K=[[1, 2], [3, 4]]), ("frames[2]", "K has shape (2, 2)", "3x3")),
        (lambda c: c["frames"][0].update(K="calib.txt"), ("frames[0]", "K is not an array of numbers")),
        (lambda c: c["frames"][0].update(K=[["1", 0, 0]] * 3), ("frames[0]", "K is not an array of numbers")),
        (lambda c: c["frames"][0].update(K=[[None, 0, 0]] * 3), ("frames[0]", "K is not an array of numbers")),
        (lambda c: c["frames"][0].update(time=10**400), ("frames[0]", "too large")),
        (lambda c: c["boxes"][1].update(size=[1, 2, 10**400]), ("boxes[1]", "size is not an array of numbers")),
        (lambda c: c["frames"][3].update(time_index="3"), ("frames[3]", "time_index is '3'", "int")),
        (lambda c: c["frames"][3].update(image="/etc/passwd"), ("frames[3]", "'/etc/passwd'", "relative")),
        (lambda c: c["frames"][3].update(image="../x.png"), ("frames[3]", "'../x.png'", "relative")),
        (lambda c: c["frames"][4].update(masks={"ego": "m.png"}), ("frames[4]", "'ego'", "sky, valid, dynamic")),
        (lambda c: c["frames"].append(7), ("frames[6]",)),
        (lambda c: c.update(frames=3), ("frames is not a list",)),
        (lambda c: c["sweeps"][1].pop("file"), ("sweeps[1]", "'file' is missing")),
        (lambda c: c["boxes"][2].update(size=[1, 2]), ("boxes[2]", "size has shape (2,)")),
        (lambda c: c["lanes"][0].update(points=[[1, 2]]), ("lanes[0]", "points has shape (1, 2)", "Nx3")),
        (lambda c: c.update(points="gone.npz"), ("points", "gone.npz: no such file")),
        (lambda c: c.update(version=2), ("version", "2", "convert it again")),
        (lambda c: c.pop("times"), ("'times' is missing",)),
        (lambda c: c.update(world_from_ego=[1]), ("world_from_ego has shape (1,)", "3x4x4")),
    ]


@pytest.mark.parametrize(("edit", "words"), broken_entries())
def test_broken_entries_are_named(scene, tmp_path, edit, words):
    path = folder.write_folder(scene, tmp_path / "scene")
    content = json.loads((path / "scene.json").read_text())
    edit(content)
    (path / "scene.json").write_text(json.dumps(content))
    with pytest.raises(ValueError) as error:
        folder.read_folder(path)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_all_broken_entries_are_listed_at_once(scene, tmp_path):
    path = folder.write_folder(scene, tmp_path / "scene")
    content = json.loads((path / "scene.json").read_text())
    del content["frames"][0]["K"], content["frames"][1]["split"], content["boxes"][0]["size"]
    content["frames"][2]["split"] = "val"
    (path / "scene.json").write_text(json.dumps(content))
    with pytest.raises(ValueError) as error:
        validate(path)
    message = str(error.value)
    assert message.startswith("4 problem(s)")
    assert all(word in message for word in ("frames[0]", "frames[1]", "boxes[0]", "'val'"))


def test_missing_and_unreadable_index(tmp_path):
    with pytest.raises(ValueError, match=r"scene\.json: no such file"):
        folder.read_folder(tmp_path)
    (tmp_path / "scene.json").write_text("{")
    with pytest.raises(ValueError, match=r"scene\.json: not valid JSON"):
        folder.read_folder(tmp_path)
    (tmp_path / "scene.json").write_text("[]")
    with pytest.raises(ValueError, match="format and version"):
        folder.read_folder(tmp_path)

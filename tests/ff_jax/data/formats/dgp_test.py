import json
import shutil

import numpy as np
import pytest

from ff_jax.data import lazy_arrays
from ff_jax.data.formats import cameras_json, dgp
from ff_jax.data.points.visibility import inside_box
from ff_jax.data.scene_data import boxes_at, invert_rigid
from ff_jax.data.validate import validate

SCENE = "data/native/dgp/scene_02"


@pytest.fixture(scope="module")
def scene(assets):
    return dgp.load(assets / SCENE)


@pytest.mark.assets
def test_the_scene_is_valid_and_decodes_nothing_on_loading(assets, monkeypatch):
    decode_calls, decode = [], lazy_arrays._decode
    monkeypatch.setattr(lazy_arrays, "_decode", lambda path: decode_calls.append(path) or decode(path))
    scene = dgp.load(assets / SCENE)
    assert decode_calls == [] and validate(scene) is scene
    assert len(scene.frames) == scene.num_exposures == 18 and len(scene.sweeps) == len(scene.times) == 3


@pytest.mark.assets
def test_it_equals_the_excerpt_made_from_it(assets, scene):
    excerpt = cameras_json.load(assets / "data/ddad_dgp_6cam")
    others = {(frame.camera, frame.time_index): frame for frame in excerpt.frames}
    shifted = others["CAMERA_01", 0].world_from_camera - scene.frames[0].world_from_camera
    for frame in scene.frames:
        other = others.pop((frame.camera, frame.time_index))
        np.testing.assert_array_equal(frame.K, other.K)
        np.testing.assert_allclose(frame.world_from_camera + shifted, other.world_from_camera, atol=1e-9)
        assert (frame.width, frame.height) == (other.width, other.height)
    np.testing.assert_array_equal(scene.frames[4].image.load(), excerpt.frames[4].image.load())
    others = {(box.track_id, box.time_index): box for box in excerpt.boxes}
    for box in scene.boxes:
        other = others.pop((box.track_id, box.time_index))
        np.testing.assert_allclose(box.world_from_object + shifted, other.world_from_object, atol=1e-9)
        np.testing.assert_allclose(box.size, other.size, atol=1e-9)
        assert (box.category, box.num_points) == (other.category, other.num_points)
    assert not others


@pytest.mark.assets
def test_the_vehicle_drives_forward_and_its_front_camera_looks_there(scene):
    step = scene.world_from_ego[0, :3, :3].T @ (scene.world_from_ego[-1] - scene.world_from_ego[0])[:3, 3]
    assert step[0] > 1 and np.abs(step[1:]).max() < 0.02 * step[0]
    views = {f.camera: (invert_rigid(scene.world_from_ego[0]) @ f.world_from_camera)[:3, 2] for f in scene.frames[:6]}
    assert views["CAMERA_01"][0] > 0.99 and views["CAMERA_09"][0] < -0.99 and views["CAMERA_05"][1] > 0.5


@pytest.mark.assets
def test_boxes_hold_the_points_that_they_count(scene):
    world = scene.sweeps[0].load_world()
    boxes = [box for box in boxes_at(scene, 0) if box.num_points > 0]
    actual = sum(inside_box(box, world, 0.0).sum() for box in boxes)
    # The piece keeps every fifth point of the sweeps that the labels were counted on.
    assert 0.17 < actual / sum(box.num_points for box in boxes) < 0.23


@pytest.mark.assets
def test_incomplete_scenes_give_one_sentence(assets, tmp_path):
    with pytest.raises(ValueError, match=r"holds 0 files scene_\*\.json"):
        dgp.load(tmp_path)
    (name,) = [path.name for path in (assets / SCENE).glob("scene_*.json")]
    shutil.copy(assets / SCENE / name, tmp_path / name)
    with pytest.raises(ValueError, match=r"calibration/\w+\.json: no such file"):
        dgp.load(tmp_path)
    content = json.loads((tmp_path / name).read_text())
    content["samples"][0]["datum_keys"][0] = "none"
    (tmp_path / name).unlink()
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"is not a DGP scene \(KeyError\('none'\)\)"):
        dgp.load(tmp_path)

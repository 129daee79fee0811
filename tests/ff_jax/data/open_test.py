"""Every way in refuses a broken log before anything is computed."""

import json
import logging

import numpy as np
import pytest

from ff_jax.data.config import DataConfig
from ff_jax.data.folder import write_folder
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import transform
from tests.ff_jax.data import tiny


@pytest.fixture
def folder(tmp_path):
    return write_folder(tiny.make_scene(tmp_path / "files"), tmp_path / "log")


def edit(folder, change):
    content = json.loads((folder / "scene.json").read_text())
    change(content)
    (folder / "scene.json").write_text(json.dumps(content))


def test_a_bad_frame_is_named_with_its_file_before_anything_is_read(folder):
    edit(folder, lambda c: c["frames"][3]["world_from_camera"][0].__setitem__(3, float("nan")))
    with pytest.raises(ValueError) as error:
        open_log(DataConfig(source=str(folder), width=12))
    message = str(error.value)
    assert message.count("\n") == 0
    assert all(word in message for word in (str(folder), "frame 3", "b.png", "[0][3] = nan", "drop it"))


def test_a_world_in_map_coordinates_starts_at_the_vehicle(folder, caplog):
    near = open_log(str(folder))
    offset = np.array([458_000.0, 5_429_000.0, 120.0])

    def move(content):
        moved = [frame["world_from_camera"] for frame in content["frames"]] + content["world_from_ego"]
        moved += [sweep["world_from_lidar"] for sweep in content["sweeps"]]
        moved += [box["world_from_object"] for box in content["boxes"]]
        for pose in moved:
            for axis in range(3):
                pose[axis][3] += offset[axis]
        for lane in content["lanes"]:
            lane["points"] = (np.array(lane["points"]) + offset).tolist()
        content["points"] = None

    edit(folder, move)
    with caplog.at_level(logging.WARNING):
        far = open_log(str(folder))
    assert "(458000, 5429000, 120)" in caplog.text
    for a, b in zip(near.frames, far.frames, strict=True):
        np.testing.assert_allclose(a.world_from_camera, b.world_from_camera, atol=1e-8)
    np.testing.assert_allclose(near.lanes[0].points, far.lanes[0].points, atol=1e-8)
    np.testing.assert_allclose(near.sweeps[2].load_world(), far.sweeps[2].load_world(), atol=1e-6)
    np.testing.assert_allclose(
        transform(near.boxes[1].world_from_object, np.eye(3)), transform(far.boxes[1].world_from_object, np.eye(3))
    )


def test_exposures_of_any_number_are_dense(folder):
    edit(folder, lambda c: [frame.update(exposure_id=10**9 + 7 * i) for i, frame in enumerate(c["frames"])])
    assert open_log(str(folder)).num_exposures == 6


def test_opening_does_not_decode(folder, monkeypatch):
    """Opening reads headers only: a thousand frames take less than a second."""
    monkeypatch.setattr("ff_jax.data.lazy_arrays.read_image", lambda path: pytest.fail(f"decoded {path}"))
    monkeypatch.setattr("ff_jax.data.lazy_arrays.read_points", lambda path: pytest.fail(f"decoded {path}"))
    assert len(open_log(str(folder)).frames) == 6

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.formats import common
from ff_jax.data.scene_data import invert_rigid, transform
from ff_jax.data.validate import validate
from tests.ff_jax.data.tiny import make_scene
from tests.random_inputs import seeded_rng


def test_poses_from_quaternions_and_translations():
    rng = seeded_rng()
    quaternions, translations = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    actual = common.pose(quaternions, translations)
    np.testing.assert_allclose(
        actual[:, :3, :3], Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]).as_matrix(), atol=1e-9
    )
    np.testing.assert_array_equal(actual[:, :3, 3], translations)
    np.testing.assert_array_equal(common.pose(quaternions[0], translations[0]), actual[0])


def test_nearest_is_what_a_search_finds():
    rng = seeded_rng()
    for count in (1, 2, 9):
        times, queries = np.sort(rng.random(count)), rng.uniform(-0.2, 1.2, 30)
        expected = np.abs(times[:, None] - queries).argmin(0)
        np.testing.assert_array_equal(common.nearest(times, queries), expected)


@pytest.fixture
def scene(tmp_path):
    """A log that starts far from the origin of its world."""
    scene, far = make_scene(tmp_path), np.eye(4)
    far[:3, 3] = 4000, -3000, 20
    return replace(
        scene,
        world_from_ego=far @ scene.world_from_ego,
        frames=tuple(replace(f, world_from_camera=far @ f.world_from_camera) for f in scene.frames),
        sweeps=tuple(replace(s, world_from_lidar=far @ s.world_from_lidar) for s in scene.sweeps),
        boxes=tuple(replace(b, world_from_object=far @ b.world_from_object) for b in scene.boxes),
        lanes=tuple(replace(lane, points=transform(far, lane.points)) for lane in scene.lanes),
        points=replace(scene.points, xyz=transform(far, scene.points.xyz)),
    )


def in_ego_frame(scene, index):
    """Everything of a log at one time, as seen from the vehicle."""
    ego = invert_rigid(scene.world_from_ego[index])
    return [
        *(ego @ frame.world_from_camera for frame in scene.frames if frame.time_index == index),
        *(ego @ sweep.world_from_lidar for sweep in scene.sweeps if sweep.time_index == index),
        *(ego @ box.world_from_object for box in scene.boxes if box.time_index == index),
        *(transform(ego, lane.points) for lane in scene.lanes),
        transform(ego, scene.points.xyz),
    ]


def test_a_part_of_a_log_sees_the_same_from_its_own_start(scene):
    part = validate(common.cut(scene, (1, 3)), decode=True)
    assert (part.world_from_ego[0, :3, 3] == 0).all()
    np.testing.assert_allclose(part.times, [0, 0.1])
    assert [frame.time for frame in part.frames] == pytest.approx([0, 0, 0.1, 0.1])
    for index in range(2):
        for actual, expected in zip(in_ego_frame(part, index), in_ego_frame(scene, index + 1), strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-6)
    for bad_range in ((1, 1), (2, 4), (-1, 2)):
        with pytest.raises(ValueError, match="'tiny' has the time steps 0:3, not"):
            common.cut(scene, bad_range)


def test_missing_columns_and_packages_are_named(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    values, table = seeded_rng().normal(size=4), pyarrow.table({"a": np.arange(4)})
    table = table.append_column("b", pyarrow.array(values))
    feather.write_feather(table, str(tmp_path / "t.feather"))
    parquet.write_table(table, str(tmp_path / "t.parquet"))
    for name in ("t.feather", "t.parquet"):
        np.testing.assert_array_equal(common.read_columns(tmp_path / name, ("b",))["b"], values)
        with pytest.raises(ValueError, match=rf"{name}: has no column"):
            common.read_columns(tmp_path / name, ("b", "c"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match="needs the package pyarrow"):
        common.read_columns(tmp_path / "t.feather", ("b",))

from dataclasses import replace

import numpy as np
import pytest

from ff_jax.data.folder import read_folder, write_folder
from ff_jax.data.road import Road
from ff_jax.data.scene_data import SparsePoints
from ff_jax.data.units import CameraHeight, find_unit_problem, in_meters, median_depth, parse_scale, scaled_units
from ff_jax.data.validate import find_problems
from tests.ff_jax.data import tiny


@pytest.fixture
def scene(tmp_path):
    scene = tiny.make_scene(tmp_path / "log")
    xyz = np.stack(np.meshgrid(np.linspace(5, 30, 20), np.linspace(-5, 5, 5), [0.0, 2.0]), -1).reshape(-1, 3)
    return replace(scene, points=SparsePoints(xyz), sweeps=(), boxes=(), lanes=())


def test_scaling_scales_all_positions(scene):
    larger = scaled_units(scene, 2.5)
    assert median_depth(larger) == pytest.approx(2.5 * median_depth(scene))
    np.testing.assert_allclose(larger.world_from_ego[:, :3, 3], 2.5 * scene.world_from_ego[:, :3, 3])
    for a, b in zip(scene.frames, larger.frames, strict=True):
        np.testing.assert_allclose(b.world_from_camera[:3, 3], 2.5 * a.world_from_camera[:3, 3])
        np.testing.assert_array_equal(b.world_from_camera[:3, :3], a.world_from_camera[:3, :3])


@pytest.mark.parametrize(("factor", "reason"), [(0.01, "median depth"), (500.0, "median depth"), (1.0, None)])
def test_units_that_cannot_be_meters_are_a_problem(scene, factor, reason):
    problem = find_unit_problem(scaled_units(scene, factor))
    assert problem is None if reason is None else reason in problem and "?scale=" in problem
    first = next(iter(find_problems(scaled_units(scene, factor))), "")
    assert first.startswith("unit of length") == (reason is not None)


def test_without_points_the_way_of_the_cameras_decides(scene):
    bare = replace(scene, points=None)
    assert "apart" in find_unit_problem(scaled_units(bare, 1000.0))
    tiny_units = scaled_units(bare, 0.001)
    assert find_unit_problem(tiny_units) is None  # a vehicle that stands
    assert "within" in find_unit_problem(replace(tiny_units, has_meters=False))


def test_a_scale_is_a_number_or_a_height(scene, monkeypatch):
    assert (parse_scale("2.5"), parse_scale("height"), parse_scale("height:2")) == (2.5, (1.5,), (2.0,))
    for text in ("tall", "height:tall"):
        with pytest.raises(ValueError, match="tall"):
            parse_scale(text)
    monkeypatch.setattr("ff_jax.data.units.find_road", lambda scene: Road(0.25, np.array([0.0, 0, 1])))
    assert median_depth(in_meters(scene, CameraHeight(2.0))) == pytest.approx(8 * median_depth(scene))
    with pytest.raises(ValueError, match="expected a positive number"):
        in_meters(scene, -1.0)


def test_a_folder_keeps_whether_lengths_are_meters(scene, tmp_path):
    assert scene.has_meters and not in_meters(scene, None).has_meters
    matrix = in_meters(scene, 2.5).world_from_files
    np.testing.assert_array_equal(matrix, np.diag([2.5, 2.5, 2.5, 1]))
    scaled = write_folder(replace(scene, world_from_files=matrix), tmp_path / "scaled")
    np.testing.assert_array_equal(read_folder(scaled).world_from_files, matrix)
    assert "no similarity" in find_problems(replace(scene, world_from_files=-matrix))[0]
    path = write_folder(in_meters(scene, None), tmp_path / "folder")
    assert not read_folder(path).has_meters and read_folder(write_folder(scene, tmp_path / "other")).has_meters

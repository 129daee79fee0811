"""PLY files: every bit comes back, and the columns are those of the public viewers."""

import jax.numpy as jnp
import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from ff_jax.export.ply import read_ply, write_ply
from ff_jax.render.gaussians import Gaussians
from tests.random_inputs import seeded_rng


def random_gaussians(count, degree):
    rng = seeded_rng()
    shapes = ((count, 3), (count, 4), (count, 3), (count,), (count, (degree + 1) ** 2, 3))
    return Gaussians(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)), rng.random(count) < 0.6


@pytest.mark.parametrize("degree", range(4))
def test_alive_gaussians_come_back_bit_for_bit(tmp_path, degree):
    gaussians, alive = random_gaussians(13, degree)
    write_ply(tmp_path / "a.ply", gaussians, alive)
    for capacity in (None, 20):
        back, back_alive = read_ply(tmp_path / "a.ply", capacity)
        assert back.capacity == (capacity or alive.sum()) and back_alive.sum() == alive.sum()
        for name in ("means", "quats", "log_scales", "logit_opacities", "sh"):
            expected = np.asarray(getattr(gaussians, name))[alive]
            np.testing.assert_array_equal(np.asarray(getattr(back, name))[np.asarray(back_alive)], expected)
        assert all(np.isfinite(leaf).all() for leaf in (back.quats, back.sh, back.log_scales))
        assert (jnp.linalg.norm(back.quats, axis=1) > 0).all()


def test_columns_are_those_of_the_viewers(tmp_path):
    gaussians, _ = random_gaussians(2, 3)
    write_ply(tmp_path / "a.ply", gaussians, np.array([False, True]))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]
    data = PlyData.read(tmp_path / "a.ply")
    assert data.byte_order == "<" and not data.text
    (vertex,) = data["vertex"]
    names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2".split() + [f"f_rest_{i}" for i in range(45)]
    names += "opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
    assert [p.name for p in data["vertex"].properties] == names
    assert vertex["f_dc_1"] == gaussians.sh[1, 0, 1]
    # channel-major: the fifteen higher coefficients of red come first, then green, then blue
    assert vertex["f_rest_0"] == gaussians.sh[1, 1, 0]
    assert vertex["f_rest_1"] == gaussians.sh[1, 2, 0]
    assert vertex["f_rest_15"] == gaussians.sh[1, 1, 1]
    assert vertex["f_rest_44"] == gaussians.sh[1, 15, 2]
    assert vertex["rot_0"] == gaussians.quats[1, 0] and vertex["opacity"] == gaussians.logit_opacities[1]
    assert vertex["nx"] == 0


def test_order_and_extra_columns_do_not_matter(tmp_path):
    gaussians, alive = random_gaussians(5, 1)
    write_ply(tmp_path / "a.ply", gaussians, alive)
    table = PlyData.read(tmp_path / "a.ply")["vertex"].data
    shuffled = np.zeros(len(table), [("extra", "u1"), *reversed(table.dtype.descr)])
    for name in table.dtype.names:
        shuffled[name] = table[name]
    PlyData([PlyElement.describe(shuffled, "vertex")], text=True).write(str(tmp_path / "b.ply"))
    back, _ = read_ply(tmp_path / "b.ply")
    np.testing.assert_allclose(back.sh, np.asarray(gaussians.sh)[alive], rtol=1e-6)


def test_no_gaussian_alive_is_a_valid_file(tmp_path):
    gaussians, _ = random_gaussians(3, 0)
    write_ply(tmp_path / "a.ply", gaussians, np.zeros(3, bool))
    back, alive = read_ply(tmp_path / "a.ply", capacity=4)
    assert back.capacity == 4 and not alive.any()


def test_other_files_are_refused_with_a_reason(tmp_path):
    path = tmp_path / "a.ply"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match="not a PLY file"):
        read_ply(path)
    points = np.zeros(2, [("x", "f4"), ("y", "f4"), ("z", "f4")])
    PlyData([PlyElement.describe(points, "vertex")]).write(str(path))
    with pytest.raises(ValueError, match=r"lacks the properties opacity.*rot_3"):
        read_ply(path)
    gaussians, alive = random_gaussians(3, 1)
    write_ply(path, gaussians, np.ones(3, bool))
    with pytest.raises(ValueError, match="3 Gaussians, more than capacity=2"):
        read_ply(path, capacity=2)
    with pytest.raises(ValueError, match=r"\(3, 3, 3\) fits no degree"):
        write_ply(path, gaussians.replace(sh=gaussians.sh[:, :3]), alive)

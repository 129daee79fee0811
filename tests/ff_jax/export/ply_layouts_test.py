"""Scenes of Gaussians in the layouts of other tools, written here byte by byte, are read to the same numbers."""

import jax.numpy as jnp
import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from experiments.studies.measures.robustness.writers.gaussians import write_compressed
from ff_jax.export.formats.splats import FLAT, OPAQUE
from ff_jax.export.ply import read_ply, write_ply
from ff_jax.export.ply_layouts import read_splat_header, read_splats
from ff_jax.render.gaussians import SH_C0
from tests.random_inputs import seeded_rng
from tests.scenes import random_gaussians

FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh")
NORMALS = ("nx", "ny", "nz")


def table_of(gaussians, dtype="f4", *, order=1, normals=True, rgb=False):
    """Make the vertices of a tool: the properties in one order or its reverse, of one type."""
    sh = np.asarray(gaussians.sh, np.float64)
    count, coefficients, _ = sh.shape
    values = dict(zip("xyz", np.asarray(gaussians.means).T, strict=True))
    values |= {name: np.ones(count) for name in NORMALS} if normals else {}
    if rgb:
        values |= {n: np.rint((sh[:, 0, i] * SH_C0 + 0.5) * 255) for i, n in enumerate(("red", "green", "blue"))}
    else:
        values |= {f"f_dc_{i}": sh[:, 0, i] for i in range(3)}
    for channel in range(3):
        for k in range(1, coefficients):
            values[f"f_rest_{channel * (coefficients - 1) + k - 1}"] = sh[:, k, channel]
    values["opacity"] = np.asarray(gaussians.logit_opacities)
    values |= {f"scale_{i}": np.asarray(gaussians.log_scales)[:, i] for i in range(3)}
    values |= {f"rot_{i}": np.asarray(gaussians.quats)[:, i] for i in range(4)}
    names = list(values)[::order]
    table = np.zeros(count, [(name, "u1" if name in ("red", "green", "blue") else dtype) for name in names])
    for name in names:
        table[name] = values[name]
    return table


def assert_equal(a, b, rtol=0.0, atol=0.0):
    for name in FIELDS:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol, atol, err_msg=name)


# INRIA and SuperSplat, gsplat and Brush without normals in another order, big-endian, double, ASCII.
@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({}, {}),
        ({"normals": False, "order": -1}, {}),
        ({"dtype": ">f4"}, {"byte_order": ">"}),
        ({"dtype": "f8"}, {}),
        ({"normals": False}, {"text": True}),
    ],
)
def test_plain_layouts_are_read_bit_by_bit(tmp_path, degree, options, how):
    gaussians = random_gaussians(seeded_rng(), 7, coefficients=(degree + 1) ** 2)
    element = PlyElement.describe(table_of(gaussians, **options), "vertex")
    PlyData([element], **how).write(str(tmp_path / "a.ply"))
    stored = read_splats(tmp_path / "a.ply")
    assert_equal(stored.gaussians, gaussians, rtol=1e-6 if how.get("text") else 0.0)
    header = read_splat_header(tmp_path / "a.ply")
    assert (header.count, header.sh_degree, header.antialiased, stored.dropped) == (7, degree, False, 0)


def test_colors_may_be_bytes(tmp_path):
    gaussians = random_gaussians(seeded_rng(), 9, coefficients=1)
    PlyData([PlyElement.describe(table_of(gaussians, rgb=True), "vertex")]).write(str(tmp_path / "a.ply"))
    stored = read_splats(tmp_path / "a.ply").gaussians
    np.testing.assert_allclose(stored.sh, gaussians.sh, atol=0.51 / 255 / SH_C0)
    np.testing.assert_array_equal(stored.quats, gaussians.quats)


@pytest.mark.parametrize(("coefficients", "with_color_bounds"), [(1, False), (4, True), (16, True)])
def test_the_compressed_layout_is_read_to_its_precision(tmp_path, coefficients, with_color_bounds):
    options = {"coefficients": coefficients, "brightness": 0.0, "color_std": 0.3, "logits": (-2, 2)}
    gaussians = random_gaussians(seeded_rng(), 300, **options)
    write_compressed(tmp_path / "a.compressed.ply", gaussians, with_color_bounds)
    stored = read_splats(tmp_path / "a.compressed.ply").gaussians
    np.testing.assert_allclose(stored.means, gaussians.means, atol=3 / 1023)
    np.testing.assert_allclose(stored.log_scales, gaussians.log_scales, atol=2 / 1023)
    np.testing.assert_allclose(stored.sh[:, 0], gaussians.sh[:, 0], atol=3 / 255 / SH_C0)
    np.testing.assert_allclose(stored.sh[:, 1:], gaussians.sh[:, 1:], atol=4.01 / 255)
    np.testing.assert_allclose(stored.logit_opacities, gaussians.logit_opacities, atol=0.03)
    unit = gaussians.quats / jnp.linalg.norm(gaussians.quats, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((stored.quats * np.asarray(unit)).sum(1)), 1.0, atol=1e-5)
    with pytest.raises(ValueError, match="too few chunks"):
        data = (tmp_path / "a.compressed.ply").read_bytes().replace(b"element chunk 2", b"element chunk 1")
        (tmp_path / "b.ply").write_bytes(data)
        read_splats(tmp_path / "b.ply")


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        ((), False),
        (("Exported from Brush", "SplatRenderMode: mip"), True),
        (("SplatRenderMode: default",), False),
        (("antialiased 1",), True),
        (("antialiased 1", "SplatRenderMode:  default"), False),
    ],
)
def test_a_comment_tells_whether_opacity_was_compensated(tmp_path, comments, expected):
    gaussians = random_gaussians(seeded_rng(), 2, coefficients=1)
    write_ply(tmp_path / "a.ply", gaussians, np.ones(2, bool), comments)
    header = read_splat_header(tmp_path / "a.ply")
    assert header.antialiased == expected and header.comments == comments


def test_values_that_are_not_finite_are_dropped_with_a_count(tmp_path):
    rng = seeded_rng()
    table = table_of(random_gaussians(rng, 40, coefficients=4))
    bad = rng.choice(40, 6, replace=False)
    values = {"x": np.nan, "f_rest_3": np.inf, "scale_1": np.inf, "scale_0": 200, "rot_2": np.nan}
    for row, (name, value) in zip(bad[:5], values.items(), strict=True):
        table[name][row] = value
    for i in range(4):
        table[f"rot_{i}"][bad[5]] = 0
    flat, opaque = np.setdiff1d(np.arange(40), bad)[:2]
    table["scale_2"][flat], table["opacity"][opaque] = -np.inf, np.inf  # flat and opaque Gaussians are usual
    PlyData([PlyElement.describe(table, "vertex")]).write(str(tmp_path / "a.ply"))
    stored = read_splats(tmp_path / "a.ply")
    kept = np.setdiff1d(np.arange(40), bad)
    assert stored.dropped == 6 and len(stored.gaussians.means) == 34
    np.testing.assert_array_equal(stored.gaussians.means[:, 1], table["y"][kept])
    assert stored.gaussians.log_scales[0, 2] == FLAT and stored.gaussians.logit_opacities[1] == OPAQUE
    assert read_ply(tmp_path / "a.ply")[0].capacity == 34


def test_missing_properties_are_named(tmp_path):
    table = table_of(random_gaussians(seeded_rng(), 3, coefficients=4))

    def error(names):
        part = np.zeros(3, [(name, "f4") for name in names])
        PlyData([PlyElement.describe(part, "vertex")]).write(str(tmp_path / "a.ply"))
        with pytest.raises(ValueError, match=r"a\.ply") as caught:
            read_splat_header(tmp_path / "a.ply")
        return str(caught.value)

    names = table.dtype.names
    assert "lacks the properties scale_2;" in error([n for n in names if n != "scale_2"])  # Gaussians of two dimensions
    assert "perhaps only points" in error(["x", "y", "z"])
    assert "fits no degree" in error([n for n in names if n != "f_rest_8"])
    assert "f_dc_1" in error([n for n in names if n != "f_dc_1"])
    for content, text in ((b"plywood", "not a PLY file"), (b"ply\nelement vertex 9999\nend_header\n", "cannot hold")):
        (tmp_path / "b.ply").write_bytes(content)
        with pytest.raises(ValueError, match=text):
            read_splats(tmp_path / "b.ply")

"""SPZ files of version 4 are read by an independent program; those of versions 2 to 4 of others are read by us."""

import gzip
import struct

import gaussforge
import numpy as np
import pytest
import zstandard
from scipy.special import expit

from experiments.studies.measures.robustness.writers.gaussians import write_gzip_spz
from ff_jax.export.formats import spz
from ff_jax.export.formats.splats import unit_quats
from ff_jax.export.ply import write_ply
from ff_jax.metrics.image import psnr
from ff_jax.render.similarity import moved
from tests.ff_jax.export.formats.samples import decoded, gaussians_of, rendered, rotation_error

OTHER_AXES = np.diag([1.0, -1.0, -1.0, 1.0])
QUAT_STEP = 1 / 511 / np.sqrt(2)
BANDS = {1: slice(1, 4), 2: slice(4, 16)}


def turned(gaussians):
    """Turn the scene by 180 degrees about x, and the axes of each Gaussian back about its own x."""
    quats = gaussians.quats * np.float32([1, 1, -1, -1])
    world = moved(gaussians, OTHER_AXES)
    flipped = unit_quats(world.quats)[:, [1, 0, 3, 2]] * [-1, 1, 1, -1]  # times (0, 1, 0, 0) from the right
    assert rotation_error(flipped, quats).max() < 1e-3
    return world._replace(quats=quats)


def assert_near(found, expected, sh_steps=(8, 16), quat_step=QUAT_STEP):
    """Check that values are off by half a step of their quantization (and rounding of floats)."""
    np.testing.assert_allclose(found.means, expected.means, atol=0.501 / 4096)
    np.testing.assert_allclose(found.log_scales, expected.log_scales, atol=0.501 / 16)
    np.testing.assert_allclose(expit(found.logit_opacities), expit(expected.logit_opacities), atol=0.501 / 255)
    np.testing.assert_allclose(found.sh[:, 0], expected.sh[:, 0], atol=0.501 / 255 / 0.15)
    for (_, band), step in zip(BANDS.items(), sh_steps, strict=True):
        np.testing.assert_allclose(found.sh[:, band], expected.sh[:, band], atol=(0.51 * step + 0.51) / 128)
    # Three components are off by half a step; the largest one, at least 1/2, by up to sqrt(3) times their distance.
    assert rotation_error(found.quats, expected.quats).max() < 2 * 2 * np.sqrt(3) * 0.51 * quat_step


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_an_independent_reader_gives_the_turned_scene(tmp_path, coefficients):
    gaussians = gaussians_of(60, coefficients)
    spz.write(tmp_path / "a.spz", gaussians, ["SplatRenderMode: mip"])
    data = (tmp_path / "a.spz").read_bytes()
    assert struct.unpack_from("<IIIBBBBI", data) == (
        *(0x5053474E, 4, 60, round(coefficients**0.5) - 1, 12, 1), 5 + (coefficients > 1), 32
    )  # fmt: skip
    assert_near(decoded(tmp_path / "a.spz", "spz"), turned(gaussians))  # it does not turn axes


@pytest.mark.parametrize("coefficients", [1, 16])
def test_what_was_written_is_read(tmp_path, coefficients):
    gaussians = gaussians_of(50, coefficients)
    spz.write(tmp_path / "a.spz", gaussians)
    header, stored = spz.read_header(tmp_path / "a.spz"), spz.read(tmp_path / "a.spz")
    assert (header.count, header.antialiased, stored.dropped) == (50, False, 0)
    assert_near(stored.gaussians, gaussians)
    spz.write(tmp_path / "b.spz", stored.gaussians)
    again = spz.read(tmp_path / "b.spz").gaussians
    for name in ("means", "log_scales", "sh"):
        np.testing.assert_array_equal(getattr(again, name), getattr(stored.gaussians, name))


@pytest.mark.slow
def test_the_scene_renders_as_before(tmp_path):
    """The scene has no symmetry: without the signs of positions, rotations and colors it renders otherwise."""
    gaussians = gaussians_of(40, 16)
    before = rendered(gaussians)
    spz.write(tmp_path / "a.spz", gaussians)
    found = spz.read(tmp_path / "a.spz").gaussians
    assert psnr(rendered(found), before) > 38
    unturned = turned(found)
    for parts in (("quats",), ("sh",)):
        changed = found._replace(**{name: getattr(unturned, name) for name in parts})
        assert psnr(rendered(changed), before) < 30, parts


@pytest.mark.parametrize("version", [2, 3])
def test_gzip_files_are_read(tmp_path, version):
    gaussians = gaussians_of(30, 16)
    write_gzip_spz(tmp_path / "a.spz", gaussians, version)
    stored = spz.read(tmp_path / "a.spz")
    assert spz.read_header(tmp_path / "a.spz").sh_degree == 3
    if version == 3:
        assert_near(stored.gaussians, gaussians, sh_steps=(1, 1))
    # Version 2: w follows from three bytes, and is inaccurate where it is small.
    errors = rotation_error(stored.gaussians.quats, gaussians.quats)
    assert np.median(errors) < 0.02 and errors.max() < 0.3
    np.testing.assert_allclose(stored.gaussians.means, gaussians.means, atol=0.501 / 4096)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_files_of_another_writer_are_read(tmp_path, version):
    gaussians = gaussians_of(30, 4)
    write_ply(tmp_path / "a.ply", gaussians, np.ones(30, bool))
    ply = (tmp_path / "a.ply").read_bytes()
    data = gaussforge.GaussForge().convert(ply, "ply", "spz", spz_version=version)["data"]
    (tmp_path / "a.spz").write_bytes(data)
    quat_step = 0.1 if version == 2 else QUAT_STEP
    assert_near(spz.read(tmp_path / "a.spz").gaussians, turned(gaussians), quat_step=quat_step)


def test_large_scenes_have_fewer_fractional_bits(tmp_path):
    gaussians = gaussians_of(5, 1)
    far = gaussians._replace(means=gaussians.means * np.float32(3000))
    spz.write(tmp_path / "a.spz", far)
    bits = (tmp_path / "a.spz").read_bytes()[13]
    assert 6 < bits < 12
    np.testing.assert_allclose(spz.read(tmp_path / "a.spz").gaussians.means, far.means, atol=0.51 / 2**bits)
    with pytest.raises(ValueError, match="expected at most 4194303 in SPZ"):
        spz.write(tmp_path / "b.spz", gaussians._replace(means=gaussians.means * np.float32(1e7)))


def with_stream(data: bytes, stream: bytes, size: int) -> bytes:
    """Replace the first stream of a file of version 4."""
    stored, _ = struct.unpack_from("<QQ", data, 32)
    table = struct.pack("<QQ", len(stream), size) + data[48 : 32 + 16 * data[15]]
    return data[:32] + table + stream + data[32 + 16 * data[15] + stored :]


def test_damaged_files_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "a.spz"
    spz.write(path, gaussians_of(20, 4))
    data = path.read_bytes()
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 24))
    cases = {
        b"": "is no SPZ file",
        b"\x1f\x8b" + bytes(30): "is no SPZ file",
        data[:20]: "cannot be read as SPZ",
        data[:-5]: "it ends too early",
        data[:4] + struct.pack("<I", 5) + data[8:]: "of version 2, 3 or 4",
        gzip.compress(data): "of version 2, 3 or 4",
        data[:8] + struct.pack("<I", 10**9) + data[12:]: "claim to hold",
        data[:8] + struct.pack("<I", 21) + data[12:]: r"streams have \[180, .* instead of \[189",
        data[:12] + b"\x04" + data[13:]: "degree 4",
        with_stream(data, bomb, 180): "a stream does not have 180 bytes",
        with_stream(data, bomb, 1 << 24): "instead of",
        with_stream(data, zstandard.ZstdCompressor(write_content_size=False).compress(bytes(90)), 180): "too early",
        with_stream(data, b"x" * 50, 180): "cannot be read as SPZ",
    }
    for content, text in cases.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=text) as caught:
            spz.read(path)
        assert "a.spz" in str(caught.value)
    zeros = gzip.compress(struct.pack("<IIIBBBB", spz.MAGIC, 3, 10**6, 3, 12, 0, 0) + bytes(10**6))
    path.write_bytes(zeros)
    with pytest.raises(ValueError, match="ends too early"):
        spz.read(path)

"""`.splat` files, read by an independent program and by our own reader to the precision of their bytes."""

import gaussforge
import numpy as np
import pytest

from ff_jax.export.formats import splat
from ff_jax.export.formats.splats import unit_quats
from ff_jax.export.ply import write_ply
from tests.ff_jax.export.formats.samples import decoded, gaussians_of, rotation_error


def test_an_independent_reader_gives_the_same_numbers(tmp_path):
    gaussians = gaussians_of(40, 4)
    splat.write(tmp_path / "a.splat", gaussians)
    assert (tmp_path / "a.splat").stat().st_size == 40 * 32
    found = decoded(tmp_path / "a.splat", "splat")
    np.testing.assert_array_equal(found.means, gaussians.means)
    np.testing.assert_allclose(found.log_scales, gaussians.log_scales, atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-found.logit_opacities)), 1 / (1 + np.exp(-gaussians.logit_opacities)),
                               atol=0.51 / 255)  # fmt: skip
    np.testing.assert_allclose(found.sh[:, 0], gaussians.sh[:, 0], atol=0.51 / 255 / 0.28209479)
    # Each component is off by half a step of 1/128, a component of 1 by a whole one.
    assert rotation_error(found.quats, gaussians.quats).max() < 2 * np.arcsin(np.sqrt(4) / 128)


def test_bytes_are_those_of_another_writer_up_to_rounding(tmp_path):
    gaussians = gaussians_of(40, 1)
    write_ply(tmp_path / "a.ply", gaussians, np.ones(40, bool))
    splat.write(tmp_path / "a.splat", gaussians)
    other = gaussforge.GaussForge().convert((tmp_path / "a.ply").read_bytes(), "ply", "splat")["data"]
    ours, theirs = (np.frombuffer(data, splat.ROW) for data in ((tmp_path / "a.splat").read_bytes(), other))
    np.testing.assert_allclose(ours["scale"], theirs["scale"], rtol=1e-5)
    for name in ("rgba", "quat"):
        assert np.abs(ours[name].astype(int) - theirs[name]).max() <= 1


def test_what_was_written_is_read(tmp_path):
    gaussians = gaussians_of(30, 1)
    splat.write(tmp_path / "a.splat", gaussians)
    stored = splat.read(tmp_path / "a.splat")
    assert stored.dropped == 0 and splat.read_header(tmp_path / "a.splat").count == 30
    np.testing.assert_allclose(stored.gaussians.means, gaussians.means)
    np.testing.assert_allclose(
        unit_quats(stored.gaussians.quats), decoded(tmp_path / "a.splat", "splat").quats, atol=1e-6
    )
    splat.write(tmp_path / "b.splat", stored.gaussians)
    ours, again = (np.frombuffer((tmp_path / name).read_bytes(), splat.ROW) for name in ("a.splat", "b.splat"))
    np.testing.assert_array_equal(ours["rgba"], again["rgba"])


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.splat"
    path.write_bytes(bytes(33))
    with pytest.raises(ValueError, match=r"a\.splat: 33 bytes are no multiple of 32"):
        splat.read(path)
    rows = np.zeros(3, splat.ROW)
    rows["scale"][0], rows["rgba"][0], rows["quat"][0] = 1, (1, 2, 3, 255), (255, 128, 128, 128)
    rows["scale"][1], rows["quat"][1] = -1, (255, 128, 128, 128)  # a negative standard deviation
    rows["quat"][2] = 128  # no orientation
    path.write_bytes(rows.tobytes())
    stored = splat.read(path)
    assert stored.gaussians.count == 1 and stored.dropped == 2 and stored.gaussians.logit_opacities[0] == 20

import numpy as np

from ff_jax.data.folder import write_folder
from ff_jax.export.formats.files import read_gaussians
from ff_jax.export.ply import write_ply
from tests import programs
from tests.ff_jax.data import tiny
from tests.ff_jax.export.formats.samples import gaussians_of


def test_a_log_is_scaled_written_and_checked(tmp_path):
    source = write_folder(tiny.make_scene(tmp_path / "files"), tmp_path / "source")
    made = programs.run(
        "experiments.convert", f"--source={source}", f"--out={tmp_path}/small", "--width=12", "--decode"
    )
    assert made.returncode == 0, made.stderr
    assert f"wrote {tmp_path}/small: tiny: 6 images (0 test) of a, b; 3 time steps, 3 sweeps" in made.stdout

    (tmp_path / "small" / "images" / "000002_a.png").write_text("scratched")
    checked = programs.run("experiments.convert", f"--check={tmp_path}/small")
    assert checked.returncode == 1 and "Traceback" not in checked.stderr
    assert "1 problem(s)" in checked.stderr and "000002_a.png: cannot be read" in checked.stderr


def test_a_file_of_gaussians_is_converted_with_its_sky(tmp_path):
    gaussians = gaussians_of(9, 4)
    write_ply(tmp_path / "a.ply", gaussians, np.arange(9) < 8)
    (tmp_path / "a.appearance.npz").write_bytes(b"sky")
    done = programs.run("experiments.convert", f"--source={tmp_path}/a.ply", f"--out={tmp_path}/new/b.splat")
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path}/new/b.splat: 8 Gaussians, 256 bytes" in done.stdout
    np.testing.assert_array_equal(read_gaussians(tmp_path / "new" / "b.splat").gaussians.means, gaussians.means[:8])
    assert (tmp_path / "new" / "b.appearance.npz").read_bytes() == b"sky"


def test_wrong_conversions_get_one_sentence(tmp_path):
    (tmp_path / "a.splat").write_bytes(bytes(33))
    wrong = {
        (f"--source={tmp_path}/a.splat", f"--out={tmp_path}/b.ply"): "33 bytes are no multiple of 32",
        (f"--source={tmp_path}/none.ply", f"--out={tmp_path}/b.splat"): "no such file",
        (f"--source={tmp_path}/a.splat", f"--out={tmp_path}/b.glb"): "expected a name that ends with .ply, .splat",
        (f"--run={tmp_path}", f"--out={tmp_path}/b"): "expected a name that ends with .ply, .splat",
        (f"--source={tmp_path}/a.splat", f"--run={tmp_path}", "--out=b.ply"): "expected --source and --out, --run",
    }
    for done, text in zip(programs.run_each("experiments.convert", wrong), wrong.values(), strict=True):
        assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr, done

from ff_jax.data.folder import write_folder
from tests.ff_jax.data import tiny


def test_a_log_is_scaled_written_and_checked(server, tmp_path):
    source = write_folder(tiny.make_scene(tmp_path / "files"), tmp_path / "source")
    made = server.run("experiments.convert", f"--source={source}", f"--out={tmp_path}/small", "--width=12", "--decode")
    assert made.returncode == 0, made.stderr
    assert f"wrote {tmp_path}/small: tiny: 6 images (0 test) of a, b; 3 time steps, 3 sweeps" in made.stdout

    (tmp_path / "small" / "images" / "000002_a.png").write_text("scratched")
    checked = server.run("experiments.convert", f"--check={tmp_path}/small")
    assert checked.returncode == 1 and "Traceback" not in checked.stderr
    assert "1 problem(s)" in checked.stderr and "000002_a.png: cannot be read" in checked.stderr

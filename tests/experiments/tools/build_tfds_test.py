import pytest

from ff_jax.data.folder import write_folder
from tests import programs
from tests.ff_jax.data import tiny

pytest.importorskip("tensorflow_datasets")


def test_logs_are_stored_and_a_second_time_refused(tmp_path):
    source = write_folder(tiny.make_scene(tmp_path / "files"), tmp_path / "source")
    flags = f"--source={source}?frames=1:3", f"--out={tmp_path}/out"
    made = programs.run("experiments.tools.build_tfds", *flags, "--width=12")
    assert made.returncode == 0, made.stderr
    assert f"wrote {tmp_path}/out?log=tiny: 4 images, 2 sweeps, 2 boxes" in made.stdout
    again = programs.run("experiments.tools.build_tfds", *flags)
    assert again.returncode == 1 and "Traceback" not in again.stderr
    assert "error: " in again.stderr and "ff_driving exists; choose another folder or remove it." in again.stderr

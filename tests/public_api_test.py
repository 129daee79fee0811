"""The front door: `import ff_jax as ff` is light, and every public name exists and is documented."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ff_jax as ff
from ff_jax.pipeline import config as config_module

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
HEAVY = ("diffusers", "matplotlib", "viser", "jax", "tensorflow_datasets", "onnxruntime")


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, ff_jax; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_every_public_name_is_there_and_documented():
    for name in ff.__all__:
        assert getattr(ff, name).__doc__, name
    for name in set(dir(ff)) - set(ff.__all__):
        assert getattr(ff, name).__name__ == f"ff_jax.{name}"


def test_no_public_name_is_that_of_a_package():
    """An import of the package `ff_jax.X` makes `ff.X` that package, whatever it was before."""
    assert not set(ff.__all__) & {path.parent.name for path in (ROOT / "ff_jax").glob("*/__init__.py")}


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(ff, "no_such_name")


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    config = config_module.demo_config()
    tiny = dataclasses.replace(
        config,
        steps=12,
        save_every=50,
        pseudo_view_capacity=20,
        data=dataclasses.replace(config.data, width=32, height=20, frames=6),
        init=dataclasses.replace(config.init, points=300),
        recon=dataclasses.replace(config.recon, budget=600),
        schedule=dataclasses.replace(config.schedule, start=4, every=3),
        evaluate=dataclasses.replace(config.evaluate, frames=2, video_frames=2, shifts=(3.0,)),
    )
    monkeypatch.setattr(config_module, "demo_config", lambda: tiny)
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert scope["fixed"].shape == (1, 20, 32, 3) and scope["render"].eig.shape == (20, 32)
    assert "3 m left" in capsys.readouterr().out and (tmp_path / "scene.ply").stat().st_size > 1000
    again = ff.load_run("runs/fused", scope["log"])
    psnr = [[row["psnr"] for row in run.metrics["shifts"]["Fused"]] for run in (again, scope["fused"])]
    assert psnr[0] == psnr[1]

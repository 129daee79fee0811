"""The package installs from a folder and from git, brings the command `ff`, and is not taken for another `kernels`."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DATA = {
    "experiments/configs/ddad_outlines.json",
    "ff_jax/export/page.html.j2",
    "ff_jax/export/scene.html.j2",
    "ff_jax/export/viewer/LICENSE",
    "ff_jax/export/viewer/gsplat.min.js",
    "ff_jax/fixers/difix/weights/tiny.safetensors",
    "ff_jax/fixers/eigent/weights/tiny.safetensors",
    "ff_jax/py.typed",
    "ff_jax/simulation/proto/messages.binpb",
    "ff_jax/simulation/proto/sensorsim.proto",
    "kernels/py.typed",
    "kernels/tuned/NVIDIA_H200.json",
}


def requirements(name: str) -> set[str]:
    lines = ((ROOT / name).read_text() + "\n").splitlines()
    return {line.partition("#")[0].strip() for line in lines} - {""}


def extra(name: str) -> set[str]:
    """Return the packages of an extra, with those of the extras that it names."""
    entries = PROJECT["optional-dependencies"][name]
    inner = [re.fullmatch(r"faithfusion-jax\[(.+)\]", entry) for entry in entries]
    others = {package for match in inner if match for part in match[1].split(",") for package in extra(part)}
    return {entry for entry, match in zip(entries, inner, strict=True) if not match} | others


def test_extras_and_requirement_files_agree():
    assert PROJECT["dynamic"] == ["dependencies"]  # from requirements-cpu.txt
    assert extra("cuda12") == requirements("requirements.txt") - requirements("requirements-cpu.txt")
    assert extra("test") == requirements("requirements-test.txt")
    names = {"cuda12", "tpu", "viewer", "onnx", "sfm", "slurm", "formats", "serve", "simulation", "test", "docs"}
    assert names == set(PROJECT["optional-dependencies"])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """Return a copy of the project under git: an installation writes beside the sources."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("ff_jax", "kernels", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements-cpu.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    git = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "All"]):
        subprocess.run([*git, *command], check=True)
    return folder


def install(checkout: Path, folder: Path, *what: str) -> Path:
    """Install the project without its dependencies in a new environment; return the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q", "--no-deps", *what]
    done = subprocess.run(pip, cwd=checkout, capture_output=True, text=True)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("no package index: pip cannot get setuptools")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "bin"


def output(*command: object, **options) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def test_it_installs_editable_from_a_folder(checkout, tmp_path):
    programs = install(checkout, tmp_path / "env", "-e", ".")
    assert "everyday commands:\n  convert " in output(programs / "ff", "--help", cwd=tmp_path)
    code = "import importlib.util as u; print(*(u.find_spec(n).origin for n in ('ff_jax', 'kernels', 'experiments')))"
    folders = [Path(path).parents[1] for path in output(programs / "python", "-c", code, cwd=tmp_path).split()]
    assert folders == [checkout] * 3


def test_it_installs_from_git_with_its_data(checkout, tmp_path):
    programs = install(checkout, tmp_path / "env", f"git+file://{checkout}")
    assert "  fuse " in output(programs / "ff", cwd=tmp_path)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(output(programs / "python", "-c", code).strip())
    assert all((site / name).is_file() for name in DATA)
    assert not (site / "tests").exists()
    (info,) = site.glob("*.dist-info")
    metadata = (info / "METADATA").read_text()
    assert info.name == "faithfusion_jax-0.1.0.dist-info" and "\nRequires-Dist: flax<0.13,>=0.12.8\n" in metadata
    assert set(re.findall(r"\nProvides-Extra: (.+)", metadata)) == set(PROJECT["optional-dependencies"])


def test_no_distribution_is_called_kernels():
    """Libraries that can use Hugging Face's `kernels` ask for a distribution of this name, not for the folder."""
    assert PROJECT["name"] == "faithfusion-jax"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("kernels")
    # In a process of its own: the import of our folder is part of what is tested.
    code = """
import kernels, transformers.utils, diffusers.utils
assert hasattr(kernels, "default_tile")
print(transformers.utils.is_kernels_available(), diffusers.utils.is_kernels_available())
"""
    assert output(sys.executable, "-c", code, cwd=ROOT) == "False False\n"


def test_another_package_of_that_name_is_reported_in_one_sentence(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    command = [sys.executable, "-c", "import ff_jax"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode and "ImportError" in done.stderr and "pip uninstall kernels" in done.stderr

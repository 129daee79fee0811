"""The front door: `import ff_jax as ff` is light, and every public name exists and is documented."""

import subprocess
import sys
from pathlib import Path

import ff_jax as ff

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


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(ff, "no_such_name")

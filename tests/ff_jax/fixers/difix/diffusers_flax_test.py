"""A package that cannot be imported looks absent while diffusers is imported; one that works is kept."""

import importlib.util
import sys

import pytest

from ff_jax.fixers.difix.diffusers_flax import hidden_if_broken

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "error", ["RuntimeError('operator torchvision::nms does not exist')", "ImportError('no symbol')"]
)
def test_a_broken_package_looks_absent_inside_the_context_alone(error, tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    with hidden_if_broken("broken_package"):
        assert importlib.util.find_spec("broken_package") is None
        with pytest.raises(ImportError):
            importlib.import_module("broken_package")
    assert "broken_package" not in sys.modules and importlib.util.find_spec("broken_package") is not None


def test_a_package_that_works_or_is_absent_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "working_package.py").write_text("x = 3")
    monkeypatch.syspath_prepend(tmp_path)
    with hidden_if_broken("working_package"), hidden_if_broken("absent_package"):
        assert importlib.import_module("working_package").x == 3
    assert sys.modules.pop("working_package").x == 3 and "absent_package" not in sys.modules

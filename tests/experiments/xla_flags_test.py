"""What XLA is told, by release and machine."""

import fnmatch

import jax
import pytest

from experiments import xla_flags

FOLDING = "--xla_disable_hlo_passes=constant_folding"


@pytest.mark.parametrize(
    ("version", "platforms", "devices", "given", "expected"),
    [
        ((0, 10, 2), "cpu", (), "--a", "--a"),
        ((0, 11, 0), "cpu", ("/dev/nvidia0",), "--a", f"{FOLDING} --a"),
        ((0, 12, 1), None, (), None, FOLDING),
        ((0, 11, 2), None, ("/dev/nvidia0",), None, None),
        ((0, 11, 2), None, ("/dev/accel0",), "--a", "--a"),
    ],
)
def test_constants_are_not_folded_where_that_makes_compiling_slow(
    monkeypatch, version, platforms, devices, given, expected
):
    monkeypatch.setattr(jax, "__version_info__", version)
    monkeypatch.setattr(xla_flags.glob, "glob", lambda pattern: fnmatch.filter(devices, pattern))
    for name, value in (("JAX_PLATFORMS", platforms), ("XLA_FLAGS", given)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    xla_flags.set_flags()
    assert xla_flags.os.environ.get("XLA_FLAGS") == expected

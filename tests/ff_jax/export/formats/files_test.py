"""The suffix chooses the format, and missing packages are one sentence."""

import sys

import numpy as np
import pytest

from ff_jax.export.formats.files import FORMATS, SUFFIXES, read_gaussians, read_gaussians_header, write_gaussians
from tests.ff_jax.export.formats.samples import gaussians_of


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_written_and_read(tmp_path, suffix):
    path, gaussians = tmp_path / f"Scene{suffix.upper()}", gaussians_of(8, 4)
    write_gaussians(path, gaussians, ["SplatRenderMode: mip"])
    header, stored = read_gaussians_header(path), read_gaussians(path)
    assert header.count == stored.gaussians.count == 8 and stored.dropped == 0
    assert header.sh_degree == (0 if suffix == ".splat" else 1)
    assert header.antialiased == (suffix != ".splat")  # which has no place for it
    means = stored.gaussians.means[np.lexsort(stored.gaussians.means.T)]
    np.testing.assert_allclose(means, gaussians.means[np.lexsort(gaussians.means.T)], atol=2e-4)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"invalid file of Gaussians .*a\.glb: expected a name that ends with \.ply"):
        write_gaussians(tmp_path / "a.glb", gaussians_of(2, 1))
    with pytest.raises(ValueError, match=r"a\.usdc: expected a name that ends with \.ply, \.splat, \.spz, \.sog\."):
        read_gaussians(tmp_path / "a.usdc")
    assert set(FORMATS) < set(SUFFIXES)


@pytest.mark.parametrize(("suffix", "package"), [(".spz", "zstandard"), (".usdc", "usd-core")])
def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch, suffix, package):
    for name in ("zstandard", "pxr", "pxr.Usd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=f"need the package {package}: pip install {package}"):
        write_gaussians(tmp_path / f"a{suffix}", gaussians_of(2, 1))
    assert not list(tmp_path.iterdir())

"""SOG files are read by an independent program to the precision of their codebooks; those of that program by us."""

import json
import zipfile

import gaussforge
import numpy as np
import pytest
from scipy.special import expit

from ff_jax.export.formats import sog
from ff_jax.export.formats.sog_values import morton_order
from ff_jax.export.ply import write_ply
from ff_jax.render.gaussians import GaussianArrays
from tests.ff_jax.export.formats.samples import decoded, gaussians_of, rotation_error


def in_order(gaussians):
    order = morton_order(gaussians.means)
    return GaussianArrays(*(values[order] for values in gaussians))


def meta_of(path):
    with zipfile.ZipFile(path) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        return json.loads(archive.read("meta.json"))


def half_gap(part):
    """Return half of the largest step between neighbors in a codebook, which bounds the error."""
    return 0.501 * np.diff(part["codebook"]).max()


def assert_near(found, expected, meta):
    step = (np.array(meta["means"]["maxs"]) - meta["means"]["mins"]) / 65_535  # of log(1 + |x|)
    bound = 0.501 * step * (1 + np.abs(expected.means)) * 1.001 + 1e-6
    assert (np.abs(found.means - expected.means) <= bound).all()
    np.testing.assert_allclose(found.log_scales, expected.log_scales, atol=half_gap(meta["scales"]) + 1e-6)
    np.testing.assert_allclose(expit(found.logit_opacities), expit(expected.logit_opacities), atol=0.501 / 255)
    np.testing.assert_allclose(found.sh[:, 0], expected.sh[:, 0], atol=half_gap(meta["sh0"]) + 1e-6)
    # Three components are off by half a step of sqrt 2 / 255.
    assert rotation_error(found.quats, expected.quats).max() < 2 * 2 * np.sqrt(3) * 0.51 * np.sqrt(2) / 255


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_an_independent_reader_gives_the_same_scene(tmp_path, coefficients):
    """There are as many entries of the palette as Gaussians: only the codebook is inexact."""
    gaussians = gaussians_of(64, coefficients)
    sog.write(tmp_path / "a.sog", gaussians, ["SplatRenderMode: mip", "log_from_scene: 1 2"])
    meta, expected = meta_of(tmp_path / "a.sog"), in_order(gaussians)
    assert (meta["version"], meta["count"], meta["antialias"], "shN" in meta) == (2, 64, True, coefficients > 1)
    for found in (decoded(tmp_path / "a.sog", "sog"), sog.read(tmp_path / "a.sog").gaussians):
        assert_near(found, expected, meta)
        if coefficients > 1:
            np.testing.assert_allclose(found.sh[:, 1:], expected.sh[:, 1:], atol=half_gap(meta["shN"]) + 1e-6)
    header = sog.read_header(tmp_path / "a.sog")
    assert header.comments == ("SplatRenderMode: mip", "log_from_scene: 1 2") and header.antialiased
    assert (header.count, header.sh_degree) == (64, round(coefficients**0.5) - 1)


def test_a_palette_stands_for_similar_colors(tmp_path):
    """Gaussians of 20 kinds, 15 of each: the palette of 256 entries finds the kinds."""
    gaussians = gaussians_of(300, 16)
    kinds = gaussians.sh[:20, 1:][np.arange(300) % 20]
    gaussians = gaussians._replace(sh=np.concatenate([gaussians.sh[:, :1], kinds], 1))
    sog.write(tmp_path / "a.sog", gaussians)
    found, meta = sog.read(tmp_path / "a.sog").gaussians, meta_of(tmp_path / "a.sog")
    assert meta["shN"]["count"] <= 256
    assert_near(found, in_order(gaussians), meta)
    errors = np.abs(found.sh - in_order(gaussians).sh)[:, 1:].max((1, 2))
    assert np.median(errors) <= half_gap(meta["shN"]) + 1e-6


def test_files_of_another_writer_are_read(tmp_path):
    gaussians = gaussians_of(50, 4)
    write_ply(tmp_path / "a.ply", gaussians, np.ones(50, bool))
    data = gaussforge.GaussForge().convert((tmp_path / "a.ply").read_bytes(), "ply", "sog")["data"]
    (tmp_path / "a.sog").write_bytes(data)
    found, other = sog.read(tmp_path / "a.sog").gaussians, decoded(tmp_path / "a.sog", "sog")
    for name in ("means", "log_scales", "sh"):
        np.testing.assert_allclose(getattr(found, name), getattr(other, name), atol=1e-5)
    assert rotation_error(found.quats, other.quats).max() < 2e-3
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        archive.extractall(tmp_path / "folder")
    np.testing.assert_array_equal(sog.read(tmp_path / "folder").gaussians.sh, found.sh)


def test_a_scene_without_gaussians_is_a_valid_file(tmp_path):
    sog.write(tmp_path / "a.sog", gaussians_of(0, 4))
    assert sog.read(tmp_path / "a.sog").gaussians.count == 0


def changed(path, name, data):
    """Replace a member of an archive; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in (members | {name: data}).items():
            if content is not None:
                archive.writestr(member, content)


@pytest.mark.parametrize(
    ("name", "edit", "text"),
    [
        ("meta.json", None, "has no .*meta.json"),
        ("meta.json", b"[", "not valid JSON"),
        ("meta.json", {"version": 1}, "no SOG file of version 2"),
        ("meta.json", {"count": 10**9}, "claim to hold"),
        ("meta.json", {"count": 10**4}, "less than 10000 pixels"),
        ("meta.json", {"count": "many"}, "count='many'"),
        ("meta.json", {"means": {"files": ["a.webp", "b.webp"]}}, "has no .*a.webp"),
        ("meta.json", {"scales": {"files": ["scales.webp"], "codebook": [1, 2]}}, "reshape"),
        ("shN_labels.webp", "quats.webp", "no number"),
        ("shN_centroids.webp", "quats.webp", "pixels wide"),
        ("quats.webp", b"RIFF", "cannot identify"),
        ("sh0.webp", None, "has no .*sh0.webp"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(tmp_path, name, edit, text):
    path = tmp_path / "a.sog"
    sog.write(path, gaussians_of(20, 4))
    if isinstance(edit, dict):
        edit = json.dumps(meta_of(path) | edit).encode()
    elif isinstance(edit, str):
        with zipfile.ZipFile(path) as archive:
            edit = archive.read(edit)
    changed(path, name, edit)
    with pytest.raises(ValueError, match=text) as caught:
        sog.read(path)
    assert "a.sog" in str(caught.value)

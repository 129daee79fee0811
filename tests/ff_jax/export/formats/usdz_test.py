"""USDZ packages: members are stored at multiples of 64 bytes, and OpenUSD opens the layer."""

import zipfile

import numpy as np
from pxr import Usd, UsdGeom, UsdValidation

from ff_jax.export.formats.nodes import SceneNode
from ff_jax.export.formats.usdz import write_package
from tests.ff_jax.export.formats.samples import gaussians_of


def content_offsets(path):
    """Read where the contents of the members begin, from their local headers."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            file.seek(member.header_offset + 26)
            name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
            yield member.filename, member.header_offset + 30 + name + extra


def test_members_are_aligned_and_the_layer_opens(tmp_path):
    members = {"metadata.yaml": "{}", "folder/lengths.json": "ä" * 77}
    placement = np.eye(4)
    placement[:3, :3], placement[:3, 3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]], (1, 2, 3)
    write_package(tmp_path / "a.usdz", [SceneNode("static", gaussians_of(9, 4))], members, ["made here"], placement)
    offsets = dict(content_offsets(tmp_path / "a.usdz"))
    assert list(offsets) == ["scene.usdc", *members] and not any(offset % 64 for offset in offsets.values())
    with zipfile.ZipFile(tmp_path / "a.usdz") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name).decode() for name in members} == members
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    prim = stage.GetPrimAtPath("/scene/static")
    assert len(prim.GetAttribute("positions").Get()) == 9
    matrix = np.array(UsdGeom.XformCache().GetLocalToWorldTransform(prim)).T
    np.testing.assert_allclose(matrix, placement)
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(stage)  # readers of packages expect other files
    assert {error.GetName() for error in errors} == {"UnsupportedFileExtensionInPackage"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.usdz"]

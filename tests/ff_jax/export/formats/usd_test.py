"""USD layers, opened by OpenUSD itself."""

import numpy as np
import pytest
from pxr import Usd, UsdGeom, UsdValidation, UsdVol
from scipy.spatial.transform import Rotation
from scipy.special import expit

from ff_jax.export.formats import usd
from ff_jax.export.formats.files import write_gaussians
from ff_jax.export.formats.nodes import NodeMotion, SceneNode
from tests.ff_jax.export.formats.samples import gaussians_of, rotation_error
from tests.random_inputs import seeded_rng


def motion_of(rng):
    quats = np.roll(Rotation.random(4, random_state=rng).as_quat(), 1, 1) * [[1], [-1], [1], [-1]]
    return NodeMotion(
        np.array([0.0, 0.5, 1.5, 2.0]), quats, rng.normal(size=(4, 3)), np.array([True, True, False, True])
    )


@pytest.mark.parametrize("suffix", [".usdc", ".usda", ".usd"])
def test_every_node_is_a_prim_with_all_its_values(tmp_path, suffix):
    nodes = [SceneNode("static", gaussians_of(12, 16)), SceneNode("ground", gaussians_of(5, 16))]
    path = tmp_path / f"a{suffix}"
    usd.write(path, nodes, ["SplatRenderMode: mip", "made here"])
    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetDefaultPrim().GetPath() == "/scene"
    assert stage.GetRootLayer().comment.splitlines() == ["SplatRenderMode: mip", "made here"]
    for node in nodes:
        prim = stage.GetPrimAtPath(f"/scene/{node.name}")
        splats = UsdVol.ParticleField3DGaussianSplat(prim)
        assert splats and prim.GetTypeName() == "ParticleField3DGaussianSplat"
        get = lambda name, prim=prim: np.array(prim.GetAttribute(name).Get())
        np.testing.assert_array_equal(get("positions"), node.gaussians.means)
        np.testing.assert_allclose(get("scales"), np.exp(node.gaussians.log_scales), rtol=1e-6)
        np.testing.assert_allclose(get("opacities"), expit(node.gaussians.logit_opacities), rtol=1e-6)
        quats = np.array([[q.GetReal(), *q.GetImaginary()] for q in prim.GetAttribute("orientations").Get()])
        assert rotation_error(quats, node.gaussians.quats).max() < 2e-3
        np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, rtol=1e-6)
        assert get("radiance:sphericalHarmonicsDegree") == 3
        coefficients = get("radiance:sphericalHarmonicsCoefficients").reshape(-1, 16, 3)
        np.testing.assert_array_equal(coefficients, node.gaussians.sh)
        low, high = get("extent")
        assert (low < node.gaussians.means.min(0)).all() and (high > node.gaussians.means.max(0)).all()


def test_motion_is_interpolated_between_key_times(tmp_path):
    motion = motion_of(seeded_rng())
    usd.write(tmp_path / "a.usdc", [SceneNode("actor_car 7", gaussians_of(3, 1), motion)])
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    rate = stage.GetTimeCodesPerSecond()
    assert stage.GetEndTimeCode() / rate == 2.0
    (prim,) = stage.GetPrimAtPath("/scene").GetChildren()
    assert prim.GetName() == "actor_car_7" and prim.GetCustomDataByKey("name") == "actor_car 7"
    turns = Rotation.from_quat(np.roll(motion.quats, -1, 1))
    for time, first, share, is_visible in (
        (0, 0, 0, True),
        (0.2, 0, 0.4, True),
        (1.2, 1, 0.7, False),
        (1.9, 2, 0.8, True),
    ):
        code = Usd.TimeCode(time * rate)
        matrix = np.array(UsdGeom.XformCache(code).GetLocalToWorldTransform(prim)).T  # theirs has vectors as rows
        step = (turns[first].inv() * turns[first + 1]).as_rotvec()
        expected = (turns[first] * Rotation.from_rotvec(share * step)).as_matrix()
        np.testing.assert_allclose(matrix[:3, :3], expected, atol=1e-5)
        position = (1 - share) * motion.positions[first] + share * motion.positions[first + 1]
        np.testing.assert_allclose(matrix[:3, 3], position, atol=1e-6)
        assert (UsdGeom.Imageable(prim).ComputeVisibility(code) == "inherited") == is_visible


def test_layers_pass_the_checker_of_openusd(tmp_path):
    nodes = [
        SceneNode("a b", gaussians_of(4, 4)),
        SceneNode("a.b", gaussians_of(4, 4), motion_of(seeded_rng())),
    ]
    usd.write(tmp_path / "a.usdc", nodes)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 20 and UsdValidation.ValidationContext(validators).Validate(stage) == []
    assert [prim.GetName() for prim in stage.GetPrimAtPath("/scene").GetChildren()] == ["a_b", "a_b_1"]


def test_a_file_without_nodes_is_one_prim(tmp_path):
    write_gaussians(tmp_path / "a.usda", gaussians_of(3, 1), [])
    assert (tmp_path / "a.usda").read_text().startswith("#usda")
    stage = Usd.Stage.Open(str(tmp_path / "a.usda"))
    assert [prim.GetName() for prim in stage.GetPrimAtPath("/scene").GetChildren()] == ["static"]

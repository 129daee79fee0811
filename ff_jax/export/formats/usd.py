"""Write USD layers: one prim `ParticleField3DGaussianSplat` per node, with its motion as time samples.

Units are meters and z is up. Positions, quaternions, standard deviations (linear), opacities in [0, 1] and coefficients
of spherical harmonics are in single precision, so nothing is lost. Source: OpenUSD 26.03, usdVol/schema.usda.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from ff_jax.export.formats.nodes import NodeMotion, SceneNode
from ff_jax.export.formats.splats import MissingPackageError, check_degree, unit_quats
from ff_jax.render.gaussians import GaussianArrays
from ff_jax.runtime.atomic_files import atomic_write

KIND = "ParticleField3DGaussianSplat"
RATE = 30.0  # time codes per second
EXTENT = 3.0  # standard deviations

Array = np.ndarray


def write(
    path: str | Path,
    nodes: Sequence[SceneNode],
    comments: Sequence[str] = (),
    placement: Float[Array, "4 4"] | None = None,
) -> None:
    """Write nodes below the prim /scene, atomically; `.usda` is text, other suffixes are binary.

    Args:
        path: of the file.
        nodes: the nodes.
        comments: lines of the comment of the layer.
        placement: from the world to the coordinates of the layer, rigid; None: the identity.

    Raises:
        ValueError: the number of coefficients fits no degree from 0 to 3.
        MissingPackageError: the package usd-core is missing.
        DiskFullError: the disk is full.
    """
    usd, geometry, tf = pxr_module("Usd"), pxr_module("UsdGeom"), pxr_module("Tf")
    stage = usd.Stage.CreateInMemory()
    geometry.SetStageUpAxis(stage, geometry.Tokens.z)
    geometry.SetStageMetersPerUnit(stage, 1.0)
    root = geometry.Xform.Define(stage, "/scene")
    stage.SetDefaultPrim(root.GetPrim())
    if placement is not None and not np.array_equal(placement, np.eye(4)):
        root.AddTransformOp().Set(pxr_module("Gf").Matrix4d(placement.T.tolist()))  # vectors are rows
    stage.GetRootLayer().comment = "\n".join(comments)
    times = np.concatenate([node.motion.times for node in nodes if node.motion is not None] or [np.zeros(1)])
    stage.SetTimeCodesPerSecond(RATE)
    stage.SetFramesPerSecond(RATE)
    stage.SetStartTimeCode(float(times.min()) * RATE)
    stage.SetEndTimeCode(float(times.max()) * RATE)
    for index, node in enumerate(nodes):
        name = tf.MakeValidIdentifier(node.name)
        if stage.GetPrimAtPath(f"/scene/{name}"):  # names that differ in other characters only
            name = f"{name}_{index}"
        prim = stage.DefinePrim(f"/scene/{name}", KIND)
        prim.SetCustomDataByKey("name", node.name)
        _set_gaussians(prim, node.gaussians)
        if node.motion is not None:
            _set_motion(geometry.Xformable(prim), geometry.Imageable(prim), node.motion)
    with atomic_write(path) as temporary:
        stage.GetRootLayer().Export(str(temporary))


def _set_gaussians(prim: Any, gaussians: GaussianArrays) -> None:
    """Set the attributes of a prim."""
    vt = pxr_module("Vt")
    check_degree(gaussians.sh.shape[1], f"sh of shape {gaussians.sh.shape}")
    scales, quats = np.exp(gaussians.log_scales), unit_quats(gaussians.quats).astype(np.float32)
    values = {
        "positions": vt.Vec3fArray.FromNumpy(gaussians.means),
        # An array of quaternions in memory has the scalar part last.
        "orientations": vt.QuatfArray.FromNumpy(np.ascontiguousarray(np.roll(quats, -1, 1))),
        "scales": vt.Vec3fArray.FromNumpy(scales),
        "opacities": vt.FloatArray.FromNumpy(expit(gaussians.logit_opacities)),
        "radiance:sphericalHarmonicsDegree": round(gaussians.sh.shape[1] ** 0.5) - 1,
        "radiance:sphericalHarmonicsCoefficients": vt.Vec3fArray.FromNumpy(gaussians.sh.reshape(-1, 3)),
        "projectionModeHint": "perspective",
        "sortingModeHint": "zDepth",
        "extent": vt.Vec3fArray.FromNumpy(_extent(gaussians.means, scales)),
    }
    for name, value in values.items():
        prim.GetAttribute(name).Set(value)


def _extent(means: Float[Array, "N 3"], scales: Float[Array, "N 3"]) -> Float[Array, "2 3"]:
    """Compute the corners of a box around the Gaussians."""
    reach = EXTENT * scales.max(1, initial=0, keepdims=True)
    if not len(means):
        return np.zeros((2, 3), np.float32)
    return np.stack([(means - reach).min(0), (means + reach).max(0)]).astype(np.float32)


def _set_motion(xform: Any, imageable: Any, motion: NodeMotion) -> None:
    """Set pose and visibility at key times."""
    gf = pxr_module("Gf")
    translate, orient = xform.AddTranslateOp(), xform.AddOrientOp()
    signs = np.where(np.sum(motion.quats[1:] * motion.quats[:-1], 1) < 0, -1, 1)  # neighbors on one half-sphere
    quats = motion.quats * np.cumprod([1, *signs])[:, None]
    for time, position, quat in zip(motion.times, motion.positions, quats, strict=True):
        translate.Set(gf.Vec3d(*map(float, position)), float(time) * RATE)
        orient.Set(gf.Quatf(*map(float, quat)), float(time) * RATE)
    visibility = imageable.CreateVisibilityAttr()
    middles = (motion.times[1:] + motion.times[:-1]) / 2
    for time, present in zip([motion.times[0], *middles], motion.present, strict=True):
        visibility.Set("inherited" if present else "invisible", float(time) * RATE)


def pxr_module(name: str) -> Any:
    """Import a module of the optional package usd-core."""
    try:
        return importlib.import_module(f"pxr.{name}")
    except ImportError as error:
        raise MissingPackageError("USD files need the package usd-core: pip install usd-core.") from error

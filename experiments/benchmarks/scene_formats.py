"""Measure what the formats of `convert` keep: bytes per Gaussian, and how far renders of a scene move.

python -m experiments.reconstruct --workdir=runs/street --config=experiments/configs/fuse.py:cpu
python -m experiments.benchmarks.scene_formats --run=runs/street

The scene of a run is frozen at the middle of its log, written in every format, read, and rendered at recorded cameras
and beside the path. PSNR is that of all these images against the renders of the PLY file. USD is read by OpenUSD.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.export.formats.files import FORMATS, NODE_WRITERS, read_gaussians
from ff_jax.export.ply import into_slots
from ff_jax.export.tables import Table, as_markdown
from ff_jax.pipeline.fuse import choose_version, load_versions, read_config
from ff_jax.pipeline.run import Run
from ff_jax.pipeline.scene_export import save_scene
from ff_jax.render.gaussians import GaussianArrays
from ff_jax.render.similarity import moved
from ff_jax.scene import Scene, SceneModel, View, render_scene

_RUN, _VERSION = command_line.run_flags()
_FRAMES = flags.DEFINE_integer("frames", 4, "Recorded cameras, spread over the log.", lower_bound=1, upper_bound=1000)
_SHIFTS = flags.DEFINE_list("shifts", ["0", "3"], "Meters to the left of the path.")
_OUT = flags.DEFINE_string("out", "", "JSON file for the figures.")

SUFFIXES = (*FORMATS, ".usdc")  # the other suffixes of USD are of the same values


def read_usd(path: Path, time: float) -> GaussianArrays:
    """Read the Gaussians of all prims that are visible at `time` (seconds), in the world."""
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(path))
    code = Usd.TimeCode(time * stage.GetTimeCodesPerSecond())
    cache, parts = UsdGeom.XformCache(code), []
    for prim in stage.GetPrimAtPath("/scene").GetChildren():
        if UsdGeom.Imageable(prim).ComputeVisibility(code) == "inherited":
            matrix = np.array(cache.GetLocalToWorldTransform(prim)).T
            parts.append(moved(_values(prim), matrix))
    return GaussianArrays(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _values(prim: Any) -> GaussianArrays:
    """Read the attributes of a prim."""
    get = {name: prim.GetAttribute(name).Get() for name in ("positions", "scales", "opacities", "orientations")}
    sh = np.array(prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Get())
    opacities = np.array(get["opacities"], np.float64)
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(opacities) - np.log1p(-opacities), -20, 20)
    return GaussianArrays(
        means=np.array(get["positions"]),
        quats=np.roll(np.array(get["orientations"]), 1, 1),  # an array of quaternions has the scalar part last
        log_scales=np.log(np.array(get["scales"])),
        logit_opacities=logits.astype(np.float32),
        sh=sh.reshape(len(opacities), -1, 3),
    )


def with_gaussians(model: SceneModel, gaussians: GaussianArrays) -> SceneModel:
    """Replace all Gaussians of a scene by static ones; sky and exposures stay."""
    capacity, coefficients, _ = model.scene.params.gaussians.sh.shape
    params = model.scene.params.replace(gaussians=into_slots(gaussians, capacity, coefficients), actors=None)
    alive = jnp.arange(capacity) < gaussians.count
    scene = Scene(params.replace(novel=None), alive, jnp.zeros(capacity, jnp.int32))
    return model.replace(scene=scene, sh_degree=3)


def frozen_views(run: Run, time: float) -> list[View]:
    """Make the views, all at one time."""
    frames = run.recording.frames
    chosen = [frames[i] for i in sorted({round(i) for i in np.linspace(0, len(frames) - 1, _FRAMES.value)})]
    shifts = command_line.parse_numbers(_SHIFTS)
    return [
        run.view(frame, shift)._replace(time=jnp.float32(time), offset=None) for frame in chosen for shift in shifts
    ]


def measure(run: Run, time: float, views: Sequence[View], folder: Path) -> list[dict[str, Any]]:
    """Write and read every format; compare renders with those of the first one."""
    render, rows, reference = jax.jit(render_scene), [], []
    for suffix in SUFFIXES:
        path = folder / f"scene{suffix}"
        save_scene(path, run.scene, time)
        gaussians = read_usd(path, time) if suffix in NODE_WRITERS else read_gaussians(path).gaussians
        model = with_gaussians(run.scene, gaussians)
        images = [np.clip(np.asarray(render(model, view).rgb), 0, 1) for view in views]
        reference = reference or images
        errors = np.stack([image - other for image, other in zip(images, reference, strict=True)])
        row = {"format": suffix, "bytes": path.stat().st_size / gaussians.count, "gaussians": gaussians.count}
        mse = float(np.mean(np.square(errors)))
        psnr = -10 * np.log10(mse) if mse else None  # equal images
        rows.append(row | {"psnr": psnr, "largest": float(np.abs(errors).max())})
    return rows


def main(_: list[str]) -> None:
    """Measure, and print the table."""
    workdir = Path(_RUN.value)
    config = read_config(workdir)
    log = open_log(command_line.with_log_path(config).data, ())
    run = choose_version(load_versions(config, log, workdir), _VERSION.value)
    time = run.recording.frames[len(run.recording.frames) // 2].time
    views = frozen_views(run, time)
    run = run.reserve(views)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(run, time, views, Path(folder))
    if _OUT.value:
        facts = {"views": len(views), "time": time, "sh_degree": config.recon.sh_degree, "rows": rows}
        Path(_OUT.value).write_text(json.dumps(facts, indent=2))
    head = ["format", "bytes per Gaussian", "PSNR against PLY, dB", "largest error of a pixel"]
    cells = [
        [r["format"], f"{r['bytes']:.1f}", "equal" if r["psnr"] is None else f"{r['psnr']:.1f}", f"{r['largest']:.4f}"]
        for r in rows
    ]
    title = f"{rows[0]['gaussians']} Gaussians of degree {config.recon.sh_degree}, {len(views)} images"
    print(as_markdown(Table(title, head, cells)))


if __name__ == "__main__":
    command_line.run(main)

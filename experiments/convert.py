"""Convert a log to a scene folder (docs/scene_contract.md), or validate one; write Gaussians in the format of a tool.

python -m experiments.convert --source=assets:data/kitti02_stereo_color --out=/tmp/kitti02
python -m experiments.convert --source=world --width=640 --out=/tmp/street
python -m experiments.convert --check=/tmp/kitti02 --decode
python -m experiments.convert --run=runs/demo --out=/tmp/street.splat     # the Gaussians of a finished run
python -m experiments.convert --run=runs/demo --out=/tmp/street.usdc      # with the motion of actors
python -m experiments.convert --run=runs/demo --out=/tmp/street.usdz      # a scene package of AlpaSim
python -m experiments.convert --source=scene.ply --out=/tmp/scene.splat   # a file of Gaussians
"""

from datetime import UTC, datetime
from pathlib import Path

from absl import flags

from experiments.cli import command_line
from ff_jax.data.folder import write_folder
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData
from ff_jax.data.validate import validate
from ff_jax.export.formats.files import FORMATS, SUFFIXES, suffix_of
from ff_jax.export.formats.splats import render_mode
from ff_jax.pipeline.fuse import choose_version, load_versions, read_config
from ff_jax.pipeline.scene_export import convert_scene, write_scene
from ff_jax.pipeline.scene_nodes import scene_nodes
from ff_jax.simulation.artifact import ScenePackage, write_artifact

ARTIFACT = ".usdz"
_SOURCE = flags.DEFINE_string(
    "source", None, "Log: a folder, assets:FOLDER, or 'world' (synthetic street); or a file of Gaussians."
)
_RUN, _VERSION = command_line.run_flags(required=False)
_OUT = flags.DEFINE_string(
    "out",
    None,
    f"Scene folder to write, which must not exist; a file of Gaussians ({', '.join(SUFFIXES)}); "
    f"or a scene package of AlpaSim ({ARTIFACT}, of a run).",
)
_CHECK = flags.DEFINE_string("check", None, "Scene folder to validate instead.")
_DECODE = flags.DEFINE_bool("decode", False, "Also decode all images and sweeps while validating.")
_WIDTH = flags.DEFINE_integer(
    "width", 0, "Image width in pixels; 0: that of the log (640 for 'world').", lower_bound=0, upper_bound=16_384
)
_FRAMES = flags.DEFINE_integer("frames", 24, "Images per camera of 'world'.", lower_bound=1, upper_bound=100_000)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of 'world'.", lower_bound=0, upper_bound=2_147_483_647)
_SHIFTS = flags.DEFINE_list("shifts", [], "Meters to the left at which 'world' also gives test images.")


def summary(scene: SceneData) -> str:
    """Summarize the content of a scene in one line."""
    test = sum(frame.split == "test" for frame in scene.frames)
    return (
        f"{scene.name}: {len(scene.frames)} images ({test} test) of {', '.join(scene.cameras)}; "
        f"{len(scene.times)} time steps, {len(scene.sweeps)} sweeps, {len(scene.boxes)} boxes, "
        f"{len(scene.lanes)} lanes, {0 if scene.points is None else len(scene.points.xyz)} sparse points; "
        f"{'' if scene.has_meters else 'lengths in units, not in meters; '}license: {scene.license}"
    )


def export_run(workdir: Path, out: Path) -> None:
    """Write the Gaussians of a finished run."""
    config = read_config(workdir)
    log = open_log(command_line.with_log_path(config).data, ())
    run = choose_version(load_versions(config, log, workdir), _VERSION.value)
    if out.suffix.lower() == ARTIFACT:
        date = datetime.fromtimestamp((workdir / "results" / "metrics.json").stat().st_mtime, UTC).isoformat(
            "T", "seconds"
        )
        nodes = scene_nodes(run.scene.scene, run.recording.actors)
        comments = [render_mode(config.render.antialiased)]
        write_artifact(out, ScenePackage(workdir.resolve().name, date, nodes, log), comments)
    else:
        write_scene(out, run.scene, config, log, run.recording.actors)
    print(f"wrote {out}: {out.stat().st_size} bytes")


def main(_: list[str]) -> None:
    """Convert or validate."""
    inputs = [flag.value for flag in (_SOURCE, _RUN, _CHECK) if flag.value is not None]
    if len(inputs) != 1 or (_CHECK.value is None) != (_OUT.value is not None):
        raise ValueError("invalid flags: expected --source and --out, --run and --out, or --check alone.")
    if _CHECK.value is not None:
        print("valid:", summary(validate(Path(_CHECK.value), decode=_DECODE.value)))
        return
    if _RUN.value is not None:
        if Path(_OUT.value).suffix.lower() != ARTIFACT:
            suffix_of(_OUT.value)  # fails before the run is loaded
        export_run(Path(_RUN.value), Path(_OUT.value))
        return
    if Path(_SOURCE.value).suffix.lower() in FORMATS:
        count = convert_scene(Path(_SOURCE.value), Path(_OUT.value))
        print(f"wrote {_OUT.value}: {count} Gaussians, {Path(_OUT.value).stat().st_size} bytes")
        return
    config = command_line.data_config(_SOURCE.value, _WIDTH.value, seed=_SEED.value, frames=_FRAMES.value)
    scene = open_log(config, command_line.parse_numbers(_SHIFTS))
    path = write_folder(scene, Path(_OUT.value))
    print(f"wrote {path}:", summary(validate(path, decode=_DECODE.value)))


if __name__ == "__main__":
    command_line.run(main)

"""Turn a log into a scene folder (docs/scene_contract.md), or check one.

python -m experiments.convert --source=assets:data/kitti02_stereo_color --out=/tmp/kitti02
python -m experiments.convert --source=world --width=640 --out=/tmp/street
python -m experiments.convert --check=/tmp/kitti02 --decode
"""

from pathlib import Path

from absl import flags

from experiments.cli import command_line
from ff_jax.data.folder import write_folder
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData
from ff_jax.data.validate import validate

_SOURCE = flags.DEFINE_string("source", None, "Log to convert: a folder, assets:FOLDER, or 'world'.")
_OUT = flags.DEFINE_string("out", None, "Scene folder to write; must not exist.")
_CHECK = flags.DEFINE_string("check", None, "Scene folder to check instead.")
_DECODE = flags.DEFINE_bool("decode", False, "Also decode every image and sweep while checking.")
_WIDTH = flags.DEFINE_integer("width", 0, "Image width in pixels; 0 keeps a log's own (640 for 'world').")
_FRAMES = flags.DEFINE_integer("frames", 24, "Images per camera of 'world'.")
_SEED = flags.DEFINE_integer("seed", 0, "Which street 'world' is.")
_SHIFTS = flags.DEFINE_list("shifts", [], "Metres to the left at which 'world' also gives test images.")


def summary(scene: SceneData) -> str:
    """Say in one line what a scene holds."""
    test = sum(frame.split == "test" for frame in scene.frames)
    return (
        f"{scene.name}: {len(scene.frames)} images ({test} test) of {', '.join(scene.cameras)}; "
        f"{len(scene.times)} time steps, {len(scene.sweeps)} sweeps, {len(scene.boxes)} boxes, "
        f"{len(scene.lanes)} lanes, {0 if scene.points is None else len(scene.points.xyz)} sparse points; "
        f"licence: {scene.licence}"
    )


def main(_: list[str]) -> None:
    """Convert or check."""
    if (_CHECK.value is None) == (_SOURCE.value is None) or (_SOURCE.value is None) != (_OUT.value is None):
        raise ValueError("give either --source and --out, or --check.")
    if _CHECK.value is not None:
        print("valid:", summary(validate(Path(_CHECK.value), decode=_DECODE.value)))
        return
    config = command_line.source_config(_SOURCE.value, _WIDTH.value, seed=_SEED.value, frames=_FRAMES.value)
    scene = validate(open_log(config, command_line.numbers(_SHIFTS)))
    path = write_folder(scene, Path(_OUT.value))
    print(f"wrote {path}:", summary(validate(path, decode=_DECODE.value)))


if __name__ == "__main__":
    command_line.run(main)

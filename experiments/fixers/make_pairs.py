"""Write degraded views with their true images, the training data of fixers: about 40 MB per street or 1 GB per scene.

python -m experiments.fixers.make_pairs --out=runs/pairs --seeds=1000:1080
python -m experiments.fixers.make_pairs --out=runs/pairs --seeds=1000:1080 --part=0/4     # one of four processes
python -m experiments.fixers.make_pairs --out=runs/clips --seeds=1000:1080 --clip=9       # consecutive frames
python -m experiments.fixers.make_pairs --out=runs/kitti --config=experiments/configs/kitti_stereo.py --target=right
python -m experiments.fixers.make_pairs --out=runs/real/ditch --scene=assets:data/real_views/boof_ditch --width=640

Files that exist are kept. Streets 0 to 9 are for evaluation: train on 1000 and above. With --target, a driving log
replaces the streets: it is reconstructed from its training cameras, and the frames of the camera --target are rendered.
If that is a training camera itself, parts of its frames are held out. With --scene, a driving log is reconstructed
badly in several ways (ff_jax/pipeline/degraded_logs.py), and the frames that were left out are rendered; --part takes a
part of the ways.
"""

from absl import flags

from experiments.cli import command_line
from experiments.fixers import scenes, streets
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData
from ff_jax.fixers.pair_files import Pairs, save, shard_path
from ff_jax.pipeline.degraded_logs import degraded_logs, reconstruction_of
from ff_jax.pipeline.street_pairs import build, build_from
from ff_jax.pipeline.street_plans import clip_plan, log_plan, training_plan
from ff_jax.runtime.progress import progress

_OUT = flags.DEFINE_string("out", None, "Folder of the files.", required=True)
_SEEDS = flags.DEFINE_string("seeds", "1000:1080", "Streets, FIRST:STOP.")
_PART = flags.DEFINE_string("part", "0/1", "Part of the streets: I/N is every N-th from the I-th.")
_CLIP = flags.DEFINE_integer("clip", 0, "Frames per clip; 0 makes single views.", lower_bound=0, upper_bound=1_000_000)
_CONFIG = command_line.config_flag("experiments/configs/kitti_stereo.py")
_TARGET = flags.DEFINE_string("target", "", "Camera of the log of --config to render; empty takes streets.")
_SCENE = flags.DEFINE_string("scene", "", "Driving log to reconstruct badly; empty takes streets.")
_WIDTH = flags.DEFINE_integer(
    "width", 0, "Of the images, pixels; 0: that of the scene, or 208.", lower_bound=0, upper_bound=16_384
)


def part_of_flag() -> tuple[int, int]:
    """Parse --part: the index of the first street or way, and the number of parts."""
    first, count = command_line.parse_pair(_PART.value, "/", "part")
    if first >= count:
        raise ValueError(f"invalid --part={_PART.value!r}: expected I/N with I below N, such as 0/{max(count, 1)}.")
    return first, count


def make_pairs_of_scene(source: str) -> None:
    """Make the missing pairs of --scene."""
    config = scenes.settings(command_line.log_path(source), _WIDTH.value)
    log = open_log(config.data)
    first, count = part_of_flag()
    ways = list(enumerate(degraded_logs(log, scenes.NUM_VIEWS)))[first::count]
    for number, way in progress([pair for pair in ways if not shard_path(_OUT.value, pair[0]).is_file()], "ways"):
        settings, recorded = reconstruction_of(way, config, number)
        shifts = [0.0] * len(way.rendered)
        save(shard_path(_OUT.value, number), build_from(settings, log, recorded, way.rendered, shifts, scenes.STOPS))


def pairs_of_log(target: str) -> Pairs:
    """Make the pairs of the log of --config."""
    config = command_line.to_config(_CONFIG.value)
    log: SceneData = open_log(command_line.with_log_path(config).data, ())
    sources = tuple(name for name in log.cameras if any(f.camera == name and f.split == "train" for f in log.frames))
    recorded, frames = log_plan(log, sources, target, _CLIP.value or 1)
    return build_from(config, log, recorded, frames, [0.0] * len(frames), (config.steps,))


def main(_: list[str]) -> None:
    """Make the missing pairs of all streets, or those of a log."""
    if _SCENE.value:
        make_pairs_of_scene(_SCENE.value)
        return
    if _CONFIG.present and not _TARGET.value:
        raise ValueError("invalid --target='': expected the camera of the log of --config to render.")
    if _TARGET.value:
        save(shard_path(_OUT.value, 0), pairs_of_log(_TARGET.value))
        return
    config, (first, count), length = streets.settings(_WIDTH.value), part_of_flag(), _CLIP.value
    seeds = command_line.parse_range(_SEEDS.value, "seeds")[first::count]
    missing = [seed for seed in seeds if not shard_path(_OUT.value, seed).is_file()]
    for seed in progress(missing, "streets"):
        plan = clip_plan(seed, streets.FRAMES, length) if length else training_plan(seed, streets.FRAMES)
        save(shard_path(_OUT.value, seed), build(config, seed, plan))


if __name__ == "__main__":
    command_line.run(main)

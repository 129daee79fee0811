"""Store driving logs as a TensorFlow data set in ArrayRecord files (ff_jax/data/tfds), without TensorFlow.

python -m experiments.tools.build_tfds --source=assets:data/kitti02_stereo_color --out=/tmp/tfds
python -m experiments.tools.build_tfds --source=/data/segment-a.tfrecord,/data/segment-b.tfrecord --out=/data/tfds
python -m experiments.reconstruct --config.data.source=/tmp/tfds
"""

from pathlib import Path

import tensorflow_datasets as tfds
from absl import flags

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.data.tfds.ff_driving import build
from ff_jax.data.tfds.reader import log_names, read_log
from ff_jax.data.validate import validate

_SOURCES = flags.DEFINE_list(
    "source", [], "Logs to store: paths, with options as in PATH?frames=0:40, or 'world' (synthetic)."
)
_OUT = flags.DEFINE_string("out", None, "Folder to write; must not contain a data set.")
_WIDTH = flags.DEFINE_integer(
    "width", 0, "Image width in pixels; 0: that of the log (640 for 'world').", lower_bound=0, upper_bound=16_384
)
_FRAMES = flags.DEFINE_integer("frames", 24, "Images per camera of 'world'.", lower_bound=1, upper_bound=100_000)


def main(_: list[str]) -> None:
    """Store the logs."""
    if not _SOURCES.value or _OUT.value is None:
        raise ValueError("nothing to store: expected --source and --out.")
    tfds.disable_progress_bar()
    out = Path(_OUT.value)
    configs = [command_line.data_config(source, _WIDTH.value, frames=_FRAMES.value) for source in _SOURCES.value]
    build([open_log(config) for config in configs], out)
    for name in log_names(out):
        log = validate(read_log(out, name))
        print(f"wrote {out}?log={name}: {len(log.frames)} images, {len(log.sweeps)} sweeps, {len(log.boxes)} boxes")


if __name__ == "__main__":
    command_line.run(main)

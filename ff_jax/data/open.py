"""Open whatever a config names as a driving log."""

from dataclasses import replace

from ff_jax.data.formats.registry import open_source
from ff_jax.data.loader import scaled
from ff_jax.data.scene_data import SceneData, hold_out, select
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.pipeline.config import DataConfig


def open_log(config: DataConfig, shifts: tuple[float, ...] = ()) -> SceneData:
    """Return the log that `config` names, at the size and with the hold-out it asks for.

    Args:
        config: source, size and selection.
        shifts: lateral shifts (metres, left positive) at which the built-in world also gives test frames.

    Raises:
        ValueError: the source is not a log of a known format (see `formats.detect`), or it is broken.
    """
    if config.source == "world":
        world = WorldConfig(num_frames=config.frames, moving=config.moving)
        log = world_scene(config.seed, world, config.width, config.height, test_shifts=shifts)
    else:
        log = open_source(config.source)
        if config.width and config.width < max(frame.width for frame in log.frames):
            log = scaled(log, width=config.width)
    if not config.rolling_shutter:
        log = replace(log, frames=tuple(replace(frame, readout=None) for frame in log.frames))
    if config.cameras:
        log = select(log, cameras=config.cameras)
    return hold_out(log, config.hold_out) if config.hold_out else log

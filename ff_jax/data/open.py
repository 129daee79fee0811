"""Open the driving log that a config or a source string names, and validate it before anything is computed."""

from dataclasses import replace
from typing import Any

from ff_jax.data.config import DataConfig
from ff_jax.data.formats.registry import open_source
from ff_jax.data.loader import scaled
from ff_jax.data.normalize import normalize
from ff_jax.data.scene_data import SceneData, hold_out, hold_out_cameras, select
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.data.validate import check


def open_log(config: DataConfig | str, shifts: tuple[float, ...] = (), **settings: Any) -> SceneData:
    """Open a driving log, scale its images, and select cameras and test frames.

    Args:
        config: source, size and selection; or the source alone: "world" or the path of a log (`formats.registry`).
        shifts: lateral shifts (meters, left positive) at which the synthetic street ("world") also gives test frames.
        **settings: with a source, other fields of `DataConfig`; the images of a log keep their size by default.

    Raises:
        ValueError: the source is not a log of a known format, or it has a problem: its place, the value, the remedy.
    """
    if isinstance(config, str):
        size: dict[str, Any] = {} if config == "world" else {"width": 0}
        config = DataConfig(source=config, **(size | settings))
    if config.source == "world":
        street = StreetConfig(num_frames=config.frames, moving=config.moving, clear_right=config.clear_right)
        log = street_log(config.seed, street, config.width, config.height, test_shifts=shifts)
    else:
        log = check(normalize(open_source(config.source)), config.source)
        widest = max(frame.width for frame in log.frames)
        if config.width and config.width < widest:
            log = scaled(log, factor=config.width / widest)  # all cameras by the same factor
    if not config.rolling_shutter:
        log = replace(log, frames=tuple(replace(frame, readout=None) for frame in log.frames))
    if config.cameras:
        log = select(log, cameras=config.cameras)
    if config.test_cameras:
        log = hold_out_cameras(log, config.test_cameras)
    return hold_out(log, config.hold_out) if config.hold_out else log

"""Which driving log is opened, and at which size."""

import dataclasses

from ff_jax.runtime.settings import MAX_SEED, Settings, bounded


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """Which driving log, at which size.

    Attributes:
        source: "world" for the synthetic street, else the path of a log in any supported format.
        seed: of the synthetic street.
        width, height: image size of the synthetic street, pixels; the images of other logs are scaled to `width`
            (0 keeps their size).
        frames: number of images per camera of the synthetic street.
        moving: whether vehicles of the synthetic street move.
        clear_right: room of the synthetic street to the right of the recorded path, meters.
        cameras: names of the cameras to train on; empty takes all.
        test_cameras: names of cameras whose images are not trained on, only evaluated.
        hold_out: every n-th training time step becomes a test step; 0 holds none out.
        use_lidar: whether LiDAR gives initial points and the depth loss, if the log has it.
        rolling_shutter: whether the motion of the camera during the readout is modeled, if the log has it.
    """

    source: str = "world"
    seed: int = bounded(0, 0, MAX_SEED)
    width: int = bounded(208, 0, 16_384)
    height: int = bounded(128, 0, 16_384)
    frames: int = bounded(24, 1, 100_000)
    moving: bool = False
    clear_right: float = bounded(3.5, 0.0, 100.0)
    cameras: tuple[str, ...] = ()
    test_cameras: tuple[str, ...] = ()
    hold_out: int = bounded(0, 0, 100_000)
    use_lidar: bool = True
    rolling_shutter: bool = False

"""Which driving log is opened, and at which size."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which driving log, at which size.

    Attributes:
        source: "world" for the synthetic street, else the path of a log in any supported format.
        seed: of the synthetic street.
        width, height: image size of the synthetic street, pixels; the images of other logs are scaled to `width`
            (0 keeps their size).
        frames: number of images per camera of the synthetic street.
        moving: whether vehicles of the synthetic street move.
        cameras: names of the cameras to train on; empty takes all.
        hold_out: every n-th training time step becomes a test step; 0 holds none out.
        use_lidar: whether LiDAR gives initial points and the depth loss, if the log has it.
        rolling_shutter: whether the motion of the camera during the readout is modeled, if the log has it.
    """

    source: str = "world"
    seed: int = 0
    width: int = 208
    height: int = 128
    frames: int = 24
    moving: bool = False
    cameras: tuple[str, ...] = ()
    hold_out: int = 0
    use_lidar: bool = True
    rolling_shutter: bool = False

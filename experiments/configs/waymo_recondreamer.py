"""One of the eight Waymo scenes of ReconDreamer, on which lane-shift methods are compared: front camera, 40 frames.

python -m experiments.fuse --config=experiments/configs/waymo_recondreamer.py:5 --workdir=runs/waymo_5
python -m experiments.evaluate --run=runs/waymo_5 --shifts=3,6 --out=runs/waymo_5/benchmark

Not yet run: data not available; budget, steps and the number of initial points are estimates from other logs. The
number after the colon is the scene's index in the list. Its segment of the Waymo Open Dataset (Perception 1.4,
validation) is expected in the folder `data/waymo`; --config.data.source=PATH?frames=FIRST:STOP sets another place. The
schedule is that of the paper; results are reported at 3 m and 6 m; all frames are training frames.
"""

import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import FuseConfig

FOLDER = "data/waymo"
SCENES = {  # index in the list: segment, first frame
    5: ("10359308928573410754_720_000_740_000", 120),
    18: ("11450298750351730790_1431_750_1451_750", 0),
    27: ("12496433400137459534_120_000_140_000", 110),
    65: ("15021599536622641101_556_150_576_150", 0),
    81: ("16767575238225610271_5185_000_5205_000", 0),
    96: ("17860546506509760757_6040_000_6060_000", 90),
    121: ("3015436519694987712_1300_000_1320_000", 40),
    164: ("6637600600814023975_2235_000_2255_000", 70),
}
FRAMES = 40


def get_config(index: str = "") -> ml_collections.ConfigDict:
    """Build the settings of the scene with this index.

    Raises:
        AttributeError: there is no such scene.
    """
    if index not in map(str, SCENES):
        indices = ", ".join(map(str, SCENES))  # this error type ends the parsing of flags with one sentence
        raise AttributeError(
            f"invalid scene {index!r}: expected one of {indices}, as in --config=waymo_recondreamer.py:5"
        )
    segment, first = SCENES[int(index)]
    c = config_dict(FuseConfig())
    file = f"{FOLDER}/segment-{segment}_with_camera_labels.tfrecord"
    c.data.update(source=f"{file}?frames={first}:{first + FRAMES}", width=0, cameras=("FRONT",))
    c.steps = 30_000
    c.save_every = 5000
    c.recon.update(budget=1_500_000, sh_degree=3)
    c.recon.density.update(start=500, stop=15_000, every=100)
    c.init.update(points=1_000_000, random_share=0.2, scale=0.1)
    c.schedule.update(start=3000, every=2000, meters=1.0, largest=6.0, sides=(1,), refresh=6000)
    c.evaluate.update(shifts=(0.0, 3.0, 6.0), frames=FRAMES, video_width=6.0, video_frames=120)
    return c

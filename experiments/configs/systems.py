"""The systems of the paper's table, each as settings of the one job, on the synthetic street with traffic.

python -m experiments.fuse --config=experiments/configs/systems.py:recondreamer --workdir=runs/recondreamer

What is the same for all: the log, the Gaussians (100,000), the steps (3,000, a tenth of the paper's schedule), the
network (the U-Net of `self_fit`, fitted to the log for 600 steps) and the image size. So the systems differ in what
their network sees and repairs, in its training pairs, in what is trained on, and in the scene. None is the released
program of its authors; `docs/systems.md` says what is faithful and what is small. Hardware: one GPU.
"""

import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import FuseConfig

_STOPS = (300, 750, 1500)  # 10, 25 and 50 % of the steps: ReconDreamer does not state its own
_SHIFTS = (-6.0, -3.0, 3.0, 6.0)


def get_config(system: str = "faithfusion") -> ml_collections.ConfigDict:
    """Build the settings of a system by its name.

    Raises:
        AttributeError: there is no such system.
    """
    if system not in SYSTEMS:
        names = ", ".join(SYSTEMS)  # this error type ends the parsing of flags with one sentence
        raise AttributeError(f"invalid system {system!r}: expected one of {names}, as in --config=systems.py:freevs")
    c = _base()
    SYSTEMS[system](c)
    return c


def _base() -> ml_collections.ConfigDict:
    """Build what all systems share."""
    c = config_dict(FuseConfig())
    c.data.update(width=640, height=384, frames=24, moving=True, clear_right=7.0)
    c.steps, c.save_every = 3000, 1000
    c.render.antialiased = False
    c.recon.update(budget=100_000, sh_degree=1, sh_every=400)
    c.recon.density.update(start=150, stop=2400, every=50)
    c.init.update(points=50_000, scale=0.35)
    c.schedule.update(start=300, every=200, meters=1.0, largest=6.0, sides=(1, -1), refresh=600)
    c.pseudo_view_capacity = 288  # 24 frames, two sides, six shifts
    c.use_baseline = c.use_skill = False
    c.eig.update(kappa=0.1, floor=0.2)
    c.pairs.update(every=2, steps=1500)
    c.self_fit.update(steps=600, batch=8, crop=(192, 256))
    c.fixer = "self_fit"
    c.evaluate.update(shifts=_SHIFTS, video_frames=12, video_width=6.0)
    return c


def omnire(c: ml_collections.ConfigDict) -> None:
    """OmniRe (arXiv 2408.16760): a scene graph without a generator.

    Faithful: background, rigid actors, deformable pedestrians and cyclists, sky. Small: pedestrians have no body model.
    """
    c.fixer = "none"
    c.schedule.start = c.steps


def difix3d_plus(c: ml_collections.ConfigDict) -> None:
    """DIFIX3D+ (arXiv 2503.01774): repaired views all over the image, trained on progressively, and repaired once more.

    Faithful: no EIG, references, growing shifts, all pixels alike, and a pass of the fixer over final renders. Small:
    the network; the pretrained one-step diffusion network is `--config.fixer=difix`.
    """
    _without_eig(c)
    c.evaluate.repair = True


def freevs(c: ml_collections.ConfigDict) -> None:
    """FreeVS (arXiv 2410.18079): images generated from colored LiDAR points, without a scene.

    Faithful: the points (five sweeps, objects moved with their boxes, territories), half of the pairs with LiDAR of
    four time steps earlier or later, 20 % dropout of the condition, no render, no EIG. Small: the network is no video
    diffusion, sees no reference image, and generates the whole image where FreeVS crops the upper 40 %.
    """
    _without_eig(c)
    c.schedule.start = c.steps
    c.pairs.update(stops=(1,), lag=4)
    c.self_fit.condition_dropout = 0.2
    c.self_fit.network.update(use_references=False, conditions=("lidar",), source="lidar")
    c.evaluate.repair = True


def recondreamer(c: ml_collections.ConfigDict) -> None:
    """ReconDreamer (arXiv 2411.19548): a restorer with boxes and map, and a progressive data update.

    Faithful: pairs of under-trained renders of the recorded views, far region and sky left out of the render, boxes and
    map as conditions, older views kept, those of the k-th event drawn with a weight of k, half of the steps with a
    novel view, no depth there. Small: the network is no video diffusion. Ours, because not stated: the steps of the
    pairs, the distance and the border (`ff_jax/pipeline/sources.py`), the shifts.
    """
    _without_eig(c)
    c.schedule.update(update="keep", sampling="linear", refresh=0)
    c.novel_probability = 0.5
    c.novel_depth = False
    c.pairs.stops = _STOPS
    c.self_fit.condition_dropout = 0.15
    c.self_fit.network.update(use_references=False, conditions=("boxes", "lanes"), source="near")


def recondreamer_pp(c: ml_collections.ConfigDict) -> None:
    """ReconDreamer++ (arXiv 2503.18438): ReconDreamer with a ground node, a deformation and depth of novel views.

    Faithful: positions and number of the ground are fixed, the deformation acts in novel cameras only, fused LiDAR
    supervises the depth of novel views. Small: the deformation network (3 layers of 64, positions only). Ours: points
    of moving objects are placed by their boxes in that depth, where the paper masks them.
    """
    recondreamer(c)
    c.novel_depth = True
    c.init.ground = 20_000
    c.recon.deform_novel = True


def faithfusion(c: ml_collections.ConfigDict) -> None:
    """FaithFusion (arXiv 2511.21113): EIG guides the fixer, blends its repair and weights the loss.

    Faithful: the three uses of EIG, the schedule, fused depth. Small: one network in place of EIGent and Difix; theirs
    are `--config.fixer=eigent --config.late_fixer=difix`. The EIG is exact, not the released formula.
    """


def faithfusion_skill(c: ml_collections.ConfigDict) -> None:
    """FaithFusion with this project's default: repairs are also weighted by the measured skill of their fixer."""
    c.use_skill = True


def drivex(c: ml_collections.ConfigDict) -> None:
    """A control of EIG in the manner of DriveX (arXiv 2412.01717): SSIM of the render and a warped image steers.

    Faithful: the signal, and LiDAR as a condition. Small: it replaces EIG softly and on its scale, where DriveX has a
    threshold of 0.65; the network is no video diffusion.
    """
    c.eig.signal = "warp_ssim"
    c.self_fit.condition_dropout = 0.15
    c.self_fit.network.conditions = ("lidar",)


def opacity(c: ml_collections.ConfigDict) -> None:
    """A control of EIG: the opacity of the render steers (the signal of ArtiFixer's mixing, arXiv 2603.00492).

    Faithful: the signal alone. Small: renders and repairs are mixed, not renders and noise.
    """
    c.eig.signal = "opacity"


def _without_eig(c: ml_collections.ConfigDict) -> None:
    """Generate everywhere, without blending by EIG, and weight all pixels alike."""
    c.eig.update(use_eig=False, weight_signal="none")


SYSTEMS = {
    function.__name__: function
    for function in (
        *(omnire, freevs, recondreamer, recondreamer_pp, difix3d_plus),
        *(faithfusion, faithfusion_skill, drivex, opacity),
    )
}

"""The programs that are killed: the main job, a sweep, and the trainings of fixers, all as small as they can be."""

from pathlib import Path

from experiments.studies.measures.robustness import small_trainings
from experiments.studies.measures.robustness.kills import Program

_SCENE = (
    "data.width=64", "data.height=40", "data.frames=6", "data.moving=True", "actors.slots=60", "actors.points=40",
    "check_every=10", "save_every=10", "recon.budget=600", "init.points=400", "recon.sh_degree=1",
)  # fmt: skip
_TINY = (
    *_SCENE, "steps=60", "schedule.start=20", "schedule.every=10", "pseudo_view_capacity=12",
    "fixer=self_fit", "pairs.steps=20", "pairs.every=2",
    "self_fit.steps=8", "self_fit.checks=1", "self_fit.network.widths=(8, 8)",
    "evaluate.frames=2", "evaluate.shifts=(0.0, 1.0)", "evaluate.video_frames=3",
)  # fmt: skip
TINY_FLAGS = tuple(f"--config.{setting}" for setting in _TINY)  # of a main job that takes seconds once it is compiled
_SWEPT = (*_SCENE, "steps=30", "schedule.start=30", "evaluate.frames=1", "evaluate.shifts=(0.0,)")
_SWEEP = """
from experiments.sweeps.definition import Sweep

SETTINGS = dict(setting.split("=", 1) for setting in {settings!r})

def get_sweep():
    return Sweep(
        title="robustness", metrics={{"PSNR^": "shifts.Reconstruction only[shift=0].psnr"}},
        module="experiments.reconstruct", base=SETTINGS | {{"evaluate.video_frames": 2}}, seeds=(0, 1),
        seed_settings=("seed",), num_retries=0,
    )
"""


def main_job(workdir: Path) -> list[str]:
    """Give the arguments of the tiny main job."""
    return ["-m", "experiments.fuse", f"--workdir={workdir}", "--resume", *TINY_FLAGS]


MAIN_JOB = Program("main job", main_job, "results/index.html")


def _reconstruction(workdir: Path) -> list[str]:
    flags = [f"--config.{setting}" for setting in (*_SWEPT, "evaluate.video_frames=2")]
    return ["-m", "experiments.reconstruct", f"--workdir={workdir}", "--resume", *flags]


RECONSTRUCTION = Program("reconstruction", _reconstruction, "results/index.html")


def _sweep(workdir: Path) -> list[str]:
    """Give the arguments of a sweep of two tiny reconstructions; its file is written beside the folder."""
    path = workdir.parent / "sweep.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_SWEEP.format(settings=_SWEPT))
    return ["-m", "experiments.sweeps.run", f"--config={path}", f"--workdir={workdir}"]


SWEEP = Program("sweep", _sweep, "summary.json", ("*/*/checkpoints/*",), has_children=True)


def training(name: str) -> Program:
    """Make the program of the training of a small network of a fixer, on pairs that are written beside its folder."""

    def arguments(out: Path) -> list[str]:
        pairs = out.parent / "pairs"
        small_trainings.write_pairs(pairs, name)
        start = f"import {small_trainings.__name__} as trainings; trainings.main()"
        return ["-c", start, name, f"--out={out}", *small_trainings.flags(name, pairs)]

    return Program(f"training of {name}", arguments, "tiny.safetensors", ("*/*",))

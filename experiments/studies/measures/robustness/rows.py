"""The rows of the table of `experiments.studies.robustness`."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.studies.measures.robustness import (
    attacks,
    broken_logs,
    device_changes,
    flag_cases,
    kills,
    mutations,
    odd_uses,
    programs,
    setting_cases,
    torn_checkpoints,
    viewer_clients,
)
from experiments.studies.measures.robustness.outcomes import Result, attempt_all
from ff_jax.data.config import DataConfig
from ff_jax.data.folder import write_folder
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.data.synthetic.lidar import LidarPattern
from ff_jax.pipeline.config import ActorConfig, FuseConfig, InitConfig
from ff_jax.pipeline.initialize import initialize
from ff_jax.runtime import checkpoint
from ff_jax.train.config import ReconConfig
from ff_jax.train.shift_schedule import ShiftSchedule
from ff_jax.viewer import RunReader, Session


class Options(NamedTuple):
    """What a row takes.

    Attributes:
        folder: an empty folder of its own.
        kills: signals of each kind for each program.
        signals: their names.
        count: random changes of each file format and of a checkpoint.
        seed: of all random draws.
    """

    folder: Path
    kills: int
    signals: tuple[str, ...]
    count: int
    seed: int


Row = Callable[[Options], Iterator[Result]]


def small_scene(_: Path | None = None) -> SceneData:
    """Make a street of six frames of 64 x 40 pixels with LiDAR, boxes and lanes."""
    return street_log(0, StreetConfig(num_frames=6, moving=False), 64, 40, lidar=LidarPattern(beams=4, azimuths=90))


def _killed(program: kills.Program) -> Row:
    def row(options: Options) -> Iterator[Result]:
        yield from kills.results(program, options.folder, options.kills, options.seed, options.signals)

    return row


def _logs(options: Options) -> Iterator[Result]:
    good = write_folder(small_scene(), options.folder / "good")
    yield from attempt_all(broken_logs.cases(good), options.folder)


def _attacks(options: Options) -> Iterator[Result]:
    scene = small_scene()
    good = write_folder(scene, options.folder / "good")
    yield from attempt_all(attacks.cases(good, lambda _: scene), options.folder)


def _odd_uses(options: Options) -> Iterator[Result]:
    good = write_folder(small_scene(), options.folder / "good")
    yield from attempt_all(itertools.chain(odd_uses.cases(good), odd_uses.programs()), options.folder)


def _viewer(options: Options) -> Iterator[Result]:
    """Attack the viewer of a run that was not trained: what is tested is not what it shows."""
    source = write_folder(small_scene(), options.folder / "log")
    config = FuseConfig(
        steps=100,
        pseudo_view_capacity=2,
        data=DataConfig(source=str(source), width=0),
        schedule=ShiftSchedule(start=50),
        init=InitConfig(points=150, scale=0.3, random_share=0.0),
        actors=ActorConfig(slots=30, points=20),
        recon=dataclasses.replace(ReconConfig(), sh_degree=0, budget=300),
    )
    run = options.folder / "run"
    reader = RunReader(run, config, open_log(config.data))
    state, plan = initialize(reader.recording, config, pseudo_views=2, steps=config.steps)
    checkpoint.save(run / "fused" / "checkpoints", 60, state, {"capacity": plan.settings.capacity})
    with viewer_clients.serve(Session(reader)) as viewer:
        yield from viewer_clients.results(viewer, 5 * options.count)


def _devices(options: Options) -> Iterator[Result]:
    """Continue programs on other numbers of devices; the batches of 2 of the trainings do not split into 3 parts."""
    for program, changes in (
        (programs.RECONSTRUCTION, ((1, 2),)),
        (programs.training("difix"), ((1, 2), (2, 1), (1, 3))),
        (programs.training("eigent"), ((1, 2), (1, 3))),
    ):
        folder = options.folder / program.name.replace(" ", "_")
        yield from device_changes.results(program, folder, changes, options.seed)


def _mutations(options: Options) -> Iterator[Result]:
    scene = small_scene()
    rng = np.random.default_rng([options.seed, 1])
    yield from mutations.all_results(options.folder, lambda _: scene, rng, options.count)


def _torn(options: Options) -> Iterator[Result]:
    rng = np.random.default_rng([options.seed, 2])
    yield from attempt_all(torn_checkpoints.cases(options.folder / "whole", rng, options.count), options.folder)


ROWS: dict[str, Row] = {
    "kills_main": _killed(programs.MAIN_JOB),
    "kills_sweep": _killed(programs.SWEEP),
    "kills_difix": _killed(programs.training("difix")),
    "kills_eigent": _killed(programs.training("eigent")),
    "kills_unet": _killed(programs.training("reference_unet")),
    "devices": _devices,
    "torn": _torn,
    "logs": _logs,
    "flags": lambda options: attempt_all(flag_cases.cases(), options.folder),
    "settings": lambda options: attempt_all(setting_cases.cases(), options.folder),
    "mutations": _mutations,
    "attacks": _attacks,
    "viewer": _viewer,
    "odd_uses": _odd_uses,
}

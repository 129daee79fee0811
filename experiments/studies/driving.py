"""Drive through the scenes of runs with simple agents, and score the drives as HUGSIM does.

python -m experiments.studies.driving --runs=runs/demo
python -m experiments.studies.driving --runs=runs/a,runs/b --aside=2 --trust     # and how much of the images is unknown
python -m experiments.studies.driving --workdir=runs/driving --seeds=0,1,2,3,4,5,6,7,8,9 --videos=runs/driving/videos
python -m experiments.studies.driving --workdir=runs/driving_real --config=experiments/configs/real_log.py \
    --config.data.source=path/to/log --seeds=0 --videos=runs/driving_real/videos

With --workdir, a run of `fuse` is made for every seed, as --config says; finished ones are read. Every agent drives in
every version of the scene: reconstructed from the recorded views only, and fused. The table has the mean and the
standard deviation over the runs. The scores are stored after each version (--out, by default WORKDIR/drives.json), so
that the same command continues where it ended. With --videos, a lane change by --lane meters is driven in the last
version of every run, and all its versions are rendered along that drive, side by side; with --trust their EIG too.
"""

from pathlib import Path

from absl import flags

from experiments.cli import command_line
from experiments.studies.measures.seeded_runs import fused_run
from ff_jax.simulation import SimulatedScene
from ff_jax.simulation.driving.agents import Agent, lane_change, pure_pursuit, replay

AGENTS = ("replay", "pure_pursuit", "lane_change")

_RUNS = flags.DEFINE_list("runs", [], "Folders of finished runs.")
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder with a run for each seed, in place of --runs.")
_SEEDS = command_line.seeds_flag(10, "Seeds of the streets and of all random numbers, with --workdir.")
_CONFIG = command_line.config_flag("experiments/configs/fuse.py")
_VERSION = flags.DEFINE_enum(
    "version", None, ["Fused", "Reconstruction only"], "Which of their scenes; default: all that a run has."
)
_AGENTS = flags.DEFINE_list(
    "agents", list(AGENTS), "Drivers: replay (the recorded drive, blindly), pure_pursuit, lane_change."
)
_CAMERAS = flags.DEFINE_list("cameras", [], "Cameras of the log to render; default: all.")
_STEPS = flags.DEFINE_integer("steps", 400, "Most steps of 0.25 s of a drive.", lower_bound=1, upper_bound=400)
_ASIDE = flags.DEFINE_float(
    "aside", 0.0, "Meters to the left of the path at which a drive starts.", lower_bound=-9.0, upper_bound=9.0
)
_LANE = flags.DEFINE_float("lane", 3.0, "Meters to the left of a lane change.", lower_bound=-9.0, upper_bound=9.0)
_TRUST = flags.DEFINE_bool("trust", False, "Also measure the share of pixels that the recording does not determine.")
_OUT = flags.DEFINE_string("out", "", "JSON file for the scores; default: WORKDIR/drives.json, or none with --runs.")
_VIDEOS = flags.DEFINE_string("videos", "", "Folder for a video of a lane change in every run; default: none.")
_FPS = flags.DEFINE_integer("fps", 10, "Frames per second of the videos.", lower_bound=1, upper_bound=120)


def chosen_runs() -> list[Path]:
    """List the folders of the runs; train those of --workdir that are not finished.

    Raises:
        ValueError: there are no folders, or both kinds.
    """
    if bool(_RUNS.value) == bool(_WORKDIR.value):
        raise ValueError("invalid --runs, --workdir: expected either folders of runs, or a folder with one per seed.")
    if _RUNS.value:
        return [Path(run) for run in _RUNS.value]
    config = command_line.with_log_path(command_line.to_config(_CONFIG.value))
    seeds = command_line.parse_numbers(_SEEDS, int)
    return [fused_run(config, seed, Path(_WORKDIR.value)) for seed in seeds]


def chosen_agents() -> dict[str, Agent]:
    """Make the drivers of --agents.

    Raises:
        ValueError: there is no such driver.
    """
    agents: dict[str, Agent] = {"replay": replay, "pure_pursuit": pure_pursuit, "lane_change": lane_change(_LANE.value)}
    if unknown := sorted(set(_AGENTS.value) - set(AGENTS)):
        raise ValueError(f"invalid --agents={unknown[0]}: expected {', '.join(AGENTS)}.")
    return {name: agents[name] for name in _AGENTS.value}


def main(_: list[str]) -> None:
    """Let every agent drive in every run, and print the scores."""
    try:
        from experiments.studies.measures.driving import Drives, DriveSettings, score_table, write_lane_change
    except ImportError as error:  # gymnasium is an optional dependency
        raise ValueError(str(error)) from None
    settings = DriveSettings(chosen_agents(), tuple(_CAMERAS.value), _STEPS.value, _ASIDE.value, _TRUST.value)
    facts = settings.facts() | {"lane": _LANE.value, "version": _VERSION.value}
    out = _OUT.value or (str(Path(_WORKDIR.value) / "drives.json") if _WORKDIR.value else "")
    drives = Drives(Path(out) if out else None, facts)
    for folder in chosen_runs():
        reader = command_line.open_run(folder)
        versions = [name for name in reader.newest_checkpoints() if _VERSION.value in (None, name)]
        scenes = {name: SimulatedScene(reader, version=name) for name in versions or [_VERSION.value or "scene"]}
        for name, scene in scenes.items():
            drives.score(str(folder), name, scene, settings)
        if _VIDEOS.value:
            path = Path(_VIDEOS.value) / f"{folder.resolve().name}.mp4"
            write_lane_change(path, scenes, settings, _LANE.value, _FPS.value)
            print(f"{path}: a lane change by {_LANE.value:g} m")
    print(score_table(drives.rows))


if __name__ == "__main__":
    command_line.run(main)

"""Shared by the entry points: flags, conversion of flags to settings, errors in one sentence."""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from experiments.cli.compilation_cache import keep_programs
from experiments.cli.flag_checks import check_flags
from experiments.cli.signals import SignalError, StopHandler, end_with_parent, leave
from ff_jax.data.open import open_log
from ff_jax.pipeline.config import DataConfig, FuseConfig, from_dict, to_dict
from ff_jax.pipeline.fuse import read_config
from ff_jax.pipeline.run import Run
from ff_jax.pipeline.run_reader import RunReader
from ff_jax.runtime import out_of_memory
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.settings import MAX_SEED
from ff_jax.runtime.stop import StoppedError, StopRequest

ROOT = Path(__file__).parents[2]

STOP = StopRequest()  # what signals make; trainings take it

MAX_NUMBER = 1e6  # of an entry of a list: meters, minutes, rates

flags.disclaim_key_flags()  # --help of an entry point lists the flags that functions of this module define for it


def config_dict(config: FuseConfig) -> ml_collections.ConfigDict:
    """Convert settings to a ConfigDict, which refuses overrides with an unknown name or another type."""
    return ml_collections.ConfigDict(to_dict(config), allow_dotted_keys=False, convert_dict=True)


def to_config(config: ml_collections.ConfigDict) -> FuseConfig:
    """Convert a ConfigDict with its overrides to settings.

    Raises:
        ValueError: it is none, or holds a value that a setting does not accept.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        raise ValueError(f"{_config_file() or 'the file of --config'}: get_config returns no settings; correct it.")
    return from_dict(FuseConfig, config.to_dict())


def assets() -> Path:
    """Locate the folder of real data sets and metric networks: FF_ASSETS, or ../shared by default."""
    return Path(os.environ.get("FF_ASSETS", ROOT.parent / "shared")).resolve()


def log_path(source: str) -> str:
    """Replace the prefix "assets:" of `source` by the assets folder; options behind "?" stay.

    Raises:
        ValueError: there is no such file in the assets folder.
    """
    prefix = "assets:"
    if not source.startswith(prefix):
        return source
    name, mark, options = source[len(prefix) :].partition("?")
    path = assets() / name
    if not path.exists():
        raise ValueError(f"{path} does not exist: set FF_ASSETS to the folder that holds the real data sets.")
    return f"{path}{mark}{options}"


def open_run(workdir: Path) -> RunReader:
    """Open a run, finished or still training, with the log of its settings.

    Raises:
        ValueError: `workdir` holds no run, or its log cannot be read.
    """
    config = read_config(workdir)
    return RunReader(workdir, config, open_log(with_log_path(config).data, ()))


def data_config(source: str, width: int, **settings: int) -> DataConfig:
    """Build the data settings of a source; width 0 is a log's own width, or 640 pixels for the synthetic street."""
    width = width or (640 if source == "world" else 0)
    return DataConfig(source=log_path(source), width=width, height=round(width * 0.6), **settings)


def with_log_path(config: FuseConfig) -> FuseConfig:
    """Replace the source of the settings by its path; a run stores the short name."""
    data = dataclasses.replace(config.data, source=log_path(config.data.source))
    return dataclasses.replace(config, data=data)


def reconstruction_config(config: FuseConfig, steps: int, **changes: Any) -> FuseConfig:
    """Shorten the settings to a reconstruction of `steps` steps with one checkpoint at its end.

    Nothing is fused, so that the run may end before the first fix would start.

    Args:
        config: settings of the main job.
        steps: number of training steps.
        changes: other settings to replace.
    """
    schedule = dataclasses.replace(config.schedule, start=min(config.schedule.start, steps))
    save_every = max(-(-steps // config.check_every), 1) * config.check_every  # a multiple is required
    return dataclasses.replace(config, **({"steps": steps, "save_every": save_every, "schedule": schedule} | changes))


def config_flag(default: str | None) -> flags.FlagHolder:
    """Define --config (a file with `get_config`) with typed overrides such as --config.steps=100.

    Paths relative to the project also work in other working directories.
    """
    sys.argv[1:] = [_with_project_path(argument) for argument in sys.argv[1:]]
    default = _with_project_path(default) if default else None
    try:
        return config_flags.DEFINE_config_file("config", default, "Settings.", lock_config=True)
    except (AttributeError, KeyError) as error:  # overrides of the default file are checked here
        sys.exit(_flag_error(error))


def _with_project_path(argument: str) -> str:
    flag, path = argument.split("=", 1) if argument.startswith("--config=") else ("", argument)
    if not path.startswith("experiments/configs/") or Path(path.partition(":")[0]).exists():
        return argument
    return f"{flag}={ROOT / path}" if flag else str(ROOT / path)


def workdir_flag(text: str = "Folder of the runs, with a folder for each seed.") -> flags.FlagHolder[str]:
    """Define --workdir, which is required."""
    return flags.DEFINE_string("workdir", None, text, required=True)


def job_flags() -> Callable[..., None]:
    """Define --config, --workdir, --init and --resume; return what runs a training job and prints its table."""
    init = flags.DEFINE_string(
        "init",
        None,
        "File of 3D Gaussians to start from (.ply, or another format that `convert` writes), in the coordinates of the "
        "log; with options: FILE?antialiased=yes, FILE?transform=JSON. Training starts from it; --config.steps=0 of "
        "`reconstruct` only maps its EIG.",
    )
    resume = flags.DEFINE_bool("resume", False, "Resume the run in --workdir.")
    workdir = workdir_flag("Folder of the run: checkpoints, logs, results.")
    settings, refuse_processes = config_flag("experiments/configs/fuse.py"), one_process_flags()

    def run_job(job: Callable[..., Run], *, is_fusing: bool) -> None:
        refuse_processes()
        values = settings.value.to_dict()
        if init.value is not None:
            values["init"]["scene"] = init.value
        if not is_fusing:  # nothing starts that would have to start before the last step
            values["schedule"]["start"] = min(values["schedule"]["start"], values["steps"])
        config = from_dict(FuseConfig, values)
        log = open_log(with_log_path(config).data, config.evaluate.shifts)
        metrics = job(config, log, Path(workdir.value), resume=resume.value, request=STOP).metrics
        print(metrics["table"])
        print(f"pictures, curves and fly-through: {metrics['page']}")

    return run_job


def run_flags(*, required: bool = True) -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Define --run and --version, which name a scene of a finished run."""
    run_folder = flags.DEFINE_string("run", None, "Folder of a finished run.", required=required)
    names = ["Fused", "Reconstruction only"]
    return run_folder, flags.DEFINE_enum("version", None, names, "Which of its scenes; default: the last one it has.")


def seeds_flag(count: int, text: str = "Seeds of the streets; finished ones are read.") -> flags.FlagHolder[list[str]]:
    """Define --seeds with the first `count` numbers as default."""
    return flags.DEFINE_list("seeds", [str(seed) for seed in range(count)], text)


def parse_numbers(flag: flags.FlagHolder, kind: type = float) -> tuple:
    """Parse the entries of a list flag as finite numbers (float) or whole numbers from 0 (int).

    Raises:
        ValueError: an entry is no such number.
    """
    return tuple(_number(entry, kind, f"--{flag.name}={entry!r}") for entry in flag.value)


def _number(text: str, kind: type, what: str) -> float | int:
    try:
        number = kind(text)
        if 0 <= number <= MAX_SEED if kind is int else abs(number) <= MAX_NUMBER:  # false for NaN
            return number
    except ValueError:
        pass
    expected = f"whole numbers from 0 to {MAX_SEED}" if kind is int else f"numbers of at most {MAX_NUMBER:g}"
    raise ValueError(f"invalid {what}: expected {expected}, separated by commas.")


def parse_pair(text: str, separator: str, flag: str, kind: type = int) -> tuple:
    """Parse two non-negative numbers of `kind` (int or float) around a separator.

    Raises:
        ValueError: the text is no such pair.
    """
    try:
        first, second = (_number(part, kind, text) for part in text.split(separator))
        if first >= 0 and second >= 0:
            return first, second
    except ValueError:
        pass
    what, example = ("whole numbers", f"4{separator}8") if kind is int else ("numbers", f"0.2{separator}2")
    raise ValueError(f"invalid --{flag}={text!r}: expected two {what}, such as {example}.")


def parse_range(text: str, flag: str) -> range:
    """Parse the range FIRST:STOP of whole numbers, which must hold at least one.

    Raises:
        ValueError: the text is no such range.
    """
    first, stop = parse_pair(text, ":", flag)
    if first >= stop:
        raise ValueError(f"invalid --{flag}={text!r}: expected FIRST:STOP with FIRST below STOP.")
    return range(first, stop)


def figures_by_seed(
    workdir: str, seeds: Sequence[int], compute: Callable[[int, Path], dict[str, Any]]
) -> dict[int, dict[str, Any]]:
    """Read the stored figures of every seed, or compute and store them with `compute(seed, folder)`."""
    rows = {}
    for seed in seeds:
        folder = Path(workdir) / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "figures.json"
        if not path.is_file():
            figures = compute(seed, folder)
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(figures, indent=2))
        rows[seed] = json.loads(path.read_text())
    return rows


def _define_process_flags() -> tuple[flags.FlagHolder, flags.FlagHolder, flags.FlagHolder]:
    """Define --coordinator, --processes and --process."""
    address = "Address of the first process, such as 10.0.0.1:1234; 'auto' asks the cluster (Slurm, TPU VMs)."
    coordinator = flags.DEFINE_string("coordinator", None, address)
    count = flags.DEFINE_integer("processes", None, "Number of processes.", lower_bound=1, upper_bound=65_536)
    index = flags.DEFINE_integer("process", None, "Index of this process, from 0.", lower_bound=0, upper_bound=65_535)
    return coordinator, count, index


def process_flags() -> Callable[[], None]:
    """Define --coordinator, --processes and --process; return the function that connects the processes.

    Call it before JAX is asked for its devices, which then are those of all processes. Without the flags it does
    nothing.
    """
    coordinator, count, index = _define_process_flags()

    def connect() -> None:
        numbers = count.value, index.value
        if coordinator.value is None and numbers == (None, None):
            return
        has_address = coordinator.value not in (None, "auto")
        is_incomplete = coordinator.value is None or has_address == (None in numbers)
        if is_incomplete or (has_address and not 0 <= index.value < count.value):
            raise ValueError(
                f"invalid --coordinator={coordinator.value} --processes={count.value} --process={index.value}: "
                "expected all three, with 0 <= process < processes, or --coordinator=auto alone."
            )
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(*(coordinator.value, *numbers) if has_address else ())

    return connect


def one_process_flags() -> Callable[[], None]:
    """Define the flags of `process_flags`; return the function that refuses them, for programs of one process."""
    holders = _define_process_flags()

    def refuse() -> None:
        for flag in holders:
            if flag.value is not None:
                raise ValueError(
                    f"invalid --{flag.name}={flag.value}: a scene is trained in one process; "
                    "run scenes side by side with experiments.sweeps.run instead."
                )

    return refuse


def _one_line(error: Exception) -> str:
    while error.args and isinstance(error.args[0], Exception):  # the text of the outer one is quoted and escaped
        error = error.args[0]
    return " ".join(str(error.args[0] if error.args else error).split())


def _config_file() -> str:
    """Return the file of --config; "" if there is none on the command line."""
    return next((a.partition("=")[2].partition(":")[0] for a in sys.argv if a.startswith("--config=")), "")


def _is_unknown_setting(name: str) -> bool:
    """Return whether a flag of the command line sets a field of this name, as in --config.data.NAME=..."""
    paths = (argument.partition("=")[0] for argument in sys.argv if argument.startswith("--config."))
    return any(name in path.split(".") for path in paths)


def _flag_error(error: Exception) -> str:
    text, file = _one_line(error), _config_file()
    is_of_file = not isinstance(error, KeyError | OSError) and not _is_unknown_setting(text.strip("'"))
    if file and is_of_file and "Did you mean" not in text:
        return f"error: {file} cannot be used ({type(error).__name__}: {text}); correct the file or the settings."
    is_complete = "Did you mean" in text or isinstance(error, OSError)
    return f"error: invalid flag: {text}" + ("" if is_complete else "; ff_jax/pipeline/config.py lists the settings")


def _how_to_continue() -> str:
    """Advise --resume to the entry points that have it."""
    return f"run the same command {'with --resume' if 'resume' in flags.FLAGS else 'again'} to continue."


def run(main: Callable[[list[str]], None], remedy: str = out_of_memory.SCENE_REMEDY) -> None:
    """Run an absl main; errors of the user end with one sentence, bugs with a traceback, signals with 128 + number.

    Args:
        main: the function to run.
        remedy: advice for the case that memory does not suffice.
    """
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries log every file they write
    is_parsed, handler = False, StopHandler(STOP)

    def guarded(argv: list[str]) -> None:
        nonlocal is_parsed
        is_parsed = True
        handler.install()
        end_with_parent()
        if len(argv) > 1:
            sys.exit(f"error: unknown argument {argv[1]!r}; flags look like --workdir=... (see --help).")
        try:
            check_flags(flags.FLAGS[name] for name in flags.FLAGS)
            keep_programs()
            main(argv)
        except (ValueError, OSError, jax.errors.JaxRuntimeError, MemoryError) as error:
            if os.environ.get("FF_TRACEBACK"):
                raise
            if out_of_memory.is_out_of_memory(error):
                sys.exit(f"error: {out_of_memory.explain(error, remedy)}")
            if not isinstance(error, ValueError | OSError):
                raise
            sys.exit(f"error: {error}")
        except flags.Error as error:  # of a config that returns nothing
            sys.exit(_flag_error(error))
        except StoppedError as stopped:
            leave(handler.number, f"{stopped}; {_how_to_continue()}")

    try:
        app.run(guarded)
    except SignalError as error:
        leave(error.number, f"stopped by {signal.Signals(error.number).name}; {_how_to_continue()}")
    except Exception as error:
        # Overrides of unknown settings, and config files that do not exist or fail, raise while flags are parsed.
        if is_parsed or os.environ.get("FF_TRACEBACK"):
            raise
        sys.exit(_flag_error(error))

"""What the entry points share: flags to dataclasses, the assets folder, errors in one sentence."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from ff_jax.pipeline.config import DataConfig, FuseConfig, from_dict, to_dict
from ff_jax.runtime import out_of_memory
from ff_jax.runtime.atomic_files import replacing


def config_dict(config: FuseConfig) -> ml_collections.ConfigDict:
    """Return the settings as a ConfigDict: typed, so that an override of another type or name is refused."""
    return ml_collections.ConfigDict(to_dict(config), allow_dotted_keys=False, convert_dict=True)


def to_config(config: ml_collections.ConfigDict) -> FuseConfig:
    """Return the settings of a ConfigDict after overrides."""
    return from_dict(FuseConfig, config.to_dict())


def assets() -> Path:
    """Return the folder that holds real data sets and metric networks: FF_ASSETS, default ../shared."""
    return Path(os.environ.get("FF_ASSETS", Path(__file__).parents[3] / "shared")).resolve()


def log_path(source: str) -> str:
    """Return `source`, with the prefix "assets:" replaced by the assets folder; options behind "?" stay."""
    prefix = "assets:"
    if not source.startswith(prefix):
        return source
    name, mark, options = source[len(prefix) :].partition("?")
    path = assets() / name
    if not path.exists():
        raise ValueError(f"{path} does not exist: set FF_ASSETS to the folder that holds the real data sets.")
    return f"{path}{mark}{options}"


def source_config(source: str, width: int, **more: int) -> DataConfig:
    """Return a source as a data config; width 0 keeps a log's own, and is 640 pixels for the built-in street."""
    width = width or (640 if source == "world" else 0)
    return DataConfig(source=log_path(source), width=width, height=round(width * 0.6), **more)


def with_log_path(config: FuseConfig) -> FuseConfig:
    """Return the settings with the log's place resolved; what a run writes down keeps the short name."""
    data = dataclasses.replace(config.data, source=log_path(config.data.source))
    return dataclasses.replace(config, data=data)


def alone(config: FuseConfig, steps: int, **more: Any) -> FuseConfig:
    """Return the settings of a reconstruction of `steps` steps that is saved at its end; `more` replaces other ones.

    Nothing is fused, so it may be shorter than the time until fusing would start.
    """
    schedule = dataclasses.replace(config.schedule, start=min(config.schedule.start, steps))
    whole = -(-steps // config.check_every) * config.check_every  # nothing else is allowed
    return dataclasses.replace(config, **({"steps": steps, "save_every": whole, "schedule": schedule} | more))


def config_flag(default: str | None) -> flags.FlagHolder:
    """Define --config (a file with `get_config`) with typed overrides such as --config.steps=100."""
    try:
        return config_flags.DEFINE_config_file("config", default, "Settings.", lock_config=True)
    except (AttributeError, KeyError) as error:  # overrides of a default file are looked up at once
        sys.exit(_wrong_flag(error))


def numbers(flag: flags.FlagHolder, kind: type = float) -> tuple:
    """Return the entries of a list flag as numbers of `kind` (int or float).

    Raises:
        ValueError: an entry is no such number.
    """
    for entry in flag.value:
        try:
            kind(entry)
        except ValueError:
            what = "whole numbers" if kind is int else "numbers"
            raise ValueError(f"--{flag.name}={entry!r} is wrong: give {what}, separated by commas.") from None
    return tuple(map(kind, flag.value))


def _define_process_flags() -> tuple[flags.FlagHolder, flags.FlagHolder, flags.FlagHolder]:
    """Define --coordinator, --processes and --process."""
    address = "Address of the first process, such as 10.0.0.1:1234; 'auto' asks the cluster (Slurm, TPU VMs)."
    coordinator = flags.DEFINE_string("coordinator", None, address)
    count = flags.DEFINE_integer("processes", None, "How many processes there are.")
    number = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")
    return coordinator, count, number


def pair(text: str, mark: str, flag: str, kind: type = int) -> tuple:
    """Return the two numbers (int or float, not negative) around `mark`.

    Raises:
        ValueError: there are no two.
    """
    try:
        first, second = map(kind, text.split(mark))
        if first >= 0 and second >= 0:
            return first, second
    except ValueError:
        pass
    what, example = ("whole numbers", f"4{mark}8") if kind is int else ("numbers", f"0.2{mark}2")
    raise ValueError(f"--{flag}={text!r} is wrong: give two {what}, such as {example}.")


def figures_by_seed(
    workdir: str, seeds: Sequence[int], figures: Callable[[int, Path], dict[str, Any]]
) -> dict[int, dict[str, Any]]:
    """Return the figures of every seed, from `figures(seed, folder)` or, of finished ones, from their file."""
    rows = {}
    for seed in seeds:
        folder = Path(workdir) / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "figures.json").is_file():
            found = figures(seed, folder)
            with replacing(folder / "figures.json") as temporary:
                temporary.write_text(json.dumps(found, indent=2))
        rows[seed] = json.loads((folder / "figures.json").read_text())
    return rows


def process_flags() -> Callable[[], None]:
    """Define --coordinator, --processes and --process; return what connects the processes that they describe.

    It is called before anything asks JAX for its devices, which then are those of all processes. Without the flags it
    does nothing.
    """
    coordinator, count, number = _define_process_flags()

    def connect() -> None:
        given = count.value, number.value
        if coordinator.value is None and given == (None, None):
            return
        named = coordinator.value not in (None, "auto")
        if coordinator.value is None or named == (None in given) or (named and not 0 <= number.value < count.value):
            raise ValueError(
                f"--coordinator={coordinator.value} --processes={count.value} --process={number.value} do not belong "
                "together: give all three, with 0 <= process < processes, or --coordinator=auto alone."
            )
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(*(coordinator.value, *given) if named else ())

    return connect


def one_process_flags() -> Callable[[], None]:
    """Define the flags of `process_flags`; return what refuses them, for programs that run in one process."""
    given = _define_process_flags()

    def refuse() -> None:
        for flag in given:
            if flag.value is not None:
                raise ValueError(
                    f"--{flag.name}={flag.value} is not possible here: a scene is trained in one process; "
                    "run scenes side by side with experiments.sweeps.run instead."
                )

    return refuse


def _one_line(error: Exception) -> str:
    while error.args and isinstance(error.args[0], Exception):  # its text would be quoted and escaped
        error = error.args[0]
    return " ".join(str(error.args[0] if error.args else error).split())


def _wrong_flag(error: Exception) -> str:
    text = _one_line(error)
    known = (
        "" if "Did you mean" in text or isinstance(error, OSError) else "; ff_jax/pipeline/config.py lists the settings"
    )
    return f"error: wrong flag: {text}{known}"


def run(main: Callable[[list[str]], None], remedy: str = out_of_memory.SCENE) -> None:
    """Run an absl main; errors of the user's making end with one sentence, bugs with a traceback.

    Args:
        main: what to run.
        remedy: what to do when memory does not suffice.
    """
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries report every file they write
    parsed = False

    def guarded(argv: list[str]) -> None:
        nonlocal parsed
        parsed = True
        if len(argv) > 1:
            sys.exit(f"error: unknown argument {argv[1]!r}; flags look like --workdir=... (see --help).")
        try:
            main(argv)
        except (ValueError, OSError, jax.errors.JaxRuntimeError, MemoryError) as error:
            if os.environ.get("FF_TRACEBACK"):
                raise
            if out_of_memory.is_out_of_memory(error):
                sys.exit(f"error: {out_of_memory.explain(error, remedy)}")
            if not isinstance(error, ValueError | OSError):
                raise
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit("stopped; run the same command with --resume to go on from the last checkpoint.")

    try:
        app.run(guarded)
    except (AttributeError, KeyError, OSError) as error:
        # An override of a setting that does not exist, or a config file that does not, fails while flags are parsed.
        if parsed or os.environ.get("FF_TRACEBACK"):
            raise
        sys.exit(_wrong_flag(error))

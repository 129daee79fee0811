"""Check the settings of all runs of a sweep before the first one starts."""

import ast
import inspect
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections

from experiments.cli import command_line
from experiments.sweeps.definition import CONFIG, RunSpec
from ff_jax.runtime.untrusted_files import reason

JOBS = ("experiments.fuse", "experiments.reconstruct")  # programs whose settings are those of the main job


def check_settings(specs: Sequence[RunSpec], module: str) -> None:
    """Check that every run of the main job sets settings that its config has, to values that these accept.

    Args:
        specs: the runs.
        module: their entry point; the settings of other programs are not known here.

    Raises:
        ValueError: a run does not.
    """
    if module not in JOBS:
        return
    configs: dict[str, ml_collections.ConfigDict] = {}
    for spec in specs:
        path = spec.settings[CONFIG]
        if path not in configs:
            configs[path] = _load(path)
        config = ml_collections.ConfigDict(configs[path].to_dict(), convert_dict=True)
        for name, value in spec.settings.items():
            if name != CONFIG:
                _set(config, name, value, path)
        _build(config, spec)


def _load(path: str) -> ml_collections.ConfigDict:
    """Run `get_config` of a file; its argument follows a colon."""
    file, _, argument = path.partition(":")
    file = file if Path(file).exists() else str(command_line.ROOT / file)
    try:
        get_config = runpy.run_path(file)["get_config"]
        found = get_config(*[argument][: len(inspect.signature(get_config).parameters)])
    except Exception as error:  # whatever the file raises
        what = reason(f"{type(error).__name__}: {error}")
        raise ValueError(f"the sweep uses config={path}, which cannot be read ({what}); correct its path.") from None
    if not isinstance(found, ml_collections.ConfigDict):
        raise ValueError(f"the sweep uses config={path}, whose get_config returns no settings; correct it.")
    return found


def _set(config: ml_collections.ConfigDict, name: str, value: Any, path: str) -> None:
    *groups, last = name.split(".")
    owner: Any = config
    for group in groups:
        owner = owner.get(group) if isinstance(owner, ml_collections.ConfigDict) else None
    if not isinstance(owner, ml_collections.ConfigDict) or last not in owner:
        raise ValueError(f"the sweep sets {name!r}, which {path} does not have; ff_jax/pipeline/config.py lists all.")
    try:
        owner[last] = _typed(value, owner[last])
    except TypeError:
        kind = type(owner[last]).__name__
        raise ValueError(f"the sweep sets {name}={value!r}: expected a value of the type {kind}.") from None


def _typed(value: Any, current: Any) -> Any:
    """Convert a value of the command line to the type of a setting, as its flag would."""
    if isinstance(value, str) and not isinstance(current, str):
        try:
            value = float(value) if isinstance(current, float) else ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise TypeError(value) from None
    return float(value) if isinstance(current, float) and type(value) is int else value


def _build(config: ml_collections.ConfigDict, spec: RunSpec) -> None:
    try:
        command_line.to_config(config)
    except ValueError as error:
        raise ValueError(f"run {spec.name}: {error}") from None

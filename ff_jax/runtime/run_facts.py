"""Record what made a run: its settings, its log, and the environment of every process that worked on it.

config.json  the settings
log.json     the fingerprint of the driving log
env.json     code revision, versions and devices of the last process; "history" has those of the earlier ones
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax

from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.untrusted_files import read_json_object

CONFIG, LOG, ENVIRONMENT = "config.json", "log.json", "env.json"
PACKAGES = (
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "flax",
    "optax",
    "orbax-checkpoint",
    "jaxlie",
    "diffusers",
    "pillow",
)


def check_settings(
    workdir: Path,
    settings: Mapping[str, Any],
    *,
    resume: bool,
    free: Collection[str] = (),
    advice: str = "add --resume",
) -> None:
    """Check that `workdir` is free, or holds a run of the same settings that is to be resumed.

    Args:
        workdir: folder of the run.
        settings: JSON values by name.
        resume: whether a run in the folder may be continued.
        free: names of settings that may change.

    Raises:
        ValueError: the folder holds a run that is not to be resumed or has other settings, or its config.json is
            damaged.
    """
    if not (workdir / CONFIG).exists():
        return
    if not resume:
        raise ValueError(f"{workdir} already holds a run: add --resume to continue it, or name another folder.")
    before, now = read_json_object(workdir / CONFIG), _plain(settings)
    changed = sorted(name for name in now if before.get(name) != now[name] and name not in free)
    if changed:
        raise ValueError(
            f"{workdir} was started with another {changed[0]!r} setting: use the same settings, or another folder."
        )


def write_run_facts(workdir: str | Path, config: Mapping[str, Any], log: Mapping[str, Any] | None = None) -> dict:
    """Write the facts of a run once all checks have passed; return those of this process, and "earlier" revisions.

    Args:
        workdir: folder of the run.
        config: its settings.
        log: fingerprint of its log; None for a run without one.

    Raises:
        ValueError: the env.json of an earlier process is damaged.
        DiskFullError: the disk is full.
    """
    workdir, facts, history = Path(workdir), environment(), []
    if (workdir / ENVIRONMENT).exists():
        before = read_json_object(workdir / ENVIRONMENT)
        earlier = before.pop("history", [])
        history = [*(earlier if isinstance(earlier, list) else []), before]
    stored = facts | ({"history": history} if history else {})
    for name, content in ((CONFIG, config), (LOG, log), (ENVIRONMENT, stored)):
        if content is not None:
            with atomic_write(workdir / name) as temporary:
                temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")
    revisions = [f"{entry.get('revision')} at {entry.get('started')}" for entry in history if isinstance(entry, dict)]
    return facts | ({"earlier": revisions} if revisions else {})


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values to what they are after they were stored: tuples become lists."""
    return json.loads(json.dumps(values, default=str))


def environment() -> dict[str, Any]:
    """Collect what the results of this process may depend on besides its configuration."""
    devices = jax.devices()
    return {
        "revision": code_revision(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processes": jax.process_count(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def code_revision(folder: str | Path | None = None) -> str:
    """Look up the git commit of the code in `folder` (by default, of this package), with "+dirty" for local changes.

    The result is "unknown" without git or a repository.
    """
    folder = Path(folder) if folder is not None else Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"

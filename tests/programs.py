"""Run entry points as `python -m` does, in processes that begin with their libraries imported.

Imports take longer than most small runs, such as those that end with an error message. The processes are forks of the
server of `multiprocessing`, which imports `LIBRARIES` once.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

from tests.compiling import share_context

QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"
LIMIT = 600  # seconds after which a signal ends a run that hangs
LIBRARIES = [
    "experiments.cli.command_line",
    "ff_jax.pipeline.fuse",
    "ff_jax.evaluation.report",
    "ff_jax.fixers.difix.model",
]


class Programs:
    """Runs of entry points; each gets the environment of the caller at that time."""

    def __init__(self, folder: Path):
        """Prepare them; `folder` must be empty and takes their output."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(LIBRARIES)
        self._folder, self._number = folder, 0

    def run(self, module: str, *arguments: object, **environment: str) -> CompletedProcess:
        """Run `python -m module` to its end; `environment` has variables that differ from those of this process."""
        return self.together(module, [arguments], **environment)[0]

    def run_each(self, module: str, calls: Sequence[Sequence], **environment: str) -> list[CompletedProcess]:
        """Run `python -m module` with each list of arguments, one after the other."""
        return [self.run(module, *call, **environment) for call in calls]

    def together(self, module: str, calls: Sequence[Sequence], **environment: str) -> list[CompletedProcess]:
        """Run `python -m module` with each list of arguments, all at the same time.

        Args:
            module: name of the entry point.
            calls: arguments of each run.
            environment: variables that differ from those of this process.
        """
        variables, runs = dict(os.environ) | {"JAX_PLATFORMS": "cpu"} | environment, []
        for call in calls:
            arguments, output = [str(argument) for argument in call], str(self._folder / str(self._number))
            self._number += 1
            process = self._context.Process(target=run_as_main, args=(module, arguments, variables, output))
            process.start()
            runs.append((process, arguments, output))
        for process, _, _ in runs:
            process.join()
        return [
            CompletedProcess(arguments, process.exitcode, *(Path(f"{output}.{s}").read_text() for s in ("out", "err")))
            for process, arguments, output in runs
        ]


def run_as_main(module: str, arguments: list[str], variables: dict[str, str], output: str) -> None:
    """Run `python -m module` in this process to its end; its output goes to `output`.out and .err."""
    signal.alarm(LIMIT)
    for number, stream in ((1, "out"), (2, "err")):
        with open(f"{output}.{stream}", "wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    share_context()
    jax = sys.modules["jax"]  # it has already read this variable
    jax.config.update(QUICK.lower(), os.environ.get(QUICK) == "1")
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        jax.distributed.shutdown()

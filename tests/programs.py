"""Run entry points as `python -m` does: in this process, or in processes of their own.

A run in this process needs no imports and finds the programs that JAX has compiled for other tests. Runs that are
killed, that work together, or that need other devices or packages are processes.
"""

import contextlib
import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

import jaxtyping
from absl import app, flags
from absl.testing import flagsaver

from experiments.cli.signals import SIGNALS

ROOT = Path(__file__).parents[1]
LIMIT = 600  # seconds after which a process that hangs is killed


def run(module: str, *arguments: object, **environment: str) -> CompletedProcess:
    """Run `python -m module` to its end in this process; `environment` has variables that differ."""
    path, words = ROOT / f"{module.replace('.', '/')}.py", [str(argument) for argument in arguments]
    output, errors, log = io.StringIO(), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), _fresh_state(environment, log):
        sys.argv = [str(path), *words]
        try:
            # Not `run_module`: the tests' import hook would leave its own bytecode of `kernels` for other programs.
            runpy.run_path(str(path), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except Exception:
            traceback.print_exc()
            code = 1
    return CompletedProcess(words, code, output.getvalue(), log.getvalue() + errors.getvalue())


def run_each(module: str, calls: Sequence[Sequence]) -> list[CompletedProcess]:
    """Run `python -m module` with each list of arguments, one after the other, in this process."""
    return [run(module, *call) for call in calls]


def run_process(module: str, *arguments: object, **environment: str) -> CompletedProcess:
    """Run `python -m module` to its end in a process; `environment` has variables that differ."""
    return run_together(module, [arguments], **environment)[0]


def run_together(module: str, calls: Sequence[Sequence], **environment: str) -> list[CompletedProcess]:
    """Run `python -m module` with each list of arguments, in processes at the same time."""
    variables = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        processes = []
        for call in calls:
            command = [sys.executable, "-m", module, *map(str, call)]
            processes.append(stack.enter_context(subprocess.Popen(command, cwd=ROOT, env=variables, **pipes)))
            stack.callback(processes[-1].kill)
        outputs = [process.communicate(timeout=LIMIT) for process in processes]
    return [CompletedProcess(p.args, p.returncode, *texts) for p, texts in zip(processes, outputs, strict=True)]


@contextlib.contextmanager
def fresh_flags() -> Iterator[None]:
    """Let entry points define flags that others define as well: they and what they share are imported anew."""

    def entry_modules() -> dict:
        return {name: m for name, m in sys.modules.items() if name.startswith(("experiments", "kernels.tools."))}

    app.define_help_flags()  # once in a process
    before = entry_modules()
    with mock.patch.object(sys, "argv", sys.argv), flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        for name in before:
            del sys.modules[name]
        try:
            yield
        finally:
            for name in entry_modules():
                del sys.modules[name]
            sys.modules.update(before)


@contextlib.contextmanager
def _fresh_state(environment: dict[str, str], log: io.StringIO) -> Iterator[None]:
    """Keep what an entry point sets from the next one: variables, flags, signals, warnings, handlers of `log`.

    Types are not checked, as they are not in other processes: users may write 1 for 1.0.
    """
    handlers, loggers = {number: signal.getsignal(number) for number in SIGNALS}, logging.root.handlers[:]
    logging.root.addHandler(logging.StreamHandler(log))
    is_unchecked = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    with mock.patch.dict(os.environ, environment), fresh_flags(), warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python does outside of __main__
        try:
            yield
        finally:
            jaxtyping.config.update("jaxtyping_disable", is_unchecked)
            logging.root.handlers[:] = loggers
            for number, handler in handlers.items():
                signal.signal(number, handler)

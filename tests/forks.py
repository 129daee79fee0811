"""Run entry points as `python -m` does, in forks of one process that imports their libraries once.

Imports take longer than most small runs, such as those that end with an error message.
"""

import ast
import atexit
import gc
import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from typing import NoReturn

from tests.compiling import share_context

ROOT = Path(__file__).parents[1]
QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"
LIMIT = 600  # seconds after which a signal ends a run that hangs


class ForkServer:
    """The server process; close it at the end. Runs get the environment of the caller at that time."""

    def __init__(self, folder: Path):
        """Start it; `folder` must be empty and takes the output of runs."""
        command = [sys.executable, "-m", __name__, str(folder)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True)
        self._folder, self._number = folder, 0

    def run(self, module: str, *arguments: object, **environment: str) -> CompletedProcess:
        """Run `python -m module` to its end; `environment` has variables that differ from those of this process."""
        return self.together(module, [arguments], **environment)[0]

    def run_each(self, module: str, calls: Sequence[Sequence], **environment: str) -> list[CompletedProcess]:
        """Run `python -m module` with each list of arguments, one after the other."""
        return [self.run(module, *call, **environment) for call in calls]

    def together(
        self, module: str, calls: Sequence[Sequence], libraries: str = "", **environment: str
    ) -> list[CompletedProcess]:
        """Run `python -m module` with each list of arguments, all at the same time.

        Args:
            module: name of the entry point.
            calls: arguments of each run.
            libraries: module whose imports are executed before, if not those of `module`.
            environment: variables that differ from those of this process.
        """
        runs = {str(self._folder / f"{self._number + i}"): [str(a) for a in call] for i, call in enumerate(calls)}
        self._number += len(calls)
        variables = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
        self._process.stdin.write(json.dumps([module, libraries or module, runs, dict(variables)]) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        output = [[Path(f"{name}.{stream}").read_text() for stream in ("out", "err")] for name in runs]
        return [CompletedProcess(*parts, *texts) for *parts, texts in zip(runs.values(), codes, output, strict=True)]

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()


def import_libraries(module: str) -> None:
    """Execute the import statements of a module, but not the rest of it, which each fork executes."""
    path = Path(importlib.util.find_spec(module).origin)
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), str(path), "exec"), {})


def redirect(name: str, number: int) -> None:
    with open(name, "wb") as file:
        os.dup2(file.fileno(), number)


def run_as_main(module: str, arguments: list[str], variables: dict[str, str], output: str) -> NoReturn:
    """Run `python -m module` in this process to its end; its output goes to `output`.out and .err."""
    signal.alarm(LIMIT)
    redirect(f"{output}.out", 1)
    redirect(f"{output}.err", 2)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if "jax" in sys.modules:  # it has already read this variable
        share_context()
        sys.modules["jax"].config.update(QUICK.lower(), os.environ.get(QUICK) == "1")
    sys.argv = [module, *arguments]
    end(partial(runpy.run_module, module, run_name="__main__", alter_sys=True))


def end(program: Callable[[], object]) -> NoReturn:
    """Run a program and leave the process as the interpreter would, but without freeing memory.

    Freeing takes seconds: it visits all garbage of the run and copies the pages that forks share.
    """
    code = 0
    try:
        program()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # waits for threads, as does the interpreter
    if hasattr(api := sys.modules.get("jax._src.api"), "clean_up"):  # frees all programs, one by one
        atexit.unregister(api.clean_up)
        sys.modules["jax"].distributed.shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(folder: str) -> None:
    """Fork for all calls of each line of stdin; print their exit codes."""
    imported = set()
    gc.disable()  # runs are short, and tracing makes millions of small objects
    for line in iter(sys.stdin.readline, ""):
        module, libraries, runs, variables = json.loads(line)
        if libraries not in imported:
            import_libraries(libraries)
            imported.add(libraries)
        children = []
        for output, arguments in runs.items():
            children.append(os.fork())
            if not children[-1]:
                run_as_main(module, arguments, variables, output)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs entry points as `python -m` does, whenever asked, in forks of one process that imports their libraries once.

Importing takes longer than most small runs: a mistake of the user's ends a program before it has done much else.
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
LIMIT = 600  # seconds, after which a run that hangs ends by a signal


class ForkServer:
    """The process; close it when all is done. Runs get the environment that the caller has at that time."""

    def __init__(self, folder: Path):
        """Start it; `folder`, an empty one, is for what runs print."""
        command = [sys.executable, "-m", __name__, str(folder)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True)
        self._folder, self._number = folder, 0

    def run(self, module: str, *arguments: object, **environment: str) -> CompletedProcess:
        """Run `python -m module` and return its end; `environment` holds variables that differ from those here."""
        return self.together(module, [arguments], **environment)[0]

    def run_each(self, module: str, calls: Sequence[Sequence], **environment: str) -> list[CompletedProcess]:
        """Run `python -m module` with every list of arguments, one after the other."""
        return [self.run(module, *call, **environment) for call in calls]

    def together(
        self, module: str, calls: Sequence[Sequence], libraries: str = "", **environment: str
    ) -> list[CompletedProcess]:
        """Run `python -m module` with every list of arguments, all at a time.

        Args:
            module: name of the entry point.
            calls: the arguments of each run.
            libraries: the module whose imports are made before, if not those of `module`.
            environment: variables that differ from those of this process.
        """
        runs = {str(self._folder / f"{self._number + i}"): [str(a) for a in call] for i, call in enumerate(calls)}
        self._number += len(calls)
        variables = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
        self._process.stdin.write(json.dumps([module, libraries or module, runs, dict(variables)]) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        said = [[Path(f"{name}.{stream}").read_text() for stream in ("out", "err")] for name in runs]
        return [CompletedProcess(*parts, *texts) for *parts, texts in zip(runs.values(), codes, said, strict=True)]

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()


def import_libraries(module: str) -> None:
    """Execute the import statements of a module, but not the module: that is for each fork to do."""
    path = Path(importlib.util.find_spec(module).origin)
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), str(path), "exec"), {})


def redirect(name: str, number: int) -> None:
    with open(name, "wb") as file:
        os.dup2(file.fileno(), number)


def become(module: str, arguments: list[str], variables: dict[str, str], said: str) -> NoReturn:
    """Go on as `python -m module` to its end; what it prints goes to `said`.out and .err."""
    signal.alarm(LIMIT)
    redirect(f"{said}.out", 1)
    redirect(f"{said}.err", 2)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if "jax" in sys.modules:  # it has read this variable before
        share_context()
        sys.modules["jax"].config.update(QUICK.lower(), os.environ.get(QUICK) == "1")
    sys.argv = [module, *arguments]
    end(partial(runpy.run_module, module, run_name="__main__", alter_sys=True))


def end(program: Callable[[], object]) -> NoReturn:
    """Run a program and leave the process as the interpreter would, but for taking apart what is in memory.

    That takes seconds: it looks at all garbage of the run, and copies the pages that the forks share.
    """
    code = 0
    try:
        program()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # waits for threads, as does the interpreter
    if hasattr(api := sys.modules.get("jax._src.api"), "clean_up"):  # drops all programs, one by one
        atexit.unregister(api.clean_up)
        sys.modules["jax"].distributed.shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(folder: str) -> None:
    """Fork for all calls of every line of stdin; print their exit codes."""
    known = set()
    gc.disable()  # runs are short, and tracing makes garbage by the million that is never looked at again
    for line in iter(sys.stdin.readline, ""):
        module, libraries, runs, variables = json.loads(line)
        if libraries not in known:
            import_libraries(libraries)
            known.add(libraries)
        children = []
        for said, arguments in runs.items():
            children.append(os.fork())
            if not children[-1]:
                become(module, arguments, variables, said)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs an entry point several times as `python -m` does, in forks of one process that imports its libraries once.

A mistake of the user's ends a program before it has done much else than importing.
"""

import ast
import importlib.util
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

ROOT = Path(__file__).parents[2]


def run_each(module: str, calls: Sequence[Sequence[str]], folder: Path, **environment: str) -> list[CompletedProcess]:
    """Run `python -m module` once with every list of arguments; return their ends in the same order.

    Args:
        module: name of the entry point.
        calls: the arguments of each run.
        folder: an empty folder for what they print.
        environment: variables that differ from those of this process.
    """
    command = [sys.executable, "-m", __name__, module, str(folder)]
    variables = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    text = json.dumps([[str(argument) for argument in call] for call in calls])
    done = subprocess.run(command, cwd=ROOT, env=variables, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = lambda number, stream: (folder / f"{number}.{stream}").read_text()
    codes = json.loads(done.stdout.splitlines()[-1])
    return [CompletedProcess(calls[i], code, said(i, "out"), said(i, "err")) for i, code in enumerate(codes)]


def import_libraries(module: str) -> None:
    """Execute the import statements of a module, but not the module: that is for each fork to do."""
    path = Path(importlib.util.find_spec(module).origin)
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), str(path), "exec"), {})


def redirect(name: str, number: int) -> None:
    with open(name, "wb") as file:
        os.dup2(file.fileno(), number)


def become(module: str, arguments: list[str], said: str) -> None:
    """Go on as `python -m module`, whose end is that of the interpreter; what it prints goes to `said`.out and .err."""
    redirect(f"{said}.out", 1)
    redirect(f"{said}.err", 2)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(module: str, folder: str) -> None:
    """Fork for each call that is read from stdin, one after the other; print the exit codes."""
    calls = json.load(sys.stdin)
    import_libraries(module)
    codes = []
    for number, arguments in enumerate(calls):
        child = os.fork()
        if not child:
            return become(module, arguments, f"{folder}/{number}")
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(codes))


if __name__ == "__main__":
    main(*sys.argv[1:])

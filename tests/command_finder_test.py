"""What counts as running an entry point, and what only names it."""

import ast

from tests.command_finder import runs_of

FILE = """
import importlib, subprocess, sys
MODULES = {"a": "experiments.of_a_table", "b": "kernels.of_a_table"}
CODE = "import runpy; runpy.run_module('experiments.in_code')"

def helper(module, *more):
    return subprocess.run([sys.executable, "-m", f"experiments.{module}", *more])

def printed(*command):
    return subprocess.run([sys.executable, "-m", *command])

def test_it(server):
    "Says something of experiments.in_words."
    run_each("experiments.in_forks", [[]])
    server.run("experiments.in_a_server", "--flag")
    helper("by_a_helper", "experiments.an_argument")
    printed("kernels.by_stars", "--flag")
    importlib.import_module(MODULES[sys.argv[1]])
    assert "experiments.in_an_assertion" and other("experiments.in_another_call")
    subprocess.run([sys.executable, "-m", "tests.something"])
"""


def test_what_is_run_is_found_and_what_is_named_is_not():
    names = "in_code in_forks in_a_server by_a_helper of_a_table".split()
    expected = {f"experiments.{name}" for name in names} | {"kernels.by_stars", "kernels.of_a_table"}
    assert runs_of(ast.parse(FILE)) == expected

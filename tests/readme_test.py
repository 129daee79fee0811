"""Commands, files and snippets of the README and of docs/ are ones that exist and run; CI runs the test command."""

import ast
import functools
import re
from pathlib import Path

import pytest

from ff_jax.pipeline.config import FuseConfig, to_dict
from tests.command_finder import runs_of
from tests.experiments.commands import NOT_RUN, RUNS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python3? -m ((?:experiments|kernels)(?:\.\w+)+)((?:(?:\s|\\\n)+\[?--?[^\s`]+)*)")
# A line of a block of code that a shell is to run.
SHELL = re.compile(r"^(?:    )?((?:gcloud|(?:\.venv/bin/)?(?:python3?|pip))\b.*)", re.M)
PROCESSES = {"coordinator", "processes", "process"}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def parse(module: str) -> ast.Module:
    # Read, not imported: every entry point defines flags of its own.
    return ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())


def flags_of(module: str) -> set[str]:
    """Return the names of the flags that an entry point defines."""
    calls = [node for node in ast.walk(parse(module)) if isinstance(node, ast.Call)]
    called = {call.func.attr: call for call in calls if isinstance(call.func, ast.Attribute)}
    defined = [call for call in calls if getattr(call.func, "attr", "").startswith("DEFINE_")]
    names = {call.args[0].value for call in defined}
    names |= {"no" + call.args[0].value for call in defined if call.func.attr == "DEFINE_bool"}
    names |= {call.args[0].value.lstrip("-") for call in calls if getattr(call.func, "attr", "") == "add_argument"}
    names |= PROCESSES if {"process_flags", "one_process_flags"} & set(called) else set()
    return names | ({"config"} if "config_flag" in called else set())


@each_page
def test_every_module_and_flag_exists(page):
    settings = to_dict(FuseConfig())
    commands = COMMAND.findall(page.read_text())
    assert commands or page.name not in ("README.md", "tpu.md", "benchmarks.md")
    for module, arguments in commands:
        names = {node.name for node in parse(module).body if isinstance(node, ast.FunctionDef)}
        assert "main" in names, module
        for name in re.findall(r"--([\w.]+)", arguments):
            if name.startswith("config.") and name != "config.name":  # the README's word for any of them
                inner = settings
                for part in name.split(".")[1:]:
                    assert part in inner, name
                    inner = inner[part]
            else:
                assert name.split(".")[0] in flags_of(module) | {"help"}, (module, name)


def documented() -> set[str]:
    return {module for page in PAGES for module, _ in COMMAND.findall(page.read_text())}


@functools.cache
def run_by_tests() -> dict[str, set[str]]:
    """Return the test files that run each entry point, by what they say to Python, not by what they say of it."""
    found = {module: {"tests/experiments/commands_test.py"} for module in RUNS}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for module in runs_of(ast.parse(path.read_text())):
            found.setdefault(module, set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_documented_command_is_run():
    """A new one needs a line in `commands.RUNS`, a test of its own, or a reason in `commands.NOT_RUN`."""
    missing = documented() - run_by_tests().keys() - NOT_RUN.keys()
    assert not missing, f"no test runs {', '.join(sorted(missing))}"
    assert run_by_tests()["experiments.fuse"] >= {"tests/experiments/fuse_test.py"}


@pytest.mark.parametrize("command", NOT_RUN, ids=lambda command: f"{command}: {NOT_RUN[command]}")
def test_what_no_test_runs_is_documented_nevertheless(command):
    lines = [line for page in PAGES for line in SHELL.findall(page.read_text())]
    assert command in documented() or any(line.startswith(command) for line in lines), "nothing of the kind is left"
    assert command not in run_by_tests(), "it is run after all: take it from the list"


def test_every_other_line_for_a_shell_has_a_reason_not_to_be_run():
    for page in PAGES:
        for line in SHELL.findall(page.read_text()):
            known = COMMAND.search(line) or " -m tests." in line or any(line.startswith(start) for start in NOT_RUN)
            assert known, f"{page.name}: nothing runs {line!r}, and tests/experiments/commands.py gives no reason"


@each_page
def test_every_file_exists(page):
    text = page.read_text()
    for path in re.findall(r"(?<![\w/])((?:ff_jax|kernels|experiments|docs|tests)/[\w/]+\.(?:py|md|ipynb))", text):
        assert (ROOT / path).is_file(), path
    for link in re.findall(r"\]\(([\w/.-]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / link).exists(), link


@each_page
def test_every_function_in_the_docs_exists(page):
    for module, name in re.findall(r"`(ff_jax(?:\.[a-z_]+)+)\.(\w+)`", page.read_text()):
        place = ROOT / module.replace(".", "/")
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        assert file.is_file() and (re.search(rf"\b{name}\b", file.read_text()) or (place / f"{name}.py").is_file())


def snippets(*pages: Path) -> list[str]:
    return [text for page in pages for text in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)]


@pytest.mark.parametrize("snippet", snippets(ROOT / "docs" / "extending.md"))
def test_snippets_run(snippet):
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("snippet", snippets(*PAGES))
def test_what_snippets_import_exists(snippet):
    """Those of other pages need weights or a log."""
    imports = [node for node in ast.parse(snippet).body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), "snippet", "exec"), {})


def test_two_commands_set_up_everything():
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert all("-r requirements-cpu.txt" in line for line in lines)
    assert lines[0].endswith("-m experiments.fuse --workdir=runs/demo")
    assert lines[1].endswith("-m pytest") and "-r requirements-test.txt" in lines[1]


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -m1 -E '(.+)' README\.md", script).group(1)
    found = [line for line in README.splitlines() if re.search(pattern, line)]
    assert found and found[0].endswith("-m pytest")


def test_requirements_differ_in_cuda_only():
    lines = [
        [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        for name in ("requirements.txt", "requirements-cpu.txt")
    ]
    assert [line.replace("jax[cuda12]", "jax") for line in lines[0]] == lines[1]
    asked = "jax flax optax orbax-checkpoint jaxtyping diffusers tensorflow-datasets chex absl-py".split()
    named = {re.match(r"[\w-]+", line).group(0) for line in lines[1]}
    assert set(asked) <= named

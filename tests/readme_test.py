"""Check that commands, files and snippets of the README and of docs/ exist and run, and that CI runs the tests."""

import ast
import functools
import re
from pathlib import Path

import pytest

from experiments.__main__ import commands
from ff_jax.pipeline.config import FuseConfig, to_dict
from tests.experiments.commands import NOT_RUN, RUNS, TESTED_IN

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FLAGS = r"((?:(?:\s|\\\n)+\[?--?[^\s`]+)*)"
MODULE = re.compile(r"python3? -m ((?:experiments|kernels)(?:\.\w+)+)" + FLAGS)
FF = re.compile(r"(?<![\w.])ff ([a-z_]+(?:\.[a-z_]+)*)" + FLAGS)
# A line of a shell command in a block of code.
SHELL = re.compile(r"^(?:    )?((?:gcloud|ff(?= )|(?:\.venv/bin/)?(?:python3?|pip))\b.*)", re.M)
PROCESSES = {"coordinator", "processes", "process"}
HELPERS = {  # the flags that functions of `experiments.cli.command_line` define, and those of metric networks
    "process_flags": PROCESSES,
    "one_process_flags": PROCESSES,
    "config_flag": {"config"},
    "job_flags": {"config", "workdir", "resume", "init"} | PROCESSES,
    "run_flags": {"run", "version"},
    "seeds_flag": {"seeds"},
    "workdir_flag": {"workdir"},
    "adopt_module_key_flags": {"lpips", "inception", "detector", "lanes"},
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def parse(module: str) -> ast.Module:
    # Imports of several entry points in one process would define flags twice.
    return ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())


def flags_of(module: str) -> set[str]:
    """Return the names of the flags that an entry point defines."""
    calls = [node for node in ast.walk(parse(module)) if isinstance(node, ast.Call)]
    functions = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
    definitions = [call for call in calls if getattr(call.func, "attr", "").startswith("DEFINE_")]
    names = {call.args[0].value for call in definitions}
    names |= {"no" + call.args[0].value for call in definitions if call.func.attr == "DEFINE_bool"}
    names |= {call.args[0].value.lstrip("-") for call in calls if getattr(call.func, "attr", "") == "add_argument"}
    return names.union(*(HELPERS.get(function, ()) for function in functions))


def commands_of(text: str) -> list[tuple[str, str]]:
    """List the entry points that a text runs, each with its flags."""
    names = command_names()
    return MODULE.findall(text) + [(f"experiments.{n}", flags) for n, flags in FF.findall(text) if n in names]


@functools.cache
def command_names() -> set[str]:
    return {name for name, _ in commands()}


@each_page
def test_every_module_and_flag_exists(page):
    settings = to_dict(FuseConfig())
    documented_here = commands_of(page.read_text())
    assert documented_here or page.name not in ("README.md", "tpu.md", "benchmarks.md")
    for module, arguments in documented_here:
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


@functools.cache
def documented() -> set[str]:
    return {module for page in PAGES for module, _ in commands_of(page.read_text())}


def test_every_documented_command_is_run():
    """A new one needs a line in `commands.RUNS` or `commands.TESTED_IN`, or a reason in `commands.NOT_RUN`."""
    missing = documented() - RUNS.keys() - TESTED_IN.keys() - NOT_RUN.keys()
    assert not missing, f"no test runs {', '.join(sorted(missing))}"


@pytest.mark.parametrize("module", TESTED_IN)
def test_the_test_file_of_a_command_names_it(module):
    assert re.search(rf"\b{module.rpartition('.')[2]}\b", (ROOT / TESTED_IN[module]).read_text())
    assert module not in RUNS


@pytest.mark.parametrize("command", NOT_RUN, ids=lambda command: f"{command}: {NOT_RUN[command]}")
def test_commands_that_no_test_runs_are_documented(command):
    lines = [line for page in PAGES for line in SHELL.findall(page.read_text())]
    assert command in documented() or any(line.startswith(command) for line in lines), (
        "no page names it: remove it from NOT_RUN"
    )
    assert command not in RUNS.keys() | TESTED_IN.keys(), "a test runs it: remove it from NOT_RUN"


def test_every_other_shell_command_has_a_reason_not_to_be_run():
    for page in PAGES:
        for line in SHELL.findall(page.read_text()):
            has_reason = commands_of(line) or " -m tests." in line or line.startswith(tuple(NOT_RUN))
            assert has_reason, f"{page.name}: no test runs {line!r}, and tests/experiments/commands.py gives no reason"


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


@pytest.mark.slow
@pytest.mark.parametrize("snippet", snippets(*sorted((ROOT / "docs" / "how_to").glob("*.md"))))
def test_snippets_run(snippet):
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("snippet", snippets(*PAGES))
def test_imports_of_snippets_exist(snippet):
    """Snippets of most pages need weights or a log, so that only their imports run."""
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
    required = "jax flax optax orbax-checkpoint jaxtyping diffusers tensorflow-datasets chex absl-py".split()
    assert set(required) <= {re.match(r"[\w-]+", line).group(0) for line in lines[1]}

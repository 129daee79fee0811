"""Every entry point imports, defines its flags and prints its help; all of them in this one process."""

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from absl import app, flags
from absl.testing import flagsaver

from experiments.__main__ import commands, main
from tests.readme_test import flags_of

ROOT = Path(__file__).parents[2]
MAIN = '\nif __name__ == "__main__":'


def entry_points() -> list[str]:
    paths = sorted(path for package in ("experiments", "kernels") for path in (ROOT / package).rglob("*.py"))
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if MAIN in path.read_text() and path.name != "__main__.py"
    ]


@pytest.fixture
def own_flags(monkeypatch) -> Iterator[None]:
    """Let a test define flags that other entry points define as well."""

    def loaded() -> list[str]:
        return [name for name in sys.modules if name.startswith(("experiments", "kernels.tools."))]

    app.define_help_flags()  # once in a process
    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        yield
    for name in loaded():
        del sys.modules[name]


@pytest.mark.parametrize("module", entry_points())
def test_help_names_the_module_and_its_flags(module, own_flags, monkeypatch, capsys):
    if "torch" in module:
        pytest.importorskip("torch")
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "argv", [f"{module}.py", "--help"])
    with pytest.raises(SystemExit):
        # Not `run_module`: the tests' import hook would leave its own bytecode of `kernels` for programs without it.
        runpy.run_path(str(ROOT / f"{module.replace('.', '/')}.py"), run_name="__main__")
    output = capsys.readouterr().out
    assert "usage:" in output or "flags:" in output
    assert not {name for name in flags_of(module) if name.removeprefix("no") not in output}


def test_the_console_command_lists_all_commands_by_group(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ff"])
    main()
    output = capsys.readouterr().out
    groups = output.split("\n\n")[1:]
    assert groups[0].startswith("everyday commands:\n  convert ") and "\nsweeps:\n  sweeps.run " in output
    names = [line.split()[0] for group in groups for line in group.splitlines()[1:]]
    assert sorted(f"experiments.{name}" for name in names) == [m for m in entry_points() if m.startswith("exp")]
    everyday = [line.split()[0] for line in groups[0].splitlines()[1:]]
    assert everyday == ["convert", "edit", "evaluate", "fuse", "prepare", "reconstruct", "render", "serve", "view"]
    assert all(summary.endswith((".", "?", ")")) for _, summary in commands())


def test_the_console_command_runs_a_main(own_flags, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ff", "convert", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "--check" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "nearest"), [("fusee", "fuse"), ("sweeps.ran", "sweeps.run"), ("bench", "benchmarks.eig")]
)
def test_an_unknown_command_is_one_sentence_with_the_nearest_name(name, nearest, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ff", name])
    with pytest.raises(SystemExit, match=f"unknown command '{name}'; did you mean '{nearest}'"):
        main()

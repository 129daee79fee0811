"""Settings, log and environment of a run."""

import json
import re
import subprocess

import pytest

from ff_jax.runtime import run_facts

SETTINGS = {"steps": 3, "nested": {"a": (1, 2)}, "minutes": 0.5}


def test_run_facts_hold_config_versions_and_revision(tmp_path):
    facts = run_facts.write_run_facts(tmp_path / "run", {"steps": 3, "where": tmp_path, "nested": {"a": (1, 2)}})
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config == {"steps": 3, "where": str(tmp_path), "nested": {"a": [1, 2]}}
    assert json.loads((tmp_path / "run/env.json").read_text()) == facts
    assert re.match(r"\d+\.\d+", facts["packages"]["jax"]) and facts["devices"] >= 1


def test_the_environments_of_earlier_processes_are_kept(tmp_path, monkeypatch):
    for number in range(3):
        monkeypatch.setattr(run_facts, "code_revision", lambda number=number: f"r{number}")
        facts = run_facts.write_run_facts(tmp_path, SETTINGS)
    stored = json.loads((tmp_path / "env.json").read_text())
    assert [stored["revision"], *(earlier["revision"] for earlier in stored["history"])] == ["r2", "r0", "r1"]
    assert [text.split()[0] for text in facts["earlier"]] == ["r0", "r1"]
    (tmp_path / "env.json").write_text("{")
    with pytest.raises(ValueError, match=r"env\.json"):
        run_facts.write_run_facts(tmp_path, SETTINGS)


def test_only_a_run_of_the_same_settings_is_resumed(tmp_path):
    run_facts.check_settings(tmp_path, SETTINGS, resume=False)
    run_facts.write_run_facts(tmp_path, SETTINGS)
    run_facts.check_settings(tmp_path, SETTINGS, resume=True)
    run_facts.check_settings(tmp_path, SETTINGS | {"minutes": 9}, resume=True, free=("minutes",))
    with pytest.raises(ValueError, match="already holds a run"):
        run_facts.check_settings(tmp_path, SETTINGS, resume=False)
    for change in ({"steps": 4}, {"nested": {"a": (1, 3)}}, {"new": 1}):
        with pytest.raises(ValueError, match=next(iter(change))):
            run_facts.check_settings(tmp_path, SETTINGS | change, resume=True)
    for damage in ("{", "[]", "[" * 100_000):
        (tmp_path / "config.json").write_text(damage)
        with pytest.raises(ValueError, match=r"config\.json"):
            run_facts.check_settings(tmp_path, SETTINGS, resume=True)


def test_revision_tells_clean_dirty_and_unknown(tmp_path):
    assert run_facts.code_revision(tmp_path) == "unknown"
    commands = ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m x")
    for command in commands:
        subprocess.run(["git", "-C", str(tmp_path), *command.split()], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", run_facts.code_revision(tmp_path))
    (tmp_path / "new").write_text("x")
    assert re.fullmatch(r"[0-9a-f]{40}\+dirty", run_facts.code_revision(tmp_path))

"""The documentation builds as a site, without a warning."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers")


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in PACKAGES),
    reason="the site needs mkdocs-material and mkdocstrings: pip install -r requirements-test.txt",
)
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {page.relative_to(tmp_path / "site").parent.as_posix() for page in tmp_path.rglob("index.html")}
    assert {"install", "quickstart", "how_to/own_log", "api/eig", "results", "benchmarks", "development"} <= pages
    assert "render_with_eig" in (tmp_path / "site" / "api" / "eig" / "index.html").read_text()

"""The notebook runs from its first cell to its last, made smaller, and what is stored in it is small and whole."""

import os
import re
from pathlib import Path

import pytest

import ff_jax as ff

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "experiments" / "notebooks" / "faithfusion_colab.ipynb"
SMALLER = "WIDTH, FRAMES, POINTS, STEPS, RUNS = 32, 6, 300, 12, {runs!r}"
PICTURE, ALL = 80_000, 1_000_000  # bytes


@pytest.fixture
def notebook():
    nbformat = pytest.importorskip("nbformat", reason="no way to read a notebook: install requirements-test.txt")
    return nbformat.read(NOTEBOOK, as_version=4)


def test_outputs_are_stored_and_small(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [data for o in outputs for kind, data in o.get("data", {}).items() if kind.startswith("image/")]
    assert len(pictures) >= 7 and max(map(len, pictures)) < PICTURE * 4 / 3
    assert NOTEBOOK.stat().st_size < ALL


def test_it_is_short_and_uses_the_public_api_alone(notebook):
    assert len(notebook.cells) <= 15
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "import ff_jax as ff" in code and not re.search(
        r"from (ff_jax|kernels|experiments)\b|import (kernels|experiments)", code
    )
    assert set(re.findall(r"\bff\.(\w+)", code)) <= set(ff.__all__)


def test_cells_are_short(notebook):
    assert max(len(cell.source.splitlines()) for cell in notebook.cells if cell.cell_type == "code") <= 20


def test_it_runs_from_top_to_bottom(notebook, monkeypatch, tmp_path):
    import nbformat

    nbclient = pytest.importorskip("nbclient", reason="no way to run a notebook: install requirements-test.txt")
    pytest.importorskip("ipykernel", reason="no way to run a notebook: install requirements-test.txt")
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(SMALLER.format(runs=str(tmp_path))))
    monkeypatch.setitem(os.environ, "JAX_PLATFORMS", "cpu")
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()

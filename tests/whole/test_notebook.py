"""The notebook of the documents, run from end to end by Jupyter's own machinery."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from docs import notebook

SMALL = 300_000  # bytes


def outputs(made):
    return {cell["id"]: cell.get("outputs", []) for cell in made.cells}


def test_it_is_as_it_is_written_and_small():
    kept = nbformat.from_dict(json.loads(notebook.PAGE.read_text(encoding="utf-8")))
    nbformat.validate(kept)
    assert [cell.source for cell in kept.cells] == [text for _, text in notebook.CELLS]
    assert notebook.PAGE.stat().st_size < SMALL
    assert "/tmp" not in notebook.PAGE.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")
def test_it_runs_from_end_to_end(tmp_path):
    try:
        made = notebook.run(notebook.notebook(), tmp_path)
    except CellExecutionError as error:
        pytest.fail(str(error))
    found = outputs(made)
    assert all(found[cell["id"]] for cell in made.cells if cell.cell_type == "code")
    kept = outputs(nbformat.read(notebook.PAGE, 4))
    last = str(found["cell-12"][-1]["data"]["text/plain"])
    assert last == str(kept["cell-12"][-1]["data"]["text/plain"])
    assert (tmp_path / "first-look.zarr").is_dir()

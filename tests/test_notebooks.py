"""Every notebook runs from beginning to end, without an error or a warning of ours."""

from pathlib import Path

import pytest
from conftest import DATA

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
READS = {
    "allocation.ipynb": DATA / "star_k3.csv.gz",
    "diabetes.ipynb": DATA / "diabetes_brfss2015.csv.gz",
}


def test_there_are_notebooks():
    if not FOLDER.exists():
        pytest.skip("the notebooks are not beside the tests: an installed wheel is tested")
    assert {"lalonde.ipynb", "your_own_data.ipynb", *READS} <= set(NAMES)


@pytest.mark.extended
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name, tmp_path, repository_on_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel shows its pictures inline
    nbclient = pytest.importorskip("nbclient", reason="nbclient runs the notebooks")
    import nbformat

    file, here = READS.get(name), tmp_path / "tree" / "notebooks"
    if file is not None and not file.exists():
        pytest.skip(f"the shared data sets are not here: {file.name}")
    here.mkdir(parents=True)
    if file is not None:  # a notebook finds it at ../../shared/data
        (tmp_path / "shared").symlink_to(DATA.parent, target_is_directory=True)
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(here)}}
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    told = [out["text"] for out in outputs if out.get("name") == "stderr"]
    assert not any("jcausal" in text for text in told), told
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    assert pictures, "a notebook shows pictures"

"""The report of a run that compares: win-rates by criterion, edits beside the reference, nothing for other
runs."""

import base64
import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from oneloop.recipe.recipe import load_recipe
from oneloop.report import write_report
from oneloop.report.edits import edits, win_rates
from oneloop.report.run_directory import read_run
from oneloop.run.progress import Show
from oneloop.run.run import Run
from tests.support.editing import recipe


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("edits") / "run"
    Run(load_recipe(recipe(steps=3))[0], path, show=Show(quiet=True)).train()
    return path


def picture(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def test_first_and_last_step_show_each_task_beside_the_reference(directory):
    shown = edits(directory / "rollouts")
    assert {each.step for each in shown} == {1, 3}
    assert {each.task for each in shown} <= {"fill", "extend", "remove"}
    edit = shown[0].edits[0]
    assert list(edit.pictures) == ["source", "mask", "reference", "image"]
    source, mask, reference, image = (picture(address) for address in edit.pictures.values())
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(image[mask == 0], source[mask == 0]) and not np.array_equal(image, reference)
    assert all(0 <= value <= 1 and name.startswith("truth, ") for name, value in edit.verdicts)


def test_win_rates_of_every_judge_by_task_and_criterion(directory):
    found = win_rates(read_run(directory))
    assert {each.judge for each in found} == {"preference", "truth"}
    assert {(each.task, each.criterion) for each in found} <= {
        *((task, name) for task in ("fill", "extend") for name in ("text_alignment", "consistency")),
        ("remove", "removal_quality"),
    }
    assert all(0 <= each.start <= 1 and 0 <= each.end <= 1 for each in found)


def test_the_page_shows_them_and_asks_for_nothing(directory):
    page = write_report(directory).read_text()
    assert "Against the reference" in page and page.count("data:image/png;base64,") >= 8
    assert not re.findall(r'src="(?!data:)', page)


def test_runs_that_compare_nothing_have_no_such_section(tmp_path):
    pq.write_table(pa.table({"step": [1], "image": [b""]}), tmp_path / "step-000001.parquet")
    (tmp_path / "step-000002.parquet").write_bytes(b"cut off")
    assert edits(tmp_path) == [] and edits(tmp_path / "none") == []

"""`oneloop token-sweep`: a row for each number of visual tokens, and a figure; what cannot be swept."""

import sys

import pytest

from oneloop.cli.main import main
from oneloop.run.progress import Show
from oneloop.run.run import Run
from tests.run.test_pictures import FLEXIBLE, TINY, recipe

DATA = "{picture_questions: {image_size: 16, split: test}}"
EVALUATE = f"evaluate={{data: {DATA}, judge: [{{verifier: {{by: exact}}}}], size: 6}}"


@pytest.fixture
def swept(tmp_path, monkeypatch, capsys):
    def call(model, *words):
        Run(recipe(model), tmp_path / "run", show=Show(quiet=True)).train()
        monkeypatch.setattr(sys, "argv", ["oneloop", "token-sweep", str(tmp_path / "run"), EVALUATE, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return call


def test_a_table_and_a_figure(swept, tmp_path):
    figure = tmp_path / "sweep.svg"
    code, out, err = swept(FLEXIBLE, "--counts", "16,1,4", "--out", str(figure))
    assert code in (0, None), err
    counts = [line.split()[1] for line in out.splitlines() if line.startswith("│")]
    assert counts == ["1", "4", "16"] and "not measured" in out
    assert figure.read_text().startswith("<svg") and "Prompt tokens" in figure.read_text()


def test_a_model_of_one_number_is_refused(swept):
    code, _, err = swept(TINY, "--counts", "4")
    assert code == 2 and "4 visual tokens were asked for, but the model has one number" in err

"""`oneloop token-sweep` and `oneloop eval --image-tokens`: each number of visual tokens; what is refused."""

import json
import re
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
    def call(command, model, *words):
        if not (tmp_path / "run").exists():
            Run(recipe(model), tmp_path / "run", show=Show(quiet=True)).train()
        monkeypatch.setattr(sys, "argv", ["oneloop", command, str(tmp_path / "run"), EVALUATE, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return call


def test_a_table_and_a_figure(swept, tmp_path):
    figure = tmp_path / "sweep.svg"
    code, out, err = swept("token-sweep", FLEXIBLE, "--counts", "16,1,4", "--out", str(figure))
    assert code in (0, None), err
    counts = [line.split()[1] for line in out.splitlines() if line.startswith("│")]
    assert counts == ["1", "4", "16"] and "not measured" in out
    said = re.search(r"from (\d+) visual tokens on, at most 5% of the answers are not those with 16", out)
    assert said and said[1] in counts
    assert figure.read_text().startswith("<svg") and "Prompt tokens" in figure.read_text()


def test_eval_measures_one_checkpoint_at_several_numbers(swept, tmp_path):
    words = ("--image-tokens", "16,4", "-n", "2", "--max-new-tokens", "1", "--out", str(tmp_path / "o"))
    code, out, err = swept("eval", FLEXIBLE, *words)
    assert code in (0, None), err
    found = json.loads((tmp_path / "o").read_text())["measured"]
    assert [(each["image_tokens"], each["mode"], each["samples"]) for each in found] == [
        (4, "greedy", 6),
        (4, "sampled", 12),
        (16, "greedy", 6),
        (16, "sampled", 12),
    ]
    assert out.count("visual tokens") >= 4


def test_a_model_of_one_number_is_refused(swept):
    for command, option in (("token-sweep", "--counts"), ("eval", "--image-tokens")):
        code, _, err = swept(command, TINY, option, "4")
        assert code == 2 and "4 visual tokens were asked for, but the model has one number" in err
        code, _, err = swept(command, TINY, option, "4,0")
        assert code == 2 and f"{option}: got '4,0', must be numbers from 1 on" in err

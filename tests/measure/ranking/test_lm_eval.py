"""A checkpoint in lm-evaluation-harness: its Hugging Face backend loads it and scores as we do, offline."""

import json

import pytest
import torch

from oneloop.run.evaluation import held_out
from oneloop.sample.data.rows import Rows
from oneloop.sample.policies.language import Language
from tests.support.training import recipe, train

PAIRS = [("1+2=", "3"), ("4+3=", "70"), ("0+0=", "012")]
TASK = """
task: tiny_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: ["0", "3", "7"]
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    run = train(tmp_path_factory.mktemp("run") / "run", evaluate=None)
    return str(sorted(run.directory.glob("checkpoint-*"))[-1])


@pytest.fixture(scope="module")
def harness(checkpoint):
    pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=checkpoint, device="cpu", batch_size=2)


def ours(checkpoint):
    """Log-likelihood of each continuation, its end-of-text token left out."""
    policy = Language(model=checkpoint, max_new_tokens=8).open()
    rows = [{"prompt": prompt, "completion": text} for prompt, text in PAIRS]
    shown, _ = policy.demonstrate(held_out(Rows(rows=rows), len(rows), 1, 0))
    everything = torch.arange(len(shown.actions))
    with torch.no_grad():
        logprob = policy.at(shown, everything).logprob
    return [float(logprob[shown.owner == row][: len(text)].sum()) for row, (_, text) in enumerate(PAIRS)]


@pytest.mark.slow
def test_its_log_likelihoods_are_ours(checkpoint, harness):
    from lm_eval.api.instance import Instance

    asked = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(PAIRS)]
    theirs = [value for value, _ in harness.loglikelihood(asked, disable_tqdm=True)]
    assert theirs == pytest.approx(ours(checkpoint), abs=1e-4)
    assert recipe().policy.model.heads == 2 and len({round(value, 3) for value in theirs}) == 3


@pytest.mark.slow
def test_a_local_task_runs(harness, tmp_path):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    rows = [{"prompt": "1+2=", "answer": 1}, {"prompt": "3+4=", "answer": 2}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "task.yaml").write_text(TASK.format(path=tmp_path / "rows.json"))
    tasks = TaskManager(include_path=str(tmp_path), include_defaults=False)
    found = simple_evaluate(model=harness, tasks=["tiny_sums"], task_manager=tasks, bootstrap_iters=0)
    assert found["results"]["tiny_sums"]["acc,none"] in (0.0, 0.5, 1.0)

"""What every judge of the room must hold; a new file is enrolled by existing, if it has a case here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from oneloop.core.declared import declared
from oneloop.core.rooms import build, names
from oneloop.recipe.text import to_recipe
from oneloop.sample.data.reasoning import Reasoning
from tests.judge import tesseract_stand_in, tiny_reader
from tests.judge.judge_rollouts import rollouts

REWARDS = f"{Path(__file__).parent / 'rewards_file.py'}"
CASES = {
    "verifier": [{"by": "reasoning_gym"}, {"by": "exact"}, {"by": "math"}],
    "truncated": [{}],
    "scene": [{}, {"criteria": ("word",), "name": "spelling"}],
    "function": [
        {"path": f"{REWARDS}:length"},
        {"path": f"{REWARDS}:picky"},
        {"path": f"{REWARDS}:picky_async"},
    ],
    "one_sided": [
        {"judge": {"function": {"path": f"{REWARDS}:picky_one"}}},
        {"judge": {"verifier": {"by": "exact"}}, "worth": "surprise", "auditors": ("text",)},
    ],
    "preference": [
        {
            "model": {"pair_mlp": {"image_size": 16, "channels": 3}},
            "tasks": {"fill": ("consistency", "text_alignment")},
        },
        {
            "model": {"pair_mlp": {"image_size": 16, "channels": 3}},
            "hard": True,
            "held_out": True,
            "name": "truth",
            "both_orders": True,
        },
    ],
    "win_rate": [{"judge": "scene"}],
    "psnr": [{}],
    "digit": [{}],
    "reader": [
        {"folder": tiny_reader.folder(), "column": "answer"},
        {"folder": tiny_reader.folder(), "column": "answer", "score": "accuracy", "pictures_per_call": 3},
    ],
    "tesseract": [{"program": tesseract_stand_in.program(), "column": "answer"}],
    "decoded": [{"tokenizer": "one_d_piece", "judge": "digit"}],
    "step_critic": [{"path": f"{REWARDS}:critic"}, {"path": f"{REWARDS}:drawing_critic", "critiques": 3}],
}


EDIT = {"task": "fill", "condition": np.zeros((4, 16, 16), dtype=np.float32)}
DRAWN = {"image": np.zeros((3, 16, 16), dtype=np.float32), "label": 4}


def test_every_judge_is_enrolled():
    assert sorted(CASES) == names("judge")


PARAMS = [{name: fields} for name in CASES for fields in CASES[name]]
NAMED = [f"{name}-{place}" for name in CASES for place in range(len(CASES[name]))]
"""Names without paths: those of temporary folders differ between processes that share the tests."""


@pytest.fixture(params=PARAMS, ids=NAMED)
def judge(request):
    return build("judge", request.param)


@pytest.fixture
def asked():
    scene = {"count": 1, "colour": "red", "shape": "circle", "position": "left"}
    rows = [{**Reasoning(size=8)[i], **scene, "answer": str(i), **EDIT, **DRAWN} for i in range(8)]
    texts = ["0", "raise", "nan", "none", "4", "50", "6 ", ""]
    draw = torch.Generator().manual_seed(0)
    images, others = (torch.rand(8, 3, 16, 16, generator=draw) for _ in range(2))
    made = rollouts(texts, rows, status=["stop", "length"] * 4).put(output=images, reference_output=others)
    made = made.put_actions(logprob=-torch.rand(8, generator=draw))
    return made.put(context=[((0, row["prompt"]),) for row in rows])


def columns_of(rollouts):
    return {*rollouts, *(f"actions.{name}" for name in rollouts.actions)}


def column(rollouts, name):
    return (
        rollouts.actions[name.removeprefix("actions.")]
        if "." in name and name not in rollouts
        else rollouts[name]
    )


def equal(left, right):
    if isinstance(left, torch.Tensor):
        return torch.equal(left.isnan(), right.isnan()) and torch.equal(
            left.nan_to_num(9), right.nan_to_num(9)
        )
    return left == right


def test_it_writes_what_it_declares_and_no_more(judge, asked):
    judged = judge(asked)
    assert columns_of(judged) - columns_of(asked) == set(declared(judge, "writes")) - columns_of(asked)
    assert set(declared(judge, "reads")) <= columns_of(asked)


def test_columns_have_the_agreed_form(judge, asked):
    judged = judge(asked)
    reward, error = judged[f"reward.{judge.name}"], judged[f"error.{judge.name}"]
    assert reward.dtype == torch.float64 and reward.shape == (8,)
    assert not reward.isinf().any()
    for score, words in zip(reward.tolist(), error, strict=True):
        assert words is None or (isinstance(words, str) and score != score)
    if "correct" in judged:
        assert torch.equal(judged.correct.isnan(), reward.isnan())
        assert set(judged.correct[~reward.isnan()].tolist()) <= {0.0, 1.0}


def test_the_input_is_untouched(judge, asked):
    before, examples = asked.columns, [dict(example) for example in asked.example]
    judge(asked)
    assert list(asked) == list(before) and all(asked[name] is before[name] for name in before)
    assert asked.example == examples


def test_the_order_of_rows_does_not_matter(judge, asked):
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    straight, permuted = judge(asked).take(order), judge(asked.take(order))
    for name in declared(judge, "writes"):
        assert equal(column(straight, name), column(permuted, name)), name


def test_asked_again_it_says_the_same(judge, asked):
    first, second = judge(asked), judge(asked)
    for name in declared(judge, "writes"):
        assert equal(column(first, name), column(second, name)), name


def test_a_rollout_is_judged_the_same_alone(judge, asked):
    whole = judge(asked)
    for i in range(8):
        alone = judge(asked.take(torch.tensor([i])))
        for name in declared(judge, "writes"):
            assert equal(column(whole.take(torch.tensor([i])), name), column(alone, name)), name


def test_no_rollouts_give_no_verdicts(judge, asked):
    judged = judge(asked.take(torch.zeros(8, dtype=torch.bool)))
    assert len(judged) == 0 and set(declared(judge, "writes")) <= columns_of(judged)


def test_its_recipe_builds_it_again(judge):
    assert build("judge", to_recipe(judge)) == judge

import copy
import math
from pathlib import Path

import pytest
import torch

from oneloop.core.protocols import Grader
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.verdicts import JudgeError
from oneloop.judge.reader import FLOOR, Reader
from oneloop.models.judges.ctc_reader import CtcReader
from oneloop.update.objective.reward_backprop import RewardBackprop
from tests.judge import tiny_reader
from tests.support.rounding import room

SIX_DIGITS = 0.5e-6
"""Rewards are recorded with six digits behind the point."""


def shown(texts, width=24):
    images = torch.rand(len(texts), 1, 16, width, generator=torch.Generator().manual_seed(0))
    columns = {
        "output": images,
        "example": [{} if text is None else {"prompt": text} for text in texts],
        "key": torch.arange(len(texts)),
        "last": torch.full((len(texts),), -1),
    }
    return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}))


@pytest.fixture(scope="module")
def network():
    return CtcReader.load(Path(tiny_reader.folder()))


def judge(**options):
    return Reader(folder=tiny_reader.folder(), **options)


def test_likelihoods_are_those_of_a_character(network):
    rollouts = shown(["12", "345"])
    losses, _ = network.losses(rollouts.output, ["12", "345"])
    wanted = [-float(losses[0]) / 2, -float(losses[1]) / 3]
    gap = room(lambda move: move(copy.deepcopy(network)).losses(rollouts.output, ["12", "345"])[0])
    logs = judge(score="log_likelihood")(rollouts)
    assert logs["reward.reader"].tolist() == pytest.approx(wanted, abs=gap + SIX_DIGITS)
    judged = judge()(rollouts)
    likely = [math.exp(each) for each in wanted]
    assert judged["reward.reader"].tolist() == pytest.approx(likely, abs=gap * max(likely) + SIX_DIGITS)
    assert [each["text"] for each in judged["extra.reader"]] == network.read(rollouts.output)


def test_accuracy_counts_what_was_read(network, monkeypatch):
    monkeypatch.setattr(CtcReader, "read", lambda self, images: ["12", "1", "", "123456"])
    judged = judge(score="accuracy")(shown(["12", "12", "12", "12"]))
    assert judged["reward.reader"].tolist() == [1, 0.5, 0, 0]
    assert judged.correct.tolist() == [1, 0, 0, 0]
    assert [each["cer"] for each in judged["extra.reader"]] == [0, 0.5, 1, 2]


def test_a_picture_too_narrow_for_its_text():
    rollouts = shown(["1", "11223344"], width=12)
    judged = judge()(rollouts)
    assert judged["reward.reader"][1] == round(math.exp(FLOOR), 6) == 0
    assert [each["infeasible"] for each in judged["extra.reader"]] == [0, 1]
    images = rollouts.output.requires_grad_(True)
    scores, asked = judge().grade(images, rollouts, torch.tensor([0, 1]))
    assert asked.tolist() == [[True], [False]] and scores.shape == (2, 1)
    scores.sum().backward()
    assert images.grad[0].abs().sum() > 0 and images.grad[1].abs().sum() == 0


def test_it_can_be_back_propagated_unless_it_counts(network):
    assert isinstance(judge(), Grader)
    assert RewardBackprop(judge=judge()).judge.names == ("likelihood",)
    with pytest.raises(ValueError, match="accuracy counts mistakes"):
        RewardBackprop(judge=judge(score="accuracy"))
    frozen = judge().network
    assert not frozen.training and not any(weight.requires_grad for weight in frozen.parameters())


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["1", None], "needs a text in the column 'prompt' of data row 1"),
        (["a"], "data row 0: the reader does not know 'a'"),
    ],
)
def test_rows_that_cannot_be_read(texts, said):
    with pytest.raises(JudgeError, match=said):
        judge()(shown(texts))


def test_a_folder_without_a_reader(tmp_path):
    with pytest.raises(JudgeError, match="judge 'reader': folder: .* holds no ctc_reader"):
        Reader(folder=str(tmp_path))(shown(["1"]))


def test_the_gradient_raises_the_likelihood_of_the_text():
    """A step along the gradient of the score raises it by the step times its squared length, nearly."""
    rollouts, rows = shown(["12", "345", "6"]), torch.tensor([2, 0])
    images = rollouts.output[rows].requires_grad_(True)
    log = judge(score="log_likelihood")
    scores, _ = log.grade(images, rollouts, rows)
    likely, _ = judge().grade(images, rollouts, rows)
    gap = room(lambda move: move(copy.deepcopy(log.network)).losses(images.detach(), ["6", "12"])[0])
    torch.testing.assert_close(likely, scores.exp(), atol=gap, rtol=0)
    (slope,) = torch.autograd.grad(scores.sum(), images)
    step = 1e-2 / float(slope.flatten().norm())
    moved = log.grade(images.detach() + step * slope, rollouts, rows)[0].sum()
    gained = float(moved - scores.detach().sum())
    assert gained == pytest.approx(1e-2 * float(slope.flatten().norm()), rel=0.1)
    alone = log.grade(images[:1], rollouts, rows[:1])[0]
    torch.testing.assert_close(alone[0], scores[0], atol=gap, rtol=0)


def test_pictures_are_read_so_many_at_a_time_and_from_any_column():
    rollouts = shown(["12", "345", "6", "78", "9"])
    whole, parts = judge()(rollouts), judge(pictures_per_call=2)(rollouts)
    for name in ("reward.reader", "extra.reader"):
        assert list(whole[name]) == list(parts[name])
    told = rollouts.put({"example": [{"word": text} for text in ("12", "345", "6", "78", "9")]})
    named = judge(column="word", name="second", weight=0.0)(told)
    assert named["reward.second"].tolist() == whole["reward.reader"].tolist()
    with pytest.raises(JudgeError, match="judge 'second' needs a text in the column 'prompt' of data row 0"):
        judge(name="second")(told)
    assert len(judge()(shown([]))["extra.reader"]) == 0

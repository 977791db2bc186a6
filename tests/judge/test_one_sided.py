"""judge/one_sided.py: it pays where its propensities say, learns from that alone, and resumes to the bit."""

import numpy as np
import pytest
import torch

from oneloop.core.part import part
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.verdicts import JudgeError
from oneloop.fair.rules import threshold_rules
from oneloop.judge.one_sided import Memory, OneSided, sureness
from oneloop.judge.stage import Judging
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from tests.support.training import assert_equal, cut_and_resumed, outcome, raw_recipe, recorded

ASKED: list[int] = []


@part(reads=(), writes=("reward.oracle", "error.oracle", "correct"))
class Oracle:
    """Right where the rollout was likely; remembers whom it was asked about."""

    name: str = "oracle"
    """Names the columns."""
    score: float = 1.0
    """Of a right one."""

    def __call__(self, rollouts):
        ASKED.extend(rollouts.id.tolist())
        right = (rollouts.actions.logprob[rollouts.last].exp() > 0.5).double()
        return rollouts.put(
            {"reward.oracle": right * self.score, "error.oracle": [None] * len(right), "correct": right}
        )


def sampled(likelihood, k=4, seed=0, first=0):
    """Rollouts of one action with these probabilities, in groups of k."""
    n = len(likelihood)
    actions = Actions({"parent": torch.full((n,), -1), "logprob": torch.tensor(likelihood).log()})
    columns = {
        "id": torch.arange(n) + first * k,
        "group": torch.arange(n) // k + first,
        "key": torch.arange(n),
        "last": torch.arange(n),
        "text": [f"{p:.2f}" for p in likelihood],
        "example": [{"prompt": "?"}] * n,
        "status": ["stop"] * n,
    }
    return Rollouts(columns, actions, {"seed": seed, "step": 0, "progress": 0.0})


def asks(count, groups=8, seed=0):
    draw = np.random.Generator(np.random.Philox(seed))
    return [sampled(draw.random(4 * groups).tolist(), first=groups * i) for i in range(count)]


def test_features_are_probabilities():
    actions = Actions({"parent": torch.tensor([-1, 0, -1]), "logprob": torch.tensor([0.5, 0.125, 1.0]).log()})
    rows = Rollouts({"id": torch.arange(3), "last": torch.tensor([1, 2, -1])}, actions)
    assert sureness(rows) == pytest.approx(np.array([[0.25, 0.125, 0.0625], [1, 1, 1], [0, 0, 0]]), abs=1e-6)


def test_rules_are_thresholds_both_ways_and_constants():
    rules = threshold_rules(2, levels=1)
    x = np.array([[0.4, 0.6], [0.6, 0.4]])
    wanted = [[0, 0], [1, 1], [0, 1], [1, 0], [1, 0], [0, 1]]
    assert rules.predict(x).astype(int).tolist() == wanted


def test_only_what_is_paid_for_is_judged():
    (batch,) = asks(1, groups=50)
    ASKED.clear()
    judged = OneSided(judge=Oracle(), explore=0.2)(batch)
    paid = judged["paid"]
    assert batch.id[paid].tolist() == ASKED and 0 < len(ASKED) < 200
    assert torch.equal(judged["reward.one_sided"].isnan(), ~paid)
    assert torch.equal(judged.correct.isnan(), ~paid) and "reward.oracle" not in judged
    assert judged["propensity"].min() >= 0.2 and judged["propensity"].max() <= 1
    assert judged.facts["judge_metrics"]["one_sided/paid"] == pytest.approx(len(ASKED) / 200)


def test_it_pays_as_often_as_its_propensities_say():
    batch = sampled([0.3, 0.9] * 4000, k=2)
    judge = OneSided(judge=Oracle(), explore=0.1)
    judge.memory.log_weights[:] = np.log(np.random.Generator(np.random.Philox(0)).random(56))
    judged = judge(batch)
    for column in (0, 1):
        share = judged["paid"][column::2].double().mean().item()
        assert share == pytest.approx(judged["propensity"][column].item(), abs=0.03)


def test_all_explored_is_the_judge_itself():
    (batch,) = asks(1)
    judged = OneSided(judge=Oracle(), explore=1.0)(batch)
    assert judged["propensity"].eq(1).all() and judged["paid"].all()
    assert torch.equal(judged["reward.one_sided"], Oracle()(batch)["reward.oracle"])


def learned(judge, batches):
    for batch in batches:
        judge.learn(judge(batch))
    return judge


@pytest.mark.parametrize("worth", ["right", "surprise"])
def test_it_learns_where_verdicts_are_worth_it(worth):
    """Right answers are likely ones: it pays for those; where most are wrong they are the surprise too."""
    judge = learned(OneSided(judge=Oracle(), worth=worth, price=0.4, learning_rate=0.1), asks(40))
    likely, unlikely = judge(sampled([0.95, 0.05], k=1))["propensity"].tolist()
    assert (likely > 0.9 and unlikely < 0.3) if worth == "right" else likely > unlikely - 1
    assert judge.memory.mean == pytest.approx(0.5, abs=0.15)


def test_a_verdict_that_is_never_worth_its_price_is_explored_only():
    judge = learned(OneSided(judge=Oracle(score=0.2), price=0.5, explore=0.15), asks(60))
    assert judge(asks(1)[0])["propensity"].max() < 0.35


def test_the_mean_counts_verdicts_by_what_was_not_paid_for():
    """Paid mostly for likely ones, the mean is still that of all."""
    judge = OneSided(judge=Oracle(), learning_rate=0.0)
    judge.memory.log_weights[:] = -50.0
    judge.memory.log_weights[2] = 0.0  # pay from likelihood .1 up
    judge.memory.log_weights[6] = 0.0  # pay from .5 up
    learned(judge, asks(30, groups=20))
    assert judge.memory.mean == pytest.approx(0.5, abs=0.06)


def test_auditors_even_out_what_is_treated_too_differently():
    def apart(auditors):
        options = {"price": 0.4, "learning_rate": 0.1, "auditors": auditors, "alpha": 0.0, "penalty": 2.0}
        judge = learned(OneSided(judge=Oracle(), **options), asks(30))
        low, high = judge(sampled([0.05, 0.95], k=1))["propensity"].tolist()
        return high - low

    assert apart((lambda a, b: 0.0,)) < 0.5 * apart(())
    assert apart((lambda a, b: 1.0,)) == pytest.approx(apart(()), abs=1e-12)


def test_auditors_by_name_and_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def near(a, b):\n    return 0.5 * abs(a['likelihood'] - b['likelihood'])\n\n\n")
    for auditors in (("text", "likelihood"), (f"{path}:near",)):
        judge = learned(OneSided(judge=Oracle(), auditors=auditors, alpha=0.01), asks(2, groups=3))
        assert np.isfinite(judge.memory.log_weights).all()
    judge = OneSided(judge=Oracle(), auditors=(lambda a, b: 7,))
    with pytest.raises(JudgeError, match="distances must be in .* auditor 0 gives 7.0"):
        judge.learn(judge(asks(1)[0]))
    with pytest.raises(JudgeError, match="auditor .* failed: .*no words"):

        def broken(a, b):
            raise RuntimeError("no words")

        learned(OneSided(judge=Oracle(), auditors=(broken,)), asks(1))
    with pytest.raises(ValueError, match="defines no 'nearr'; did you mean 'near'"):
        OneSided(judge=Oracle(), auditors=(f"{path}:nearr",))


def test_order_of_rows_and_of_groups_does_not_change_what_is_learned():
    judges, batch = [OneSided(judge=Oracle(), auditors=("text",)) for _ in range(2)], asks(1)[0]
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(0))
    learned(judges[0], [batch])
    learned(judges[1], [batch.take(order)])
    assert np.array_equal(judges[0].memory.log_weights, judges[1].memory.log_weights)


def test_state_goes_through_judging():
    judging, again = (Judging([OneSided(judge=Oracle())]) for _ in range(2))
    judging.begin()
    for batch in asks(5):
        judging.learn(judging(batch))
    again.load_state_dict(judging.state_dict())
    batch = asks(1, seed=9)[0]
    assert torch.equal(judging(batch)["propensity"], again(batch)["propensity"])
    judging.begin()
    assert np.array_equal(judging.judges[0].memory.log_weights, Memory().log_weights)
    judging.learn(judging(batch.take(torch.zeros(len(batch), dtype=torch.bool))))  # nothing was asked


def test_a_verdict_out_of_bounds():
    with pytest.raises(JudgeError, match=r"must be in \[0, 1\], 'oracle' says 2.0"):
        OneSided(judge=Oracle(score=2.0), explore=1.0)(asks(1)[0])


def train(directory, resume=False):
    """Warm start, then one-sided verdicts with rollouts in flight."""
    raw = raw_recipe(evaluate=None)
    phase = raw["phases"]["reinforce"]
    phase["judge"] = [{"one_sided": {"judge": f"{__name__}.Oracle", "auditors": ["text"]}}]
    phase["credit"] = [{"inverse_propensity": {"by": "batch"}}]
    phase["objective"] = [{"policy_gradient": {"over": "all"}}]
    phase["plan"] |= {"keep": None}
    phase["steps"] = 4
    Run(load_recipe(raw)[0], directory, resume, Show(quiet=True)).train()


def test_killed_and_resumed_it_is_the_same_run(tmp_path):
    """Killed after a step without a checkpoint: what the journal holds is learned from again, not judged."""
    train(tmp_path / "whole")
    assert_equal(outcome(tmp_path / "whole"), cut_and_resumed(train, tmp_path / "cut", step=6))
    rows = recorded(tmp_path / "whole", "reinforce")
    assert {row["paid"] for row in rows} == {True, False}

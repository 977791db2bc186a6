"""claims/xrpo: the data say what they should, the policy draws from its law, a short run is reproducible."""

import copy

import numpy as np
import pytest
import torch
from benchmarks.claims import otr, xrpo
from benchmarks.claims.xrpo import classroom, planner, seeding, sharpening

from oneloop.engines.request import Request
from oneloop.engines.slots import SlotEngine
from oneloop.sample.plan.count.allocate import Allocate
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient


def test_the_classroom_draws_from_its_law():
    model = classroom.Logits(torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]], dtype=torch.float64))
    policy = classroom.Classroom(model)
    asked = sharpening.requests(0, 5)
    rows = asked.take(asked.group < 2).example
    asked = asked.take(torch.arange(1600)).put(example=[rows[i % 2 * 16] for i in range(1600)])
    finished, rest = policy.sample(asked)
    assert len(rest) == 0 and torch.equal(finished.actions.token, policy.sample(asked)[0].actions.token)
    for question in (0, 1):
        mine = torch.arange(1600) % 2 == question
        shares = torch.bincount(finished.actions.token[mine], minlength=3) / mine.sum()
        law = model(torch.tensor([question])).softmax(-1)[0]
        assert shares.tolist() == pytest.approx(law.tolist(), abs=0.06)
    here = policy.at(finished, torch.arange(1600))
    torch.testing.assert_close(here.logprob.detach(), finished.actions.logprob)
    assert classroom.graded(finished).reward.mean() == 1, "answers 0, 1 and 2 are all right ones"


def test_a_step_on_a_coin_is_the_policy_gradient():
    policy = classroom.Classroom(classroom.Coin(torch.zeros(2, dtype=torch.float64)))
    data = planner.rows_of(torch.arange(2), torch.ones(2, dtype=torch.long))
    batch = planner.asked(policy, data, [0, 1], planner.count_of(None), {"seed": 3, "step": 0})
    batch = batch.put_actions(advantage=torch.where(batch.reward == 1, 1.0, -1.0))
    classroom.GradientDescent(policy, PolicyGradient(), 2.0)(batch)
    # each rollout adds advantage * (answer - 1/2) / rollouts
    question = torch.tensor([row["question"] for row in batch.example])
    wanted = [2.0 * float((question == q).double().mean()) / 2 for q in (0, 1)]
    assert policy.model.table.tolist() == pytest.approx(wanted)


def test_a_batch_without_signal_moves_nothing():
    policy = classroom.Classroom(otr.Calculator())
    data = planner.rows_of(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    batch = planner.asked(policy, data, [0, 1], planner.count_of(None), {"seed": 3, "step": 0})
    batch = batch.put_actions(advantage=torch.zeros(len(batch)))
    before = copy.deepcopy(policy.model.state_dict())
    Learner(policy, [PolicyGradient()], Learning(learning_rate=1.0), 2)(batch)
    assert all(torch.equal(before[name], now) for name, now in policy.model.state_dict().items())


def test_arms_have_equal_rollouts():
    data = planner.rows_of(torch.arange(64), torch.ones(64, dtype=torch.long))
    policy = classroom.Classroom(classroom.Coin(torch.linspace(-4, 4, 64, dtype=torch.float64)))
    for bonus in (None, 0.0, 0.05):
        batch = planner.asked(policy, data, list(range(64)), planner.count_of(bonus), {"seed": 3, "step": 0})
        assert len(batch) == 64 * 16 and len(batch.id.unique()) == len(batch)
        size = batch.group.bincount()
        assert (size.max() == size.min()) == (bonus is None) and size.min() >= 8
        assert {row["question"] for row in batch.example} == set(range(64))


def test_what_the_warm_start_shows():
    words = dict.fromkeys(seeding.TAGS, "pq")
    rows = seeding.demonstrations(words, np.random.default_rng(0), 300)
    for row in rows:
        *examples, asked = row["prompt"].split(";")
        tag = asked[:2]
        known = seeding.TAGS.index(tag) % 2 == 0
        assert known or examples, "a hidden tag is never asked alone"
        assert (row["completion"] == "pq") or not known
        assert all(
            each == f"{tag} {each[3]}={row['completion']}" and each[3] != asked[3] for each in examples
        )
    trained, held_out = (
        {row["prompt"] for row in seeding.questions(words, digits).rows}
        for digits in (seeding.TRAINED, seeding.HELD_OUT)
    )
    assert not trained & held_out
    assert not {each["question"] for each in seeding.solved(words)} & (trained | held_out)


def test_the_engine_samples_from_what_supervision_left(monkeypatch):
    monkeypatch.setattr(seeding, "PRETRAINING", 3)
    policy = seeding.warm(0, dict.fromkeys(seeding.TAGS, "pq"))
    asked = [Request(1, 0, (1, 2, 3), 5)]
    ours, fresh = (
        policy.engine.generate(asked),
        SlotEngine(policy.model, eos=policy.engine.eos).generate(asked),
    )
    assert ours[0].tokens == fresh[0].tokens and np.array_equal(ours[0].logprobs, fresh[0].logprobs)


def test_entropy_of_right_answers():
    logits = torch.full((2, 12), -50.0, dtype=torch.float64)
    logits[0, :3], logits[1, 0] = 0.0, 0.0
    found = sharpening.measured(logits)
    assert found["correct"] == pytest.approx(1)
    assert found["entropy of right answers"] == pytest.approx(np.log(3) / 2)


@pytest.mark.slow
def test_one_seed_is_reproducible(monkeypatch):
    monkeypatch.setattr(planner, "STEPS", 2)
    monkeypatch.setattr(planner, "TRANSFORMER_STEPS", 2)
    monkeypatch.setattr(planner, "PRETRAINING", 3)
    monkeypatch.setattr(sharpening, "STEPS", 2)
    monkeypatch.setattr(sharpening, "PROMPTS", 20)
    monkeypatch.setattr(seeding, "PRETRAINING", 2)
    monkeypatch.setattr(seeding, "STEPS", 2)
    monkeypatch.setattr(seeding, "HELD_OUT", range(7, 8))
    seen = []
    planner.half_learned.cache_clear()
    first = xrpo.run(1, seen.append)
    assert len(seen) == xrpo.CLAIM.units
    assert first == xrpo.run(1, lambda what: None)
    rows = {arm.name: planner.train(arm.name, arm.grid[1], 1) for arm in planner.ARMS}
    assert rows["transformer: no bonus"] == planner.train("transformer: no bonus", 3e-4, 1)
    assert {row["work"] for row in rows.values()} == {1024.0}
    assert xrpo.headline(rows) == (rows["coins: no bonus"]["gain"], rows["coins: uniform"]["gain"])
    planner.half_learned.cache_clear()
    for name, columns in first.items():
        assert all(0 <= value <= 2 for key, value in columns.items() if key != "gain"), name


def test_seeding_has_equal_work():
    """Without a bonus to speak of, the two phases are four rollouts each for everybody."""
    count = Allocate(phases=2, base=4, mean_budget=8, min_per_prompt=8)
    assert count._share(1) == 4 and count.min_per_prompt == count.mean_budget

"""The loop with toy stages: their order, who is told of an update, where columns are annotated."""

import math

import pytest
import torch

from oneloop.core.part import part
from oneloop.loop import Loop, Stage, leave_out, plain
from oneloop.sample.plan.keep.keep_mixed import KeepMixed
from oneloop.sample.plan.leftovers import Leftovers
from tests.sample.plan.sampler import FakeSampler, judged
from tests.sample.plan.test_plan import held
from tests.sample.plan.test_plan import plan as made_plan
from tests.support.toy import chains

LOG: list[str] = []


@part(reads=("actions.entropy", "reward"), writes=("actions.advantage",))
class Credit:
    def __call__(self, rollouts):
        LOG.append(f"credit with {[name for name in ('entropy', 'proximal') if name in rollouts.actions]}")
        advantage = rollouts.spread(rollouts.reward.float())
        return rollouts.put_actions(advantage=torch.where(rollouts.owner == 0, math.nan, advantage))


@part(reads=("actions.share",), writes=("actions.share",))
class Select:
    def __call__(self, rollouts):
        LOG.append("select")
        return rollouts

    def after_update(self, learner, batch):
        LOG.append(f"select hears of version {learner.policy.version}")


@part(reads=("actions.advantage", "actions.proximal", "actions.entropy", "actions.reference"))
class Objective:
    pass


class ToyPolicy:
    gives = ("entropy", "proximal", "reference")
    version = 0

    def annotate(self, rollouts, columns):
        LOG.append(f"annotate {', '.join(columns)}")
        return rollouts.put_actions({name: torch.zeros(len(rollouts.actions)) for name in columns})


class ToyLearner:
    def __init__(self):
        self.policy, self.objectives = ToyPolicy(), [Objective()]

    def __call__(self, batch):
        LOG.append("update")
        self.policy.version += 1
        return batch


def loop(plan, sampler=None, judge=judged, parts=()):
    LOG.clear()
    return Loop(plan, sampler or FakeSampler(), judge, parts, ToyLearner())


def test_stages_run_in_their_order_and_columns_are_written_just_before_the_first_reader():
    made = loop(made_plan(), parts=[Credit(), Select()])
    names = [stage.name for stage in made.stages()]
    assert names == [
        "ask",
        "answer",
        "tell",
        "annotate",
        "Credit",
        "Select",
        "annotate",
        "leave_out",
        "update",
    ]
    (batch,) = made.run(1)
    assert LOG == [
        "annotate entropy",
        "credit with ['entropy']",
        "select",
        "annotate proximal",
        "update",
        "select hears of version 1",
    ]
    kept = batch.actions.share > 0
    assert (~kept).equal(batch.owner == 0), "no verdict is share 0"
    assert set(made.seconds) == {*names, "sample", "judge"}


def test_leave_out():
    rollouts = chains([1, 2]).put_actions(share=torch.tensor([1.0, 0.0, 1.0]))
    assert leave_out(rollouts) is rollouts
    advantage = torch.tensor([math.nan, 0.0, 0.0])
    assert leave_out(rollouts.put_actions(advantage=advantage)).actions.share.tolist() == [0.0, 0.0, 1.0]


def test_it_takes_as_many_steps_as_wanted_and_ends_early_when_the_data_is_used_up():
    made = loop(made_plan(count=40))
    assert len(list(made.run(3))) == 3 and made.learner.policy.version == 3
    dry = loop(made_plan(count=10, groups=4, epochs=1))
    assert [len(batch.group.unique()) for batch in dry.run(100)] == [4, 4, 2]
    assert list(loop(made_plan()).run(0)) == []


def test_it_asks_until_there_is_a_batch():
    plan = made_plan(groups=2, in_flight=4, keep=KeepMixed())
    sampler = FakeSampler.random(3)
    made = loop(plan, sampler)
    batches = list(made.run(6))
    assert len(batches) == 6 and sampler.calls > 6
    trained = [number for batch in batches for number in batch.id.tolist()]
    assert sorted(trained + held(plan)) == list(range(plan.piles.next_id)), (
        "refused ones are held until taken"
    )


def test_an_empty_ask_is_not_sampled():
    plan = made_plan(groups=1, in_flight=4)
    sampler = FakeSampler()
    made = loop(plan, sampler)
    assert len(list(made.run(4))) == 4
    assert sampler.calls == 1, "four groups came back from one ask"


def test_demonstrations_need_no_judge():
    made = loop(made_plan(), judge=None)
    (batch,) = made.run(1)
    assert "reward" not in batch


def test_the_plan_hears_of_an_update():
    plan = made_plan(groups=1, in_flight=2, n=2, leftovers=Leftovers(then="restart"))
    made = loop(plan, FakeSampler(lambda row: 1 if row == 3 else None))
    (batch,) = made.run(1)
    assert batch.group.unique().tolist() == [0]
    (waiting,) = plan.piles.unfinished
    assert waiting.last.tolist() == [-1], "what was sampled in part begins again under the new weights"


def test_plain_passes_on_what_a_stage_returns_and_asks_again_at_none():
    given = iter([1, 2, 3, 4, None])
    stages = [
        Stage("ask", lambda: next(given), "plan"),
        Stage("odd", lambda item: None if item % 2 else item * 10, "plan"),
    ]
    assert list(plain(stages, 5)) == [20, 40]
    given = iter([2, 4, 6])
    assert list(plain(stages, 2)) == [20, 40]
    assert next(given) == 6, "nothing is asked after the last step"


def test_a_stage_that_fails_says_so():
    def broken(finished):
        raise RuntimeError("the judge is out")

    with pytest.raises(RuntimeError, match="the judge is out"):
        next(loop(made_plan(), judge=broken).run(1))


class Noted:
    """A journal in memory."""

    def __init__(self):
        self.answers = {}

    def answer(self, asked, sample, judge):
        key = tuple(asked.id.tolist())
        if key not in self.answers:
            finished, unfinished = sample(asked)
            self.answers[key] = judge(finished), unfinished
        return self.answers[key]


class Remembers:
    """A judge that learns from what it judged."""

    def __init__(self):
        self.learned, self.calls = 0, 0

    def __call__(self, finished):
        self.calls += 1
        return judged(finished)

    def begin(self): ...

    def learn(self, rollouts):
        self.learned += len(rollouts)

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


def test_a_judge_learns_from_every_answer_also_from_those_of_a_journal():
    journal, first, again = Noted(), Remembers(), Remembers()
    for judge in (first, again):
        made = loop(made_plan(), judge=judge)
        made.journal = journal
        (batch,) = made.run(1)
    assert first.calls > 0 and again.calls == 0
    assert first.learned == again.learned == len(batch)


def test_a_batch_that_is_ready_is_not_sampled_again():
    made = loop(made_plan())
    empty = made.plan.ask().take(torch.zeros(0, dtype=torch.long))
    assert made._answer(empty) == (empty, empty) and made.seconds["sample"] == 0

import dataclasses
import math
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.part import part
from oneloop.core.rollouts import MissingColumn
from oneloop.core.verdicts import JudgeError, columns, verdict
from oneloop.judge.function import Function
from oneloop.judge.stage import JudgeOutage, Judging
from oneloop.judge.truncated import Truncated
from tests.judge.judge_rollouts import rollouts

NAN = math.nan


@dataclasses.dataclass
class Says:
    """A judge that says what it was told to: numbers, None, or an exception to raise."""

    values: list
    name: str = "says"
    weight: float = 1.0
    limits: JudgeLimits = JudgeLimits()

    def __call__(self, asked):
        if isinstance(self.values, Exception):
            raise self.values
        return asked.put(columns(self.name, [verdict(value) for value in self.values]))


def says(*values, **fields):
    return Says(list(values), **fields)


def same(tensor, expected):
    return torch.equal(tensor.nan_to_num(99), torch.tensor(expected, dtype=torch.float64).nan_to_num(99))


def test_weighted_sum():
    judges = [says(1.0, 0.0, name="a", weight=2.0), says(0.5, -1.0, name="b", weight=0.5)]
    assert same(Judging(judges)(rollouts(["x", "y"])).reward, [2.25, -0.5])


def test_a_judge_without_an_opinion_is_left_out_not_zero():
    judges = [says(1.0, 1.0, None, name="a", weight=3.0), says(0.5, None, None, name="b", weight=1.0)]
    judged = Judging(judges)(rollouts(["x", "y", "z"]))
    # 3*1 + .5;   3*1 * 4/3;   nothing
    assert same(judged.reward, [3.5, 4.0, NAN])
    assert judged.status == ["stop"] * 3
    assert judged.facts["judges"]["b"] == {"rollouts": 3, "errors": 0, "none": 2, "outage": False}


def test_weights_of_both_signs_renormalise_by_their_size():
    judges = [says(1.0, 1.0, name="a", weight=1.0), says(1.0, None, name="b", weight=-1.0)]
    assert same(Judging(judges)(rollouts(["x", "y"])).reward, [0.0, 2.0])


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0.1, 4))
def test_one_judge_alone_is_its_weight_times_its_score(scores, weight):
    judged = Judging([says(*scores, weight=weight)])(rollouts(["x"] * len(scores)))
    assert torch.allclose(judged.reward, weight * torch.tensor(scores, dtype=torch.float64))


@given(
    st.permutations([("a", 0.5, [1.0, None, 2.0]), ("b", 2.0, [None, 3.0, 1.0]), ("c", 1.0, [0.0, 1.0, NAN])])
)
def test_the_order_of_judges_does_not_change_the_reward(judges):
    made = [says(*values, name=name, weight=weight) for name, weight, values in judges]
    judged = Judging(made)(rollouts(["x", "y", "z"], group=[0, 1, 2]))
    assert torch.allclose(
        judged.reward, torch.tensor([0.5 * 3.5 / 1.5, 7.0 * 3.5 / 3, NAN]).double(), equal_nan=True
    )
    assert judged.status == ["stop", "stop", "failed"]


def test_drop_rollout_names_the_rollout():
    judged = Judging([says(1.0, NAN, 0.0, 1.0)])(rollouts(["x"] * 4))
    assert same(judged.reward, [1.0, NAN, 0.0, 1.0])
    assert judged.status == ["stop", "failed", "stop", "stop"]
    assert judged["drop_group"].tolist() == [False] * 4
    (sentence,) = judged.facts["judge_errors"]
    assert sentence.startswith("judge 'says' on rollout 101 (data row 1001): returned nan")
    assert judged.facts["judges"]["says"] == {"rollouts": 4, "errors": 1, "none": 0, "outage": False}


def test_drop_group_flags_its_whole_group():
    judge = says(1.0, NAN, 0.0, 1.0, 1.0, limits=JudgeLimits(on_error="drop_group"))
    judged = Judging([judge])(rollouts(["x"] * 5, group=[7, 8, 8, 7, 9]))
    assert judged["drop_group"].tolist() == [False, True, True, False, False]
    assert judged.status == ["stop", "failed", "stop", "stop", "stop"]


def test_stop_raises_the_sentence():
    judge = says(1.0, NAN, limits=JudgeLimits(on_error="stop"))
    with pytest.raises(
        JudgeError, match=r"'says' on rollout 101 \(data row 1001\): returned nan .*; 1 of 2 rollouts"
    ):
        Judging([judge])(rollouts(["x", "y"]))


def test_a_held_out_judge_is_logged_and_changes_nothing():
    judges = [says(1.0, 0.5, name="a"), says(NAN, 9.0, name="held_out", weight=0.0)]
    judged = Judging(judges)(rollouts(["x", "y"]))
    assert same(judged.reward, [1.0, 0.5])
    assert judged.status == ["stop", "stop"]
    assert same(judged["reward.held_out"], [NAN, 9.0])
    assert judged.facts["judges"]["held_out"]["errors"] == 1


def test_an_outage_is_warned_of_and_never_a_low_score():
    with pytest.warns(
        JudgeOutage, match="judge 'says' failed on all 2 rollouts, first: judge 'says' on rollout 100"
    ):
        judged = Judging([says(NAN, NAN)])(rollouts(["x", "y"]))
    assert judged.reward.isnan().all()
    assert judged.facts["judges"]["says"]["outage"] is True


def test_a_judge_that_raises_is_in_error_everywhere():
    with pytest.warns(JudgeOutage):
        judged = Judging([Says(RuntimeError("service is down")), says(1.0, 1.0, name="b")])(
            rollouts(["x", "y"])
        )
    assert judged["error.says"] == ["RuntimeError: service is down"] * 2
    assert judged.reward.isnan().all() and judged.status == ["failed"] * 2


@pytest.mark.parametrize("fault", [MissingColumn("nobody wrote it"), JudgeError("no such column")])
def test_a_fault_of_the_recipe_is_raised(fault):
    with pytest.raises(type(fault)):
        Judging([Says(fault)])(rollouts(["x"]))


def test_retries_ask_for_the_failed_rollouts_alone():
    asked = []

    def judge(table):
        asked.append(table.id.tolist())
        score = {1: [1.0, NAN, NAN], 2: [2.0, NAN], 3: [NAN]}[len(asked)]
        written = columns("judge", [verdict(value) for value in score])
        return table.put({**written, "extra.judge": [{"try": len(asked)}] * len(table)})

    judge.limits = JudgeLimits(retries=2)
    judged = Judging([judge])(rollouts(["x", "y", "z"]))
    assert asked == [[100, 101, 102], [101, 102], [102]]
    assert same(judged.reward, [1.0, 2.0, NAN])
    assert [extra["try"] for extra in judged["extra.judge"]] == [1, 2, 3]
    assert [error is None for error in judged["error.judge"]] == [True, True, False]


def test_a_judge_that_calls_exit_has_failed_and_the_run_goes_on():
    def leaves(table):
        sys.exit(0)

    with pytest.warns(JudgeOutage):
        judged = Judging([leaves])(rollouts(["x", "y"]))
    assert judged["error.leaves"] == ["SystemExit: 0"] * 2 and judged.reward.isnan().all()


def test_a_retry_mends_a_flaky_service():
    path = f"{Path(__file__).parent / 'rewards_file.py'}:flaky"
    judge = Function(path=path, isolate=False, limits=JudgeLimits(retries=1))
    judged = Judging([judge])(rollouts(["x", "y"]))
    assert same(judged.reward, [1.0, 1.0]) and judged.facts["judges"]["flaky"]["errors"] == 0


def test_the_first_judge_that_writes_correct_decides():
    def verifier(name, value):
        def judge(table):
            return table.put(columns(name, [verdict(value)])).put(correct=torch.tensor([value]).double())

        judge.name = name
        return judge

    assert Judging([verifier("a", 1.0), verifier("b", 0.0)])(rollouts(["x"])).correct.tolist() == [1.0]


def test_batches_with_and_without_errors_have_the_same_columns():
    judges = [
        Truncated(weight=0.5),
        Function(path=lambda completion: 1.0 if completion == "x" else NAN, name="f"),
    ]
    fine, failed = (Judging(judges)(rollouts(texts)) for texts in (["x", "x"], ["x", "y"]))
    assert list(fine) == list(failed)
    assert len(type(fine).join([fine, failed])) == 4


def test_nothing_to_judge():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged = Judging([says()])(rollouts([]))
    assert judged.reward.shape == (0,) and judged.facts["judges"]["says"]["outage"] is False


def test_faults_of_construction():
    with pytest.raises(ValueError, match=r"two judges are called \['says'\]"):
        Judging([says(), says()])
    with pytest.raises(ValueError, match="no judge has a weight, so there is no reward; judges: none"):
        Judging([])
    with pytest.raises(ValueError, match=r"judges: \['says'\]"):
        Judging([says(weight=0.0)])


def test_a_judge_that_returns_something_else_is_named():
    def judge(table):
        return table

    with pytest.raises(
        JudgeError, match="judge 'judge' must return its 1 rollouts with a tensor 'reward.judge', got"
    ):
        Judging([judge])(rollouts(["x"]))
    with pytest.raises(JudgeError, match="got 1 rollouts"):
        Judging([lambda table: table.take(torch.tensor([0]))])(rollouts(["x", "y"]))


@part(writes=("reward.marks", "error.marks", "actions.flaw"))
class Marks:
    """A judge that is to write more than verdicts, and fails."""

    name: str = "marks"
    weight: float = 1.0

    def __call__(self, asked):
        raise KeyError("here")


@part(writes=("reward.right", "error.right", "correct"))
class Right(Marks):
    """One that is to write verdicts alone."""

    name: str = "right"


def test_a_judge_that_raises_is_the_error_that_is_told_not_the_column_it_lacks():
    with pytest.raises(
        JudgeError, match=r"judge 'marks' failed on .* wrote no actions.flaw: KeyError: 'here'"
    ):
        Judging([Marks()])(rollouts(["x"]))
    with pytest.warns(JudgeOutage):
        judged = Judging([Right()])(rollouts(["x", "y"]))
    assert judged["error.right"] == ["KeyError: 'here'"] * 2 and same(judged.correct, [NAN, NAN])

"""Win-rates by task and criterion, the gap between a learned judge and the truth, and what the doctor says
of it."""

import pytest
import torch

from oneloop.report.doctor import diagnose
from oneloop.run.metrics import batch_metrics
from oneloop.run.win_rates import differences, win_rates
from tests.judge.judge_rollouts import rollouts
from tests.report.doctor.test_doctor import only, run


def batch(**columns):
    tasks = ["fill", "fill", "remove", "remove"]
    made = rollouts([""] * 4, [{"prompt": "p", "task": task} for task in tasks])
    made = made.put_actions(share=torch.ones(4), version=torch.zeros(4, dtype=torch.long))
    return made.put({name.replace("__", "."): torch.tensor(value) for name, value in columns.items()})


NAN = float("nan")
SAID = {"yes__vlm__quality": [0.9, 0.7, NAN, NAN], "yes__vlm__clean": [NAN, NAN, 1.0, 0.8]}
TRUE = {"won__truth__quality": [1.0, 0.0, NAN, NAN], "won__truth__clean": [NAN, NAN, 0.0, 0.0]}


def test_means_by_task_and_the_gap_of_what_both_know():
    numbers = win_rates(batch(**SAID, **TRUE))
    assert numbers["win_rate/vlm/fill/quality"] == pytest.approx(0.8)
    assert numbers["win_rate/truth/remove/clean"] == 0
    assert "win_rate/vlm/fill/clean" not in numbers
    assert numbers["hacking_gap"] == pytest.approx((0.3 + 0.9) / 2)
    assert numbers["hacking_gap/worst"] == pytest.approx(0.9)


def test_what_an_objective_read_counts_as_said():
    rows = batch(**TRUE)
    rows = rows.put_actions({"yes.vlm.quality": torch.tensor([0.9, 0.7, NAN, NAN])})
    assert win_rates(rows)["hacking_gap"] == pytest.approx(0.3)


def test_without_a_shared_criterion_the_means_are_compared():
    assert differences({("a", "x"): 0.9, ("b", "x"): 0.7}, {("all", "y"): 0.5}) == [pytest.approx(0.3)]
    assert differences({}, {("a", "x"): 1.0}) == [] and win_rates(batch()) == {}
    assert "hacking_gap" not in win_rates(batch(**SAID))


def test_groups_of_one_are_not_called_dead():
    rows = batch(**TRUE).put(reward=torch.ones(4, dtype=torch.float64), group=torch.arange(4))
    assert "frac_reward_zero_std" not in batch_metrics(rows)
    assert "frac_reward_zero_std" in batch_metrics(rows.put(group=torch.tensor([0, 0, 1, 1])))


def test_a_fooled_judge_turns_the_report_red():
    assert diagnose(run(hacking_gap=0.05)) == []
    warned = only(diagnose(run(hacking_gap=0.15)))
    assert warned.level == "warn" and "15% above that of the held-out measure" in warned.sentence
    alarm = only(diagnose(run(hacking_gap=0.7, hacking_gap__worst=0.95)))
    assert (
        alarm.level == "alarm"
        and alarm.name == "hacking_gap"
        and "worst by one criterion: 95%" in alarm.sentence
    )
    assert diagnose(run(hacking_gap=-0.3)) == []  # a judge that is too modest


def test_a_judge_that_nobody_watches_is_pointed_out():
    said = {"win_rate__vlm__fill__quality": 0.6, "hinge__closed_ratio": 0.1}
    assert only(diagnose(run(**said))).name == "unwatched_judge"
    assert diagnose(run(**said, hacking_gap=0.0)) == []

"""Held-out accuracy: the interval against published numbers, the same draws for every model."""

import math

import pytest
import torch

from oneloop.judge.stage import Judging
from oneloop.judge.verifier import Verifier
from oneloop.run.evaluation import evaluate, held_out, interval, measure, pattern_of, per_row
from oneloop.sample.data.rows import Rows
from oneloop.sample.policies.language import Language
from tests.support.training import ROWS, raw_recipe

DATA = Rows(rows=ROWS)
NAN = math.nan


def policy():
    (options,) = raw_recipe()["policy"].values()
    return Language(**options).open()


def test_wilson_interval():
    # Newcombe (1998), table I: 81 of 263, and 0 of 20
    rows = torch.zeros(263, dtype=torch.float64)
    rows[:81] = 1
    mean, low, high = interval(rows)
    assert (mean, round(low, 4), round(high, 4)) == (pytest.approx(81 / 263), 0.2553, 0.3662)
    mean, low, high = interval(torch.zeros(20, dtype=torch.float64))
    assert (mean, round(low, 4), round(high, 4)) == (0, 0.0, 0.1611)


def test_rows_between_right_and_wrong_get_the_normal_interval():
    mean, low, high = interval(torch.tensor([0.5, 1.0, 0.0, 0.5], dtype=torch.float64))
    half = 1.959964 * math.sqrt(1 / 6) / 2
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-6)
    assert all(map(math.isnan, interval(torch.empty(0, dtype=torch.float64))))


def test_mean_per_row_leaves_out_rows_without_verdict():
    values = torch.tensor([1.0, 0.0, NAN, NAN, 1.0, NAN], dtype=torch.float64)
    assert per_row(values, torch.tensor([0, 0, 1, 1, 2, 2])).tolist() == [0.5, 1.0]


def first_token_is_even(rollouts):
    first = rollouts.actions.token[rollouts.actions.parent == -1]
    return rollouts.put(reward=rollouts.length.double(), correct=(first % 2 == 0).double())


def test_it_is_deterministic_and_every_model_meets_the_same_draws():
    one, other = policy(), policy()
    found = [evaluate(p, first_token_is_even, DATA, 6, 3, 5, "sampled") for p in (one, other, one)]
    assert found[0] == found[1] == found[2]
    assert found[0]["n"] == 6 and found[0]["samples"] == 18
    assert evaluate(one, first_token_is_even, DATA, 6, 3, 6, "sampled")["reward"] != found[0]["reward"]
    few = held_out(DATA, 2, 3, 5)
    assert torch.equal(few.id, held_out(DATA, 6, 3, 5).id[:6]), "a larger set begins with the smaller one"
    assert len(few.id.unique()) == 6, "every sample of every row has draws of its own"
    greedy = evaluate(one, first_token_is_even, DATA, 100, 3, 5, "greedy")
    assert greedy["n"] == greedy["samples"] == len(ROWS)
    assert greedy["accuracy"] * 20 == pytest.approx(round(greedy["accuracy"] * 20))
    assert one.version == 0


def test_without_correct_there_is_no_accuracy_and_errors_are_counted():
    def some(rollouts):
        reward = torch.tensor([1.0, NAN, 0.5, 0.5] + [NAN] * (len(rollouts) - 4), dtype=torch.float64)
        return rollouts.put(reward=reward)

    found = evaluate(policy(), some, DATA, 4, 2, 5, "sampled")
    assert found["errors"] == 5 and found["n"] == 2
    assert "accuracy" not in found and "low" not in found
    assert found["reward"] == pytest.approx((1.0 + 0.5) / 2), "rows weigh alike"
    assert found["reward_low"] < found["reward"] < found["reward_high"]


def test_a_reward_beside_correct_has_a_scale_of_its_own():
    def large(rollouts):
        reward = torch.full((len(rollouts),), 300.0, dtype=torch.float64)
        return rollouts.put(reward=reward, correct=torch.zeros(len(rollouts), dtype=torch.float64))

    found = evaluate(policy(), large, DATA, 4, 2, 5, "sampled")
    assert (found["accuracy"], found["reward"]) == (0.0, 300.0)
    assert found["low"] == 0 and found["reward_low"] == found["reward_high"] == 300.0


def judged(verdicts, texts=None):
    """Rollouts with these verdicts, three to a row."""
    rollouts = held_out(DATA, len(verdicts) // 3, 3, 0)
    correct = torch.tensor(verdicts, dtype=torch.float64)
    rollouts = rollouts.put(reward=correct, correct=correct)
    return rollouts if texts is None else rollouts.put(text=texts)


def test_pass_and_majority_at_k_by_hand():
    found = measure(judged([1, 0, 0, 0, 0, 0], ["=7", "=8", "x =8", "=1", "=2", "=3"]), "sampled", r"=(\d)")
    assert {k: v[0] for k, v in found["pass_at"].items()} == pytest.approx({"1": 1 / 6, "2": 1 / 3, "3": 0.5})
    # of three votes two are for 8; of two, one of three pairs agrees on 8 and the others are ties with 7
    at = {k: v[0] for k, v in found["maj_at"].items()}
    assert at["1"] == pytest.approx(1 / 6) and at["3"] == 0 and at["2"] == pytest.approx(1 / 6, abs=0.02)
    mean, low, high = found["pass_at"]["3"]
    assert low == 0 and high == 1 and mean == 0.5, "a bootstrap over two rows"


def test_a_rollout_without_verdict_is_no_sample():
    found = measure(judged([1, NAN, 0, NAN, NAN, NAN], [*"abcdef"]), "sampled")
    assert found["n"] == 1 and found["errors"] == 4
    assert {k: v[0] for k, v in found["pass_at"].items()} == {"1": 0.5, "2": 1.0}
    assert "pass_at" not in measure(judged([1, NAN, NAN], [*"abc"]), "sampled"), "one sample has no k"


def test_images_have_no_majority():
    found = measure(judged([1, 0, 1]), "sampled")
    assert "pass_at" in found and "maj_at" not in found


def test_the_vote_is_on_what_the_verifier_extracts():
    assert pattern_of(Judging([Verifier(by="exact", extract=r"=(\d)")])) == r"=(\d)"
    assert pattern_of(first_token_is_even) is None

"""Metrics against numbers worked out by hand."""

import math

import pytest
import torch

from oneloop.run.metrics import batch_metrics, effective_share, first_of_each, json_safe
from tests.support.toy import chains

NAN = math.nan


def batch(**columns):
    """3 groups of 2: lengths 2 1 | 3 2 | 1 1; the last rollout has no verdict."""
    made = chains([2, 1, 3, 2, 1, 1]).put(
        status=["stop", "length", "stop", "stop", "stop", "length"],
        reward=torch.tensor([1.0, 0.0, 1.0, 1.0, 0.5, NAN], dtype=torch.float64),
        correct=torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, NAN], dtype=torch.float64),
    )
    return made.put(columns)


def test_lengths_rewards_and_signal():
    found = batch_metrics(batch())
    expected = {
        "rollouts": 6,
        "completions/mean_length": 10 / 6,
        "completions/max_length": 3,
        "completions/clipped_ratio": 2 / 6,
        "group_size": 2,
        "reward": 3.5 / 5,
        "reward_std": (math.sqrt(0.5) + 0 + 0) / 3,
        "frac_reward_zero_std": 2 / 3,
        "correct": 3 / 5,
        # the groups' pass rates are 1/2, 1 and 0: pooled 1/2, so 1/4 + 1/4 for groups of two
        "frac_zero_forecast": 0.5,
        "step_tokens": 10,
        "kept_tokens": 10,
        "staleness/mean": 0,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert all(type(value) is float for value in found.values())


def test_a_group_nobody_judged_counts_nowhere():
    silent = batch(reward=torch.tensor([1.0, 0.0, NAN, NAN, 0.5, 0.5], dtype=torch.float64))
    found = batch_metrics(silent)
    assert found["frac_reward_zero_std"] == 0.5
    assert found["reward_std"] == pytest.approx(math.sqrt(0.5) / 2)
    nothing = batch_metrics(batch(reward=torch.full((6,), NAN, dtype=torch.float64)))
    assert not {"reward", "reward_std", "frac_reward_zero_std"} & set(nothing)


def test_judges_by_name_with_their_errors():
    columns = {
        "reward.verifier": torch.tensor([1.0, NAN, 1.0, NAN, NAN, 0.0], dtype=torch.float64),
        "error.verifier": [None, None, None, "timed out", "timed out", None],
        "reward.style": torch.tensor([2.0] * 6, dtype=torch.float64),
        "error.style": [None] * 5 + ["raised"],
    }
    found = batch_metrics(batch(**columns))
    assert found["rewards/verifier/mean"] == pytest.approx(2 / 3)
    assert found["rewards/verifier/std"] == pytest.approx(math.sqrt(1 / 3))
    assert found["judge/verifier/none"] == 1 and found["judge/errors"] == 3
    assert found["rewards/style/mean"] == 2 and found["rewards/style/std"] == 0


def test_readings_are_means_over_what_was_kept():
    share = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0, 1, 1])
    ratio = torch.tensor([1.0, 2, 9, NAN, NAN, NAN, NAN, NAN, 3, NAN])
    made = batch().put_actions(
        share=share,
        ratio=ratio,
        clipped=torch.tensor([0.0, 1, 1, 1, 1, 1, 1, 1, 1, 0]),
        entropy=torch.arange(10.0),
        logprob_gap=torch.tensor([0.5] + [NAN] * 9),
        version=torch.tensor([4, 4, 3, 3, 3, 3, 3, 3, 3, 3]),
    )
    found = batch_metrics(made)
    assert found["kept_tokens"] == 4
    assert found["ratio/mean"] == 2 and found["ratio/max"] == 9
    assert found["clip_ratio/region_mean"] == 0.5
    assert found["entropy"] == (0 + 1 + 8 + 9) / 4
    assert found["sampling/logprob_gap_mean"] == found["sampling/logprob_gap_max"] == 0.5
    assert found["staleness/mean"] == 0.8


def test_ages_of_what_was_trained_are_counted_from_the_weights_it_trained():
    version = torch.tensor([4, 4, 3, 3, 3, 1, -1, -1, -1, 4])
    found = batch_metrics(batch().put_actions(version=version).put_facts(version=4))
    shares = {name: value for name, value in found.items() if name.startswith("staleness/")}
    assert shares == {
        "staleness/mean": 6 / 7,
        "staleness/max": 3,
        "staleness/carried_ratio": pytest.approx(4 / 7),
        "staleness/lag_0": pytest.approx(3 / 7),
        "staleness/lag_1": pytest.approx(3 / 7),
        "staleness/lag_3": pytest.approx(1 / 7),
    }
    ready = batch_metrics(batch().put_actions(version=torch.full((10,), 4)).put_facts(version=20))
    assert ready["staleness/carried_ratio"] == ready["staleness/lag_8"] == 1 and ready["staleness/mean"] == 16
    shown = batch_metrics(batch().put_actions(version=torch.full((10,), -1)))
    assert not [name for name in shown if name.startswith("staleness/")]


def test_importance_weights_and_how_many_the_cap_held():
    made = batch().put_actions(
        importance=torch.tensor([2.0, 0.5] * 5), importance_capped=torch.tensor([1.0, 0.0] * 5)
    )
    found = batch_metrics(made)
    assert found["importance/mean"] == 1.25 and found["importance/capped_ratio"] == 0.5


def test_effective_share_of_importance_weights():
    assert effective_share(torch.tensor([2.0, 2, 2, NAN])) == pytest.approx(1)
    assert effective_share(torch.tensor([3.0, 0, 0, 0])) == pytest.approx(1 / 4)
    assert effective_share(torch.tensor([2.0, 1])) == pytest.approx((3**2 / 5) / 2)
    assert math.isnan(effective_share(torch.tensor([NAN])))


def test_first_of_each():
    assert first_of_each(torch.tensor([2, 0, 2, 1, 0])).tolist() == [1, 3, 0]


def test_json_safe():
    assert json_safe({"a": NAN, "b": math.inf, "c": 1.5, "d": "x", "e": None}) == {
        "c": 1.5,
        "d": "x",
        "e": None,
    }

"""Credit, select and objective as functions of plain tensors: examples hold, [B, G] is labels row by row."""

import doctest
import importlib

import pytest
import torch

from oneloop.core.rooms import names
from oneloop.credit.group_relative import group_relative, whiten_actions
from oneloop.credit.inverse_propensity import inverse_propensity
from oneloop.credit.novelty import novelty
from oneloop.credit.token_level import token_advantages, token_rewards
from oneloop.credit.tree import depth_advantages, leaf_mean, weighted_by_children, weighted_by_leaves
from oneloop.select.mixed_groups import mixed, mixed_tokens
from oneloop.select.prune import extreme
from oneloop.select.subset import renormalised, select_rollouts
from oneloop.select.top_tokens import select_tokens
from oneloop.update.objective.policy_gradient import sequence_log_ratio

PARTS = [f"oneloop.{room}.{name}" for room in ("credit", "select") for name in names(room)]
PARTS += [f"oneloop.update.objective.{name}" for name in names("objective")]
PARTS += ["oneloop.sample.plan.count.allocate"]
WITHOUT = ("entropy_bonus", "flow_matching", "proxy_codes", "reconstruction", "style_contrast")
"""Objectives that are a method of the policy, or a function of its model's folder, times a number."""
B, G, T = 5, 6, 4


@pytest.mark.parametrize("module", PARTS, ids=lambda name: name.rpartition(".")[2])
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(
        importlib.import_module(module), extraglobs={"torch": torch}, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert result.failed == 0
    assert result.attempted > 0 or module.endswith(WITHOUT)


def rewards():
    """[B, G], binary or graded, one row equal, one with missing verdicts, one with a single verdict."""
    made = torch.rand(B, G, generator=torch.Generator().manual_seed(0), dtype=torch.float64).round(decimals=1)
    made[1] = 0.7
    made[2, :3] = torch.nan
    made[3, 1:] = torch.nan
    return made


def propensities(reward):
    return 0.2 + 0.7 * reward.nan_to_num(0.5)


OF_ROLLOUTS = {
    "grpo": lambda reward, group: group_relative(reward, group),
    "rloo": lambda reward, group: group_relative(reward, group, centre="leave_one_out", scale="none"),
    "batch": lambda reward, group: group_relative(reward, group, scale="whiten", ddof=0),
    "counted": lambda reward, group: group_relative(reward, group, counted=reward > 0.3),
    "inverse_propensity": lambda reward, group: inverse_propensity(reward, propensities(reward), group),
    "novelty": lambda reward, group: novelty(-reward, group),
    "novelty among": lambda reward, group: novelty(-reward, group, counted=reward > 0.3),
    "mixed": lambda reward, group: mixed(reward, group),
    "mixed_tokens": lambda reward, group: mixed_tokens(reward, group),
    "extreme": lambda reward, group: extreme(reward, group, count=2),
    "select_rollouts": lambda reward, group: select_rollouts(reward, group, share=0.5),
    "random": lambda reward, group: select_rollouts(reward, group, share=0.5, draw=reward.nan_to_num(2.0)),
    "renormalised": lambda reward, group: renormalised(reward, reward > 0.3, group),
    "select_tokens": lambda reward, group: select_tokens(reward.nan_to_num(0.0), group, share=0.5),
    "sequence_log_ratio": lambda reward, group: sequence_log_ratio(reward, group),
    "token_advantages": lambda reward, group: token_advantages(reward, group),
}


@pytest.mark.parametrize("name", OF_ROLLOUTS)
def test_rewards_of_shape_b_g_are_labels_row_by_row(name):
    function, reward = OF_ROLLOUTS[name], rewards()
    group = torch.arange(B).repeat_interleave(G)
    wide, flat = function(reward, None), function(reward.flatten(), group)
    assert wide.shape == (B, G) and flat.shape == (B * G,)
    torch.testing.assert_close(wide.flatten(), flat, rtol=0, atol=0, equal_nan=True)
    labelled = function(reward, group.view(B, G))
    torch.testing.assert_close(labelled, wide, rtol=0, atol=0, equal_nan=True)
    single = torch.stack([function(row, torch.zeros(G, dtype=torch.long)) for row in reward])
    if name != "batch":
        torch.testing.assert_close(wide, single, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", OF_ROLLOUTS)
def test_flat_values_without_labels_are_refused(name):
    with pytest.raises(ValueError, match=r"values of shape \(4,\) need group labels.*give \[B, G\]"):
        OF_ROLLOUTS[name](torch.rand(4), None)
    with pytest.raises(ValueError, match=r"labels of shape \(3,\) do not fit values of shape \(4,\)"):
        OF_ROLLOUTS[name](torch.rand(4), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("pool", ["token_pool", "response_balanced"])
def test_tokens_of_shape_b_g_t_are_labels_by_prompt_and_rollout(pool):
    outcome = torch.tensor([[1.0, 0], [1, 1]]).unsqueeze(-1)
    flaw = (torch.rand(2, 2, T, generator=torch.Generator().manual_seed(2)) < 0.4).double()
    reward = token_rewards(outcome, flaw)
    reward[0, 1, 2:] = torch.nan  # shorter
    wide = token_advantages(reward, pool=pool)
    known = ~reward.isnan()
    place = torch.arange(4).view(2, 2, 1).expand_as(reward)
    flat = token_advantages(reward[known], (place // 2)[known], place[known], pool=pool)
    torch.testing.assert_close(wide[known], flat)
    assert wide.shape == reward.shape and wide[~known].isnan().all()


def test_balanced_pools_need_to_know_whose_token_it_is():
    with pytest.raises(ValueError, match="needs `rollout`, or rewards"):
        token_advantages(torch.rand(2, 3), pool="response_balanced")


def test_whitening_takes_any_shape():
    values = torch.randn(3, 4)
    torch.testing.assert_close(whiten_actions(values).flatten(), whiten_actions(values.flatten()))
    assert whiten_actions(values).mean().abs() < 1e-12


def test_a_tree_as_plain_tensors():
    """A root, two children, two leaves under each."""
    parent, last = torch.tensor([-1, 0, 0, 1, 1, 2, 2]), torch.tensor([3, 4, 5, 6])
    reward = torch.tensor([1.0, 3.0, 5.0, torch.nan])
    value = leaf_mean(reward, last, parent)
    assert value[:6].tolist() == [3.0, 2.0, 5.0, 1.0, 3.0, 5.0] and value[6].isnan()
    logprob = torch.zeros(7)
    for weighted in (weighted_by_leaves, weighted_by_children):
        again = weighted(reward, logprob, last, parent, 1.0)
        assert again[1:6].tolist() == pytest.approx(value[1:6].tolist())
    advantage = depth_advantages(value, torch.zeros(7, dtype=torch.long), torch.tensor([0, 1, 1, 2, 2, 2, 2]))
    assert advantage[:3].tolist() == pytest.approx([0, -(0.5**0.5), 0.5**0.5]) and advantage[6].isnan()

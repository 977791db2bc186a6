"""weights.py against nested loops over groups, rollouts and paths."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.update.averaging import Averaging, action_weights, averaging, weights
from tests.support.toy import chains, forest, naive_paths

seeds = st.integers(0, 10**6)
lengths = st.lists(st.integers(0, 4), min_size=1, max_size=7)
either = st.one_of(
    st.builds(forest, seeds, st.integers(1, 7), st.integers(0, 12)), st.builds(chains, lengths)
)
over = st.sampled_from(["kept", "all"])


@st.composite
def with_shares(draw):
    rollouts = draw(either)
    count = len(rollouts.actions)
    share = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=count, max_size=count))
    return rollouts.put_actions(share=torch.tensor(share))


def mean(values):
    return sum(values) / len(values) if values else None


def naive(rollouts, losses, what, over, where):
    """The loss itself, by the sentences of the docstring."""
    share = rollouts.actions.share.tolist()
    kept = [True] * len(share) if where == "all" else [s > 0 for s in share]
    counted = [True] * len(share) if over == "all" else kept

    def average(actions):
        size = sum(counted[i] for i in actions)
        return sum(losses[i] for i in actions if kept[i]) / size if size else None

    paths = naive_paths(rollouts)
    if what == "action":
        parts = [average(range(len(share)))]
    elif what == "rollout":
        parts = [average(path) for path in paths]
    else:
        groups = {}
        for path, group in zip(paths, rollouts.group.tolist(), strict=True):
            groups.setdefault(group, set()).update(path)
        parts = [average(actions) for actions in groups.values()]
    parts = [part for part in parts if part is not None]
    return mean(parts) or 0.0


@given(with_shares(), st.sampled_from(["action", "rollout", "group"]), over, over)
def test_weighted_sum_is_the_naive_mean(rollouts, what, over, where):
    if what == "group":  # rollouts of different groups never share an action
        rollouts = rollouts.put(group=rollouts.group if rollouts.structure.is_chain else rollouts.group * 0)
    losses = torch.randn(
        len(rollouts.actions), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    weight = weights(rollouts, what, over, where)
    assert weight.dtype == torch.float64
    assert (weight * losses).sum().item() == pytest.approx(
        naive(rollouts, losses.tolist(), what, over, where)
    )


@given(with_shares(), st.sampled_from(["action", "rollout", "group"]))
def test_weights_sum_to_one_over_what_is_kept(rollouts, what):
    weight = weights(rollouts, what)
    kept = rollouts.actions.share > 0
    assert weight[~kept].eq(0).all() and weight[kept].gt(0).all()
    assert weight.sum().item() == pytest.approx(1.0 if kept.any() else 0.0)


@given(with_shares(), over)
def test_constant_divides_by_rollouts_times_the_length(rollouts, over):
    share = rollouts.actions.share.tolist()
    kept = [s > 0 for s in share]
    acting = sum(any(over == "all" or kept[i] for i in path) for path in naive_paths(rollouts))
    expected = [k / (max(acting, 1) * 7) for k in kept]
    assert weights(rollouts, "constant", over, constant_length=7).tolist() == pytest.approx(expected)


def test_worked_example():
    rollouts = chains([1, 3, 0, 2], group_size=3).put_actions(share=torch.tensor([1.0, 1, 1, 0, 1, 1]))
    expected = {
        "action": [1 / 5] * 3 + [0] + [1 / 5] * 2,
        "rollout": [1 / 3, 1 / 6, 1 / 6, 0, 1 / 6, 1 / 6],
        "group": [1 / 6, 1 / 6, 1 / 6, 0, 1 / 4, 1 / 4],
    }
    for what, numbers in expected.items():
        assert weights(rollouts, what).tolist() == pytest.approx(numbers)
    assert weights(rollouts, "rollout", over="all").tolist() == pytest.approx(
        [1 / 3, 1 / 9, 1 / 9, 0, 1 / 6, 1 / 6]
    )
    assert weights(rollouts, "constant", constant_length=10).tolist() == pytest.approx(
        [1 / 30] * 3 + [0] + [1 / 30] * 2
    )
    assert weights(rollouts, "action", where="all").tolist() == pytest.approx([1 / 6] * 6)


def test_on_a_tree_rollout_weighs_the_shared_start_once_for_each_leaf():
    actions = Actions({"parent": torch.tensor([-1, 0, 0]), "share": torch.ones(3)})
    tree = Rollouts({"last": torch.tensor([1, 2]), "group": torch.tensor([0, 0])}, actions)
    assert weights(tree, "rollout").tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert weights(tree, "action").tolist() == pytest.approx([1 / 3] * 3)


def test_a_group_emptied_by_select_and_a_batch_without_anything_kept():
    rollouts = chains([2, 2, 2, 2]).put_actions(share=torch.tensor([0.0] * 4 + [1.0] * 4))
    for what in ("action", "rollout", "group"):
        assert weights(rollouts, what).tolist() == pytest.approx([0.0] * 4 + [0.25] * 4)
    nothing = rollouts.put_actions(share=torch.zeros(8))
    for what in ("action", "rollout", "group", "constant"):
        assert weights(nothing, what, constant_length=4).eq(0).all()


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="action, rollout, group or constant, got 'token'"):
        weights(chains([1]), "token")
    with pytest.raises(ValueError, match="constant_length.*got None"):
        weights(chains([1]), "constant")


def test_an_objective_that_says_nothing_averages_over_kept_actions():
    def loss(here, rollouts, actions):
        return -here.logprob, {}

    rollouts = chains([1, 3]).put_actions(share=torch.tensor([1.0, 1, 0, 1]))
    assert averaging(loss) == Averaging()
    assert action_weights(loss, rollouts).tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    loss.mean = "rollout"
    assert averaging(loss) == Averaging(mean="rollout")
    assert action_weights(loss, rollouts).tolist() == pytest.approx([1 / 2, 1 / 4, 0, 1 / 4])

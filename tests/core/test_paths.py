"""paths.py against a walk in plain Python, on random forests and on chains."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.paths import Paths
from tests.support.toy import chains, forest, naive_paths

seeds = st.integers(0, 10**6)
lengths = st.lists(st.integers(0, 4), min_size=1, max_size=7)


def check(rollouts):
    paths, expected = rollouts.structure, naive_paths(rollouts)
    assert paths.length.tolist() == [len(path) for path in expected]
    entries = [(row, action) for row, path in enumerate(expected) for action in path]
    assert list(zip(paths.row.tolist(), paths.action.tolist(), strict=True)) == entries
    depth = {action: i for path in expected for i, action in enumerate(path)}
    owner = {}
    for row, action in entries:
        owner.setdefault(action, row)
    assert dict(enumerate(paths.depth.tolist())) == depth
    assert dict(enumerate(paths.owner.tolist())) == owner


@given(seeds, st.integers(0, 8), st.integers(0, 14))
def test_forest_equals_the_naive_walk(seed, rows, count):
    check(forest(seed, rows, count))


@given(lengths)
def test_chains_equal_the_naive_walk(lengths):
    rollouts = chains(lengths)
    assert rollouts.structure.is_chain
    check(rollouts)


@given(lengths)
def test_chain_path_equals_general_path(lengths):
    rollouts = chains(lengths)
    general = Paths(rollouts.last, rollouts.actions.parent)
    general.__dict__["is_chain"] = False  # a cached property: set before it is asked
    fast = rollouts.structure
    for name in ("length", "depth", "row", "action", "owner"):
        assert torch.equal(getattr(fast, name), getattr(general, name)), name
    rows = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))[: len(lengths) // 2 + 1]
    for new, old in zip(fast.take(rows), general.take(rows), strict=True):
        assert new.shape == old.shape
    assert torch.equal(fast.take(torch.arange(len(lengths)))[0], general.take(torch.arange(len(lengths)))[0])


@given(seeds, st.integers(1, 8), st.integers(0, 14), st.randoms(use_true_random=False))
def test_take_keeps_each_path(seed, rows, count, draw):
    rollouts = forest(seed, rows, count)
    chosen = [draw.randrange(rows) for _ in range(draw.randrange(1, 6))]
    old, last, parent = rollouts.structure.take(torch.tensor(chosen))
    taken = Paths(last, parent)
    before = naive_paths(rollouts)
    assert sorted({action for row in chosen for action in before[row]}) == sorted(old.tolist())
    for new_row, row in enumerate(chosen):
        assert old[taken.action[taken.row == new_row]].tolist() == before[row]


def test_take_lays_chains_out_in_the_order_asked():
    old, last, parent = chains([2, 0, 3]).structure.take(torch.tensor([2, 1, 0]))
    assert old.tolist() == [2, 3, 4, 0, 1]
    assert last.tolist() == [2, -1, 4]
    assert parent.tolist() == [-1, 0, 1, -1, 3]


@pytest.mark.parametrize(
    ("last", "parent", "chain"),
    [
        ([1, 3], [-1, 0, -1, 2], True),
        ([-1, 1, -1], [-1, 0], True),
        ([], [], True),
        ([3, 1], [-1, 0, -1, 2], False),  # the other order
        ([1, 1], [-1, 0], False),  # the same rollout twice
        ([0], [-1, 0], False),  # an action after the last
        ([1], [-1, 0, -1], False),  # an action nobody passes through
        ([1, 2], [-1, 0, 0], False),  # a fork
    ],
)
def test_is_chain(last, parent, chain):
    assert (
        Paths(torch.tensor(last, dtype=torch.long), torch.tensor(parent, dtype=torch.long)).is_chain is chain
    )


@pytest.mark.parametrize(
    ("last", "parent", "words"),
    [
        ([1], [-1, 1], "earlier in the table"),
        ([1], [1, -1], "earlier in the table"),
        ([0], [-2], "earlier in the table"),
        ([2], [-1, 0], "below 2"),
        ([-2], [-1, 0], "below 2"),
    ],
)
def test_impossible_tables_are_refused(last, parent, words):
    with pytest.raises(ValueError, match=words):
        Paths(torch.tensor(last), torch.tensor(parent))

"""rollouts.py: whole-row operations against plain Python, and what frozen tables promise."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.columns import declarations
from oneloop.core.rollouts import Actions, MissingColumn, Rollouts, Table
from tests.support.toy import chains, forest, naive_paths

seeds = st.integers(0, 10**6)
lengths = st.lists(st.integers(0, 4), min_size=1, max_size=7)
either = st.one_of(
    st.builds(forest, seeds, st.integers(1, 7), st.integers(0, 12)), st.builds(chains, lengths)
)


def unrolled(rollouts):
    """Every rollout as (its own values, its actions' values in order): what must survive moving rows."""
    names = [name for name in rollouts if name != "last"]
    actions = [name for name in rollouts.actions if name != "parent"]
    rows = []
    for row, path in enumerate(naive_paths(rollouts)):
        own = [rollouts[name][row] for name in names]
        own = [value.item() if isinstance(value, torch.Tensor) else value for value in own]
        rows.append((own, [[rollouts.actions[name][i].item() for name in actions] for i in path]))
    return rows


@given(either, st.randoms(use_true_random=False))
def test_take_gives_the_same_rollouts(rollouts, draw):
    rows = [draw.randrange(len(rollouts)) for _ in range(draw.randrange(0, 6))]
    taken = rollouts.take(torch.tensor(rows, dtype=torch.long))
    before = unrolled(rollouts)
    assert unrolled(taken) == [before[row] for row in rows]
    assert taken.facts == rollouts.facts


@given(either, st.randoms(use_true_random=False))
def test_split_then_join_is_a_reordering(rollouts, draw):
    flags = torch.tensor([draw.random() < 0.5 for _ in range(len(rollouts))])
    yes, no = rollouts.split(flags)
    before = unrolled(rollouts)
    order = [*flags.nonzero().flatten().tolist(), *(~flags).nonzero().flatten().tolist()]
    assert unrolled(Rollouts.join([yes, no])) == [before[row] for row in order]


@given(st.lists(either, min_size=1, max_size=4))
def test_join_keeps_every_piece(pieces):
    joined = Rollouts.join(pieces)
    assert unrolled(joined) == [row for piece in pieces for row in unrolled(piece)]
    joined.structure  # noqa: B018 - raises if a parent came after its child


@given(either)
def test_save_and_load_round_trip(tmp_path_factory, rollouts):
    folder = tmp_path_factory.mktemp("tables") / "rollouts"
    rollouts.save(folder)
    loaded = Rollouts.load(folder)
    assert unrolled(loaded) == unrolled(rollouts)
    assert list(loaded) == list(rollouts) and list(loaded.actions) == list(rollouts.actions)
    assert loaded.facts == rollouts.facts
    for name, column in rollouts.actions.columns.items():
        assert loaded.actions[name].dtype == column.dtype


@given(either)
def test_pickle_and_copies_are_equal_tables(rollouts):
    for other in (pickle.loads(pickle.dumps(rollouts)), copy.copy(rollouts), copy.deepcopy(rollouts)):
        assert unrolled(other) == unrolled(rollouts)
        assert type(other) is Rollouts and type(other.actions) is Actions


@given(either)
def test_gather_equals_a_loop_over_paths(rollouts):
    values = torch.randn(
        len(rollouts.actions), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    sums = [sum(values[i].item() for i in path) for path in naive_paths(rollouts)]
    means = [
        s / len(path) if path else float("nan") for s, path in zip(sums, naive_paths(rollouts), strict=True)
    ]
    torch.testing.assert_close(rollouts.gather(values, "sum"), torch.tensor(sums, dtype=torch.float64))
    expected = torch.tensor(means, dtype=torch.float64)
    torch.testing.assert_close(rollouts.gather(values), expected, equal_nan=True)


@given(either)
def test_spread_gives_shared_actions_the_mean_over_their_rollouts(rollouts):
    values = torch.randn(len(rollouts), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    through = {i: [] for i in range(len(rollouts.actions))}
    for row, path in enumerate(naive_paths(rollouts)):
        for i in path:
            through[i].append(values[row].item())
    expected = torch.tensor([sum(seen) / len(seen) for seen in through.values()], dtype=torch.float64)
    torch.testing.assert_close(rollouts.spread(values), expected)


@given(either)
def test_gather_undoes_spread_where_nothing_is_shared(rollouts):
    values = torch.arange(len(rollouts), dtype=torch.float64)
    if rollouts.structure.is_chain:
        acting = rollouts.length > 0
        torch.testing.assert_close(rollouts.gather(rollouts.spread(values))[acting], values[acting])


def test_as_many_rollouts_as_actions_are_told_apart():
    rollouts = chains([1, 1, 1])  # n == N: nothing may be guessed from lengths
    rollouts = rollouts.put(weight=torch.tensor([1.0, 2, 3])).put_actions(weight=torch.tensor([4.0, 5, 6]))
    assert rollouts["weight"].tolist() == [1, 2, 3]
    assert rollouts.actions["weight"].tolist() == [4, 5, 6]
    assert rollouts.take(torch.tensor([2])).actions["weight"].tolist() == [6]


def test_put_leaves_the_original_alone_and_keeps_the_structure():
    rollouts = chains([2, 3])
    structure = rollouts.structure
    changed = (
        rollouts.put(reward=torch.tensor([5.0, 6.0])).put_actions(share=torch.zeros(5)).put_facts(step=9)
    )
    assert changed.structure is structure
    assert rollouts.facts["step"] == 3 and changed.facts["step"] == 9
    assert rollouts.actions.share.sum() == 5 and changed.actions.share.sum() == 0
    assert changed.put(last=torch.tensor([0, 4])).length.tolist() == [1, 3]
    assert changed.put_actions(parent=torch.tensor([-1, -1, -1, 2, 3])).length.tolist() == [1, 3]
    with pytest.raises(ValueError, match=r"2 rows.*'reward': 3"):
        rollouts.put(reward=torch.zeros(3))


def test_rows_without_actions_join_rows_with_some():
    fresh, resumed = chains([0, 0]), chains([2, 1])
    fresh = Rollouts(fresh.columns, Actions({"parent": torch.empty(0, dtype=torch.long)}), fresh.facts)
    joined = Rollouts.join([fresh, resumed, fresh])
    assert joined.length.tolist() == [0, 0, 2, 1, 0, 0]
    assert set(joined.actions) == set(resumed.actions)


def test_join_names_the_columns_that_differ():
    first, second = chains([1]), chains([2])
    with pytest.raises(ValueError, match=r"rollout columns \['mine'\]"):
        Rollouts.join([first, second.put(mine=torch.zeros(1))])
    with pytest.raises(ValueError, match=r"action columns \['entropy'\]"):
        Rollouts.join([first.put_actions(entropy=torch.zeros(1)), second])


def test_a_missing_column_names_who_writes_it():
    rollouts = chains([2])
    assert not hasattr(rollouts.actions, "advantage") and hasattr(rollouts, "reward")
    with pytest.raises(
        MissingColumn, match=r"'advantage' \(a credit part such as group_relative writes it; wri"
    ):
        rollouts.actions.advantage  # noqa: B018
    with pytest.raises(MissingColumn, match="'correct'.*a verifier writes it"):
        rollouts.correct  # noqa: B018
    with pytest.raises(KeyError, match="'mine'.*no known part writes it"):
        rollouts["mine"]
    with pytest.raises(AttributeError):
        rollouts.actions.__wrapped__  # noqa: B018


def test_every_known_column_says_who_writes_it():
    for kind in (Rollouts, Actions):
        assert declarations(kind) and all(column.by for column in declarations(kind).values())


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"Table has 2 rows.*\{'b': 3\}"):
        Table({"a": torch.zeros(2), "b": [1, 2, 3]})


@given(lengths, st.randoms(use_true_random=False))
def test_uniforms_depend_on_the_action_not_on_the_batch(lengths, draw):
    rollouts = chains(lengths)
    everything = torch.arange(len(rollouts.actions))
    numbers = rollouts.uniforms("one_token", everything, 3)
    assert numbers.shape == (len(everything), 3) and ((numbers >= 0) & (numbers < 1)).all()
    row = draw.randrange(len(lengths))
    alone = rollouts.take(torch.tensor([row]))
    torch.testing.assert_close(
        alone.uniforms("one_token", torch.arange(len(alone.actions)), 3),
        numbers[rollouts.owner == row],
        rtol=0,
        atol=0,
    )
    if len(everything):
        assert not torch.equal(rollouts.uniforms("other", everything, 3), numbers)
        assert not torch.equal(rollouts.put_facts(step=4).uniforms("one_token", everything, 3), numbers)
        assert len(numbers.unique()) == numbers.numel()


@pytest.mark.parametrize("made", [chains([3, 0, 2, 1, 4, 0], seed=2), forest(3)], ids=["chains", "forest"])
def test_parts_are_what_take_gives_for_each_label(made):
    labels = torch.tensor([7, 2, 7, 5, 2, 5])
    parts = made.parts(labels)
    assert len(parts) == 3
    for part, label in zip(parts, (2, 5, 7), strict=True):
        expected = made.take((labels == label).nonzero().squeeze(1))
        assert part.facts == expected.facts
        for mine, theirs in (
            (part.columns, expected.columns),
            (part.actions.columns, expected.actions.columns),
        ):
            assert mine.keys() == theirs.keys()
            for name, column in theirs.items():
                assert (
                    torch.equal(mine[name], column)
                    if isinstance(column, torch.Tensor)
                    else mine[name] == column
                )

"""build.py, names.py, cells.py, merge.py: what becomes of tables, good and bad."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings

from oneloop.measure.ranking import RankingError, from_long, from_matrix, from_preferences, merged, rank
from oneloop.measure.ranking import cells as cells_module
from oneloop.measure.ranking import names as names_module
from tests.measure.ranking.pools import NAN, matrices, mixed, pool_of

ROWS = [
    {"model": "b", "sample_id": "1", "score": 0.5, "dataset": "x", "text": "one", "output": "p"},
    {"model": "a", "sample_id": "1", "score": 1.0, "dataset": "x", "text": "one", "output": "q"},
    {"model": "a", "sample_id": "1", "score": 0.0, "dataset": "y", "text": "uno", "output": "r"},
    {"model": "c", "sample_id": "2", "score": None, "dataset": "y", "text": None, "output": "s"},
]


def test_long_form():
    pool = from_long(ROWS, source="dataset")
    assert pool.models == ("a", "b", "c") and pool.samples.tolist() == ["x/1", "y/1", "y/2"]
    assert pool.sources == ("x", "y") and pool.source.tolist() == [0, 1, 1]
    assert pool.matrix() == pytest.approx(
        np.array([[1, 0, NAN], [0.5, NAN, NAN], [NAN, NAN, NAN]]), nan_ok=True
    )
    # the output differs between models, so it is no fact of the sample
    assert pool.facts == {
        "sample_id": ["1", "1", "2"],
        "dataset": ["x", "y", "y"],
        "text": ["one", "uno", None],
    }
    assert repr(pool) == "SamplePool(3 models, 3 samples of 2 sources, 3 cells, 0 preferences)"
    assert pool.missing == pytest.approx(6 / 9)


@pytest.mark.parametrize(
    "make", [pa.Table.from_pylist, pd.DataFrame, lambda rows: pa.Table.from_pylist(rows).to_pydict()]
)
def test_tables_of_every_kind_are_read_alike(make):
    first, second = from_long(ROWS, source="dataset"), from_long(make(ROWS), source="dataset")
    assert np.array_equal(first.matrix(), second.matrix(), equal_nan=True)
    assert first.samples.tolist() == second.samples.tolist()


@given(matrices())
@settings(deadline=None)
def test_matrix_and_long_form_hold_the_same_and_give_it_back(values):
    pool = pool_of(values)
    assert np.array_equal(pool.matrix(), values, equal_nan=True)
    ascending = [pool.value[a:b] for a, b in zip(pool.start, pool.start[1:], strict=False)]
    assert all((np.diff(piece) >= 0).all() for piece in ascending)
    rows = [
        {"model": f"m{a}", "sample_id": f"s{j}", "score": values[a, j]}
        for j in reversed(range(values.shape[1]))
        for a in range(len(values))
    ]
    again = from_long(rows)
    assert np.array_equal(again.matrix(), values, equal_nan=True)


def test_conflicts_need_a_policy_and_repetitions_do_not():
    twice = [*ROWS[:2], {**ROWS[0], "score": 0.9}]
    with pytest.raises(
        RankingError, match=r"'b' on '1' has the scores 0.5 and 0.9 \(1 conflicts\).*'first' or 'mean'"
    ):
        from_long(twice)
    assert from_long(twice, conflict="first").matrix()[1, 0] == 0.5
    assert from_long(twice, conflict="mean").matrix()[1, 0] == pytest.approx(0.7)
    assert from_long([*ROWS[:2], ROWS[0]]).matrix()[1, 0] == 0.5


def test_lower_is_better_for_all_or_by_source():
    assert from_long(ROWS[:2], higher_is_better=False).matrix().tolist() == [[-1.0], [-0.5]]
    pool = from_long(ROWS, source="dataset", higher_is_better={"x": False})
    assert pool.matrix()[0, :2].tolist() == [-1.0, 0.0]
    with pytest.raises(RankingError, match="higher_is_better: no source is called 'z'; there are x, y"):
        from_long(ROWS, source="dataset", higher_is_better={"z": False})


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (
            [{**ROWS[0], "score": float("inf")}],
            {},
            "score: row 0 is inf; scores are finite, and NaN where missing",
        ),
        ([{**ROWS[0], "score": "good"}], {}, "score: must be numbers"),
        (ROWS[:1], {"kind": "binary"}, "score: kind is binary, so scores are 0 or 1, got 0.5"),
        ([{**ROWS[0], "model": None}], {}, "model: 1 of 1 rows have no name"),
        (ROWS, {"value": "accuracy"}, "the table lacks the column accuracy; it has model, sample_id, score"),
    ],
)
def test_bad_rows_are_named(rows, options, said):
    with pytest.raises(RankingError, match=said):
        from_long(rows, **options)


def test_bad_matrices_are_named():
    with pytest.raises(RankingError, match=r"2 models and 1 samples do not name .* shape \(1, 1\)"):
        from_matrix(np.ones((1, 1)), ["a", "b"], ["s"])
    with pytest.raises(RankingError, match="every model needs a name of its own, got 'a' twice"):
        from_matrix(np.ones((2, 1)), ["a", "a"], ["s"])
    with pytest.raises(RankingError, match="'a' on 's': the score is inf"):
        from_matrix(np.array([[np.inf]]), ["a"], ["s"])


def test_preferences_and_verdicts():
    rows = {
        "model_a": ["x", "y", "x"],
        "model_b": ["y", "x", "y"],
        "winner": ["model_a", "Tie (bothbad)", None],
    }
    pool = from_preferences(rows, source="arena")
    assert pool.preferences.verdict.tolist() == [1.0, 0.5] and pool.samples.tolist() == ["arena 0", "arena 1"]
    assert pool.count.tolist() == [2, 2]
    with pytest.raises(RankingError, match="winner: must be model_a, model_b or tie, got 'left'"):
        from_preferences({**rows, "winner": ["left"] * 3})
    itself = {"model_a": ["y", "x", "x"], "model_b": ["x", "y", "x"], "winner": [None, "tie", "tie"]}
    with pytest.warns(UserWarning, match=r"1 of 3 verdicts compare .* first is row 2 .*, 'x'"):
        pool = from_preferences(itself)
    assert pool.preferences.verdict.tolist() == [0.5]
    votes = {**rows, "winner": ["leftvote", "rightvote", "bothbad_vote"]}
    assert from_preferences(votes).preferences.verdict.tolist() == [1.0, 0.0, 0.5]
    with pytest.raises(RankingError, match="weight: must not be negative or missing, got -1.0"):
        from_preferences({**rows, "weight": [1.0, -1.0, 1.0]}, weight="weight")


def test_merging_is_an_outer_join():
    first = from_long(ROWS[:2], source="dataset")
    second = from_long([*ROWS[1:3], {**ROWS[0], "model": "d"}], source="dataset")
    verdicts = from_preferences(
        {"model_a": ["a"], "model_b": ["e"], "winner": ["tie"], "sample": ["x/1"], "level": [3]},
        sample="sample",
    )
    with pytest.raises(RankingError, match="the sample 'x/1' is of two sources, 'x' and ''"):
        merged([first, verdicts])
    pool = merged([first, second])
    assert pool.models == ("a", "b", "d") and pool.samples.tolist() == ["x/1", "y/1"]
    assert np.array_equal(pool.matrix(), np.array([[1, 0], [0.5, NAN], [0.5, NAN]]), equal_nan=True)
    assert pool.facts["text"] == ["one", "uno"]
    with pytest.raises(RankingError, match="'a' on 'x/1' has the scores"):
        merged([first, from_long([{**ROWS[1], "score": 0.2}], source="dataset")])
    with pytest.raises(RankingError, match="got 0 pools"):
        merged([])


def test_taking_samples_keeps_their_cells_preferences_and_facts():
    pool = mixed()
    rows = np.array([5, 2, 5])
    taken = pool.take(rows)
    assert np.array_equal(taken.matrix(), pool.matrix()[:, rows], equal_nan=True)
    for new, old in enumerate(rows):
        mine, theirs = (p.preferences.at(p.preferences.sample == j) for p, j in ((taken, new), (pool, old)))
        assert mine.verdict.tolist() == theirs.verdict.tolist() and mine.left.tolist() == theirs.left.tolist()
    assert len(pool.take(np.zeros(len(pool.samples), dtype=bool)).samples) == 0


def test_large_codes_and_small_blocks_give_the_same(monkeypatch):
    expected = from_long(ROWS, source="dataset").matrix()
    monkeypatch.setattr(names_module, "FEW", 0)
    monkeypatch.setattr(cells_module, "MOST", 1)
    assert np.array_equal(from_long(ROWS, source="dataset").matrix(), expected, equal_nan=True)


def test_the_order_of_rows_changes_nothing():
    first, second = (rank(from_long(rows, source="dataset")) for rows in (ROWS[:2], ROWS[1::-1]))
    assert first.as_dict == second.as_dict


def test_a_matrix_that_would_not_fit_is_refused():
    pool = from_long(ROWS[:2])
    wide = pool.take(np.zeros(1 << 26, dtype=np.int8)[:1])
    object.__setattr__(wide, "models", range(1 << 27))
    object.__setattr__(wide, "samples", range(2))
    with pytest.raises(RankingError, match="134217728 models x 2 samples is too large to fill in"):
        wide.matrix()

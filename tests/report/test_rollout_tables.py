"""Rollouts are packed without loss where they fit, and evenly sampled, with a count, where they do not."""

import json
import random

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.report import RunDirectoryError
from oneloop.report import rollout_rows as rows
from oneloop.report import rollout_tables as tables
from oneloop.report.sampling import evenly
from tests.report.made_up_run import GROUPS, SIZE, rollout, write_rollouts


def rows_of(step: int) -> list[dict]:
    draw = random.Random(step)
    return [rollout(step, group, place, draw) for group in range(GROUPS) for place in range(SIZE)]


def test_what_was_written_comes_back(tmp_path):
    rows = rows_of(41)
    write_rollouts(tmp_path, 41, rows)
    browser = tables.read_rollouts(tmp_path)
    pieces = browser.to_data()["pieces"]
    packed = [(group, r) for group in browser.steps[0]["groups"] for r in group["rollouts"]]
    assert [r["id"] for _, r in packed] == [row["id"] for row in rows]
    assert browser.judges == ["exact", "form"]
    for row, (group, r) in zip(rows, packed, strict=True):
        assert (group["group"], group["prompt"]) == (row["group"], row["prompt"])
        assert [pieces[i] for i in r["tokens"]["piece"]] == [
            list(p) for p in zip(row["token"], row["piece"], strict=True)
        ]
        assert r["text"] is None and "".join(pieces[i][1] for i in r["tokens"]["piece"]) == row["text"]
        assert r["tokens"]["logprob"] == pytest.approx(row["logprob"], rel=1e-3)
        assert r["tokens"]["version"] == 0, "equal for all tokens: stored once"
        assert r["errors"] == ({"exact": row["error.exact"]} if row["error.exact"] else {})
    scale = max(abs(value) for row in rows for value in row["advantage"])
    assert browser.steps[0]["scale"] == pytest.approx(scale, rel=1e-3)


def test_no_verdict_is_null_and_never_zero(tmp_path):
    write_rollouts(tmp_path, 41, rows_of(41))
    failed = tables.read_rollouts(tmp_path).steps[0]["groups"][1]["rollouts"][2]
    assert failed["reward"] is None and failed["verdicts"] == {"exact": None, "form": 1}
    assert failed["correct"] is None


def test_right_and_wrong_are_said_in_booleans_which_the_page_asks_for(tmp_path):
    write_rollouts(tmp_path, 41, [row | {"correct": n / 2} for n, row in enumerate(rows_of(41)[:3])])
    groups = tables.read_rollouts(tmp_path).steps[0]["groups"]
    assert [rollout["correct"] for group in groups for rollout in group["rollouts"]] == [False, False, True]


def test_rows_without_tokens_keep_their_text(tmp_path):
    rows = [{"step": 3, "id": 1, "group": 0, "prompt": "p", "text": "t"}]
    write_rollouts(tmp_path, 3, rows)
    packed = tables.read_rollouts(tmp_path).steps[0]["groups"][0]["rollouts"][0]
    assert packed["text"] == "t" and packed["tokens"] is None and packed["correct"] is None


def test_text_that_differs_from_its_pieces_is_kept(tmp_path):
    row = rows_of(41)[0] | {"text": "special tokens removed"}
    write_rollouts(tmp_path, 41, [row])
    assert (
        tables.read_rollouts(tmp_path).steps[0]["groups"][0]["rollouts"][0]["text"]
        == "special tokens removed"
    )


def test_columns_of_different_length_are_refused(tmp_path):
    row = rows_of(41)[0]
    count = len(row["piece"])
    write_rollouts(tmp_path, 41, [row | {"logprob": row["logprob"][:-1]}])
    with pytest.raises(RunDirectoryError, match=f"rollout 41000: {count} pieces but logprob {count - 1}"):
        tables.read_rollouts(tmp_path)


def test_missing_columns_are_named(tmp_path):
    write_rollouts(tmp_path, 41, [{"step": 41, "id": 1, "text": "t"}])
    with pytest.raises(RunDirectoryError, match=r"lacks the columns group, prompt; it has step, id, text"):
        tables.read_rollouts(tmp_path)


def test_no_rollouts_at_all(tmp_path):
    assert tables.read_rollouts(tmp_path / "rollouts").steps == []


def test_a_step_without_rollouts_is_left_out(tmp_path):
    table = pyarrow.Table.from_pylist(rows_of(41))
    pyarrow.parquet.write_table(table.slice(0, 0), tmp_path / "step-000041.parquet")
    assert tables.read_rollouts(tmp_path).steps == []


def test_a_budget_thins_steps_then_groups_evenly(tmp_path):
    rows = rows_of(41)
    for step in range(1, 61):
        write_rollouts(tmp_path, step, [row | {"step": step} for row in rows])
    everything = tables.read_rollouts(tmp_path, budget=10**9)
    assert len(everything.steps) == 60 and everything.groups_left_out == 0
    one = len(json.dumps(everything.steps[0]))

    half = tables.read_rollouts(tmp_path, budget=30 * one + 100)
    assert len(half.steps) == 30 and half.groups_left_out == 0
    assert [half.steps[0]["step"], half.steps[-1]["step"]] == [1, 60]

    few = tables.read_rollouts(tmp_path, budget=6 * one)
    assert len(few.steps) == tables.FEWEST_STEPS
    assert few.groups_left_out == sum(GROUPS - len(step["groups"]) for step in few.steps) > 0
    assert all(len(group["rollouts"]) == SIZE for step in few.steps for group in step["groups"]), (
        "groups stay whole"
    )
    assert len(json.dumps(few.steps)) < 6 * one * 1.1


def test_very_long_rollouts_are_cut_and_counted(tmp_path):
    count = tables.MOST_TOKENS + 10
    row = {"step": 1, "id": 1, "group": 0, "prompt": "p", "text": "a" * count, "piece": ["a"] * count}
    write_rollouts(tmp_path, 1, [row | {"logprob": [-0.5] * count}])
    browser = tables.read_rollouts(tmp_path)
    tokens = browser.steps[0]["groups"][0]["rollouts"][0]["tokens"]
    assert (tokens["count"], len(tokens["piece"]), tokens["logprob"]) == (count, tables.MOST_TOKENS, -0.5)
    assert browser.rollouts_cut == 1


def test_groups_larger_than_their_place_show_fewer_tokens_and_then_fewer_steps(tmp_path):
    count = 1000
    draw = random.Random(0)
    columns = {"piece": ["ab "] * count, "token": [7] * count}
    for step in range(1, 31):
        rows = [
            {
                "step": step,
                "id": 100 * step + n,
                "group": step,
                "prompt": "p",
                "text": "ab " * count,
                **columns,
            }
            | {"logprob": [-draw.random() for _ in range(count)]}
            for n in range(4)
        ]
        write_rollouts(tmp_path, step, rows)
    for budget in (4_000_000, 1_000_000, 300_000, 100_000):
        browser = tables.read_rollouts(tmp_path, budget)
        shown = [r for step in browser.steps for group in step["groups"] for r in group["rollouts"]]
        assert len(json.dumps(browser.to_data())) <= budget
        assert all(len(group["rollouts"]) == 4 for step in browser.steps for group in step["groups"])
        assert {len(r["tokens"]["piece"]) for r in shown} == {min(browser.most_tokens, count)}
        assert {r["tokens"]["count"] for r in shown} == {count}
        assert browser.rollouts_cut == (len(shown) if browser.most_tokens < count else 0)
        assert tables.FEWEST_TOKENS <= browser.most_tokens <= tables.MOST_TOKENS
        assert browser.steps[0]["step"] == 1 and browser.steps[-1]["step"] == 30
        if len(browser.steps) < tables.FEWEST_STEPS:
            assert browser.most_tokens == tables.FEWEST_TOKENS, "fewer steps come last"
    assert len(browser.steps) < tables.FEWEST_STEPS


def test_other_files_beside_the_steps_are_ignored(tmp_path):
    write_rollouts(tmp_path, 41, rows_of(41))
    for name in ("step-x.parquet", "step-42.parquet", "step-000043.parquet.bak"):
        (tmp_path / name).write_text("somebody else's")
    assert [step["step"] for step in tables.read_rollouts(tmp_path).steps] == [41]


@given(st.lists(st.none() | st.floats(width=32) | st.integers(-(10**6), 10**6), min_size=1, max_size=9))
def test_many_numbers_are_rounded_as_one_is(values):
    near = [value if value is None else rows.rounded(value) for value in values]
    found = rows._pack_values(values)
    expected = near[0] if len(set(near)) == 1 else near
    assert found == expected or found == pytest.approx(expected, rel=1e-3)


@given(st.integers(1, 300), st.integers(1, 300))
def test_an_even_sample_is_sorted_distinct_and_holds_the_ends(total, count):
    chosen = evenly(range(total), count)
    assert len(chosen) == len(set(chosen)) == min(total, count) and chosen == sorted(chosen)
    assert chosen[-1] == total - 1 and (count == 1 or chosen[0] == 0)
    gaps = [after - before for before, after in zip(chosen, chosen[1:], strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, None), (float("nan"), None), (float("inf"), None), (3.0, 3), (0.123456, 0.1235), (-1e-9, -1e-9)],
)
def test_rounding(value, shown):
    assert tables.rounded(value) == shown

"""Prompts and votes: tags cannot be forged, and the published table of votes comes out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.judge.critique.critiques import critique_messages, vote


def test_tags_of_the_prompt_cannot_be_forged():
    (_, asked) = critique_messages("p</problem>", "<step_0>\nx\n</step_0>", "7</reference>")
    assert asked["content"].count("</problem>") == asked["content"].count("</reference>") == 1


def test_options_of_the_prompt():
    first = critique_messages("p", "t")[1]["content"]
    assert "<reference>" not in first and "cut off" not in first and "own correctness" in first
    second = critique_messages("p", "t", "42", by_itself=False, cut_off=True)[1]["content"]
    assert "<reference>\n42\n</reference>" in second and "cut off" in second and "wrong too" in second


FIGURE = [{1, 3}, {1, 2, 3}, {1, 3}, {2, 3}]


@pytest.mark.parametrize(
    ("rule", "above", "wrong"),
    [
        ("intersection", 0.5, [0, 0, 0, 1]),
        ("majority", 0.5, [0, 1, 0, 1]),
        ("majority", 0.49, [0, 1, 1, 1]),
        ("union", 0.5, [0, 1, 1, 1]),
        ("average", 0.5, [0, 0.75, 0.5, 1]),
    ],
)
def test_the_published_example(rule, above, wrong):
    assert vote(FIGURE, 4, rule, above).tolist() == wrong


TABLE = {  # critics that are right by chance .8 on wrong steps and wrong by .2 on right ones: TPR, FPR
    2: {"intersection": (0.64, 0.04), "majority": (0.64, 0.04), "union": (0.96, 0.36)},
    4: {"intersection": (0.4096, 0.0016), "majority": (0.8192, 0.0272), "union": (0.9984, 0.5904)},
    8: {
        "intersection": (0.167772, 0.000003),
        "majority": (0.943718, 0.010406),
        "union": (0.999997, 0.832228),
    },
}


@pytest.mark.parametrize("k", TABLE)
def test_the_table_of_votes_by_enumeration(k):
    for rule, expected in TABLE[k].items():
        for rate, wanted in zip((0.8, 0.2), expected, strict=True):
            chance = 0.0
            for hits in range(k + 1):
                called = [{0}] * hits + [set()] * (k - hits)
                weight = math.comb(k, hits) * rate**hits * (1 - rate) ** (k - hits)
                chance += weight * vote(called, 1, rule).item()
            assert chance == pytest.approx(wanted, abs=1e-6)


CRITIQUES = st.lists(st.frozensets(st.integers(0, 4)), min_size=1, max_size=6)


@given(CRITIQUES, st.frozensets(st.integers(0, 4)))
def test_votes_are_nested_and_monotone(critiques, another):
    votes = {rule: vote(critiques, 5, rule) for rule in ("intersection", "majority", "union", "average")}
    assert (votes["intersection"] <= votes["majority"]).all() and (votes["majority"] <= votes["union"]).all()
    assert (votes["intersection"] <= votes["average"]).all() and (votes["average"] <= votes["union"]).all()
    assert (vote([*critiques, another], 5, "intersection") <= votes["intersection"]).all()
    assert (vote([*critiques, another], 5, "union") >= votes["union"]).all()
    same = [critiques[0]] * 3
    assert all(torch.equal(vote(same, 5, rule), vote(critiques[:1], 5, "union")) for rule in votes)


def test_votes_without_voters_or_steps_are_refused():
    with pytest.raises(ValueError, match="at least one usable critique"):
        vote([], 3)
    with pytest.raises(ValueError, match=r"steps are 0..2, got \[3\]"):
        vote([{3}], 3)

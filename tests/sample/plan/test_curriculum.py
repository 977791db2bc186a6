"""Prompts by class: which rows are in one, how often it comes, and that it follows what is learned."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from oneloop.sample.data.checked import BadRows
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform as Each
from oneloop.sample.plan.curriculum import Curriculum
from oneloop.sample.plan.draw.progress import Progress
from oneloop.sample.plan.draw.uniform import Uniform
from oneloop.sample.plan.draw.weighted import Weighted
from oneloop.sample.plan.plan import Plan
from oneloop.sample.plan.source import Source

LEVELS = [{"prompt": f"p{key}", "level": ("easy", "hard", "none")[min(key % 10, 2)]} for key in range(40)]
"""Four easy rows, four hard ones, thirty-two that nobody solves."""


def handed_out(source, count):
    return [source.next()[0] for _ in range(count)]


def test_every_class_has_its_share_and_its_rows_come_once_before_any_comes_again():
    source = Source(LEVELS, True, None, 3, curriculum=Curriculum(by="level", draw=Uniform()))
    keys = handed_out(source, 3000)
    counts = Counter(LEVELS[key]["level"] for key in keys)
    assert chisquare(list(counts.values())).pvalue > 0.01
    easy = [key for key in keys if LEVELS[key]["level"] == "easy"]
    rounds = [easy[start : start + 4] for start in range(0, 400, 4)]
    assert {tuple(sorted(each)) for each in rounds} == {(0, 10, 20, 30)} and len(
        {tuple(r) for r in rounds}
    ) == 24
    in_file_order = Source(LEVELS, False, None, 3, curriculum=Curriculum(by="level", draw=Uniform()))
    easy = [key for key in handed_out(in_file_order, 60) if LEVELS[key]["level"] == "easy"]
    assert easy[:8] == [0, 10, 20, 30] * 2
    assert Source(LEVELS, True, 2, 3, curriculum=Curriculum(by="level")).exhausted is False


def test_numbers_are_cut_into_bins_of_like_size_and_few_of_them_are_classes():
    rows = [{"prompt": "p", "size": np.float64(value) ** 2} for value in range(100)]
    classes = Curriculum(by="size", bins=4).classes(rows, 0, True)
    assert np.bincount(classes.of).tolist() == [25, 25, 25, 25]
    assert classes.labels == ["0..", "625..", "2500..", "5625.."]
    few = [{"prompt": "p", "about": {"size": value % 3}, "size": value % 3} for value in range(9)]
    classes = Curriculum(by="about.size", bins=4, draw=Weighted(probabilities=(0, 0.5, 0.5))).classes(
        few, 0, True
    )
    assert classes.labels == ["0", "1", "2"] and classes.of.tolist() == [0, 1, 2] * 3
    assert {few[classes.next(number)]["size"] for number in range(50)} == {1, 2}
    skewed = [{"prompt": "p", "size": max(value - 90, 0)} for value in range(100)]
    classes = Curriculum(by="size", bins=4).classes(skewed, 0, True)
    assert np.bincount(classes.of).tolist() == [91, 9] and classes.labels == ["0..", "1.."]


def test_rows_without_the_column_are_bad_rows():
    rows = [{"prompt": "a", "level": 1}, {"prompt": "b", "levl": 2}, {"prompt": "c", "level": float("nan")}]
    with pytest.raises(
        BadRows, match=r"plan.curriculum.by: data row 1 has no column 'level'; did you mean 'levl'"
    ):
        Curriculum(by="level").classes(rows, 0, True)
    with pytest.raises(BadRows, match="data row 2 has nan in 'level'"):
        Curriculum(by="level").classes([rows[0], rows[0], rows[2]], 0, True)
    skipped = Curriculum(by="level").classes(rows, 0, True, on_bad_row="skip")
    assert skipped.of.tolist() == [0, -1, -1]
    with pytest.raises(BadRows, match="no row of the data can be used"):
        Curriculum(by="level").classes(rows[1:], 0, True, on_bad_row="skip")
    texts = [{"prompt": "p", "level": f"level {key}"} for key in range(65)]
    with pytest.raises(ValueError, match=r"'level' has 65 different texts, at most 64 can be classes"):
        Curriculum(by="level").classes(texts, 0, True)


def planned():
    draw = Progress(every=16, floor=0.3, smoothing=0.5)
    plan = Plan(
        data=Rows(rows=LEVELS), groups=4, count=Each(n=4), curriculum=Curriculum(by="level", draw=draw)
    )
    plan.begin(3, 100, held_out=0.2)
    return plan


def step(plan, skill):
    asked = plan.ask()
    levels = [example["level"] for example in asked.example]
    reward = torch.tensor([skill[level] for level in levels], dtype=torch.float64)
    for level in levels:
        skill[level] = skill[level] if level == "none" else skill[level] + 0.02 * (1 - skill[level])
    done = asked.put(reward=reward, status=["stop"] * len(asked))
    plan.tell(done, done.take(torch.zeros(0, dtype=torch.long)))
    batch = plan.batch()
    plan.after_update(None, batch)
    return batch.key.tolist(), plan.metrics()


def test_what_is_solved_makes_room_for_what_is_learned_and_a_resume_draws_the_same():
    plan, skill, seen = planned(), {"easy": 0.9, "hard": 0.0, "none": 0.0}, []
    for number in range(12):
        if number == 6:
            other = planned()
            other.load_state_dict(plan.state_dict())
            plan = other
        seen.append(step(plan, skill))
    last = seen[-1][1]
    assert last["draw/prompts/p_hard"] > 0.6 and last["draw/prompts/p_none"] == pytest.approx(0.1)
    again, skill = planned(), {"easy": 0.9, "hard": 0.0, "none": 0.0}
    assert [step(again, skill) for _ in range(12)] == seen

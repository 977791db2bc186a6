"""Dress parts of flow policies: forks that make trees, windows that slide."""

import pytest
import torch

from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.dress.window import Window
from tests.support.trees import asked


def test_a_group_becomes_one_tree():
    made = Fork(steps=(3, 0), factor=2)(asked(4, prompts=2))
    assert made["tree"].tolist() == [0, 0, 0, 0, 4, 4, 4, 4]
    assert made["branch"].tolist() == [0, 1, 2, 3] * 2
    assert made["fork"] == [((0, 3), 2, pytest.approx(1 / 17))] * 8


def test_rows_of_a_group_need_not_be_neighbours():
    rows = asked(2, prompts=2)
    mixed = rows.take(torch.tensor([0, 2, 1, 3]))
    made = Fork(steps=(0,))(mixed)
    assert made["branch"].tolist() == [0, 0, 1, 1] and made["tree"].tolist() == [0, 2, 0, 2]


def test_a_group_of_another_size_is_refused_naming_both():
    with pytest.raises(ValueError, match=r"make 16 rollouts a group, but the plan asks for 6.*n=16"):
        Fork()(asked(6))


@pytest.mark.parametrize(
    "options", [{"steps": (1, 1)}, {"steps": (-1,)}, {"steps": ()}, {"factor": 1}, {"correlation": 1.0}]
)
def test_forks_that_make_no_tree_are_refused(options):
    with pytest.raises(ValueError):
        Fork(**options)


def test_a_window_slides_and_rolls_back():
    part = Window(size=4, first=0, last=3, every=25)
    assert [part.begin(step) for step in (0, 24, 25, 99, 100)] == [0, 0, 1, 3, 0]
    assert Window(every=0, first=2).begin(10**6) == 2
    rows = asked(2).put_facts(step=30)
    assert part(rows)["window"].tolist() == [[1, 5]] * 4
    with pytest.raises(ValueError, match="last must be at least first"):
        Window(first=5, last=4)

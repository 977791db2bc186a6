"""Lines are given back as they came, and take little memory."""

import math
import random
import tracemalloc

import pytest

from oneloop.core.lines import EXACT, RECENT, Lines


def line(step):
    """Metrics of a step as a run makes them: new floats, new names, fields that come and go."""
    numbers = {f"metric/{index}": step / 7 + index for index in range(40)}
    late = {"seldom": True} if step % 3 else {}
    return {"kind": "step", "phase": "train", "step": step, **numbers, **late}


def test_lines_are_given_back_as_they_came():
    odd = [
        {},
        {"text": "a", "none": None, "list": [1, "b"], "yes": True, "no": False},
        {"large": EXACT, "larger": -(10**30), "near": EXACT - 1, "negative": -0.0, "small": 5e-324},
        {"infinite": math.inf, "zero": 0, "float": 0.0, "text": "a"},
    ]
    wanted = [*odd, *map(line, range(RECENT + 9))]
    lines = Lines(wanted)
    assert len(lines) == len(wanted)
    assert [repr(each) for each in lines] == [repr(each) for each in wanted]
    assert lines[2] == wanted[2] and lines[-1] == wanted[-1] and lines[3:-5:2] == wanted[3:-5:2]
    assert math.isnan(Lines([{"x": math.nan}, *wanted])[0]["x"])
    for beyond in (len(wanted), -len(wanted) - 1):
        with pytest.raises(IndexError):
            lines[beyond]


def test_a_thousand_lines_take_less_than_a_megabyte():
    lines = Lines(map(line, range(100)))
    tracemalloc.start()
    try:
        for step in range(100, 1100):
            lines.append(line(step))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 43 numbers of 8 bytes and two places; arrays grow by an eighth more than they hold
    assert taken < 1000 * 45 * 8 * 1.125 + RECENT * 10_000


KINDS = (
    None,
    True,
    False,
    0,
    1,
    0.0,
    1.0,
    -0.0,
    EXACT,
    -EXACT - 1,
    math.inf,
    2.5,
    "a",
    "b",
    "",
    [1],
    {"x": 2},
)


@pytest.mark.parametrize("seed", range(8))
def test_any_lines_and_any_slice_of_them_are_those_of_a_list(seed):
    draw = random.Random(seed)
    wanted = [
        {name: draw.choice(KINDS) for name in draw.sample("abcd", draw.randrange(5))}
        for _ in range(draw.choice([0, 1, RECENT, 3 * RECENT]))
    ]
    lines = Lines(wanted)
    assert [repr(each) for each in lines] == [repr(each) for each in wanted]
    for _ in range(20):
        chosen = slice(
            *(draw.choice([None, draw.randrange(-99, 99)]) for _ in "ab"), draw.choice([None, -2, 3])
        )
        assert repr(lines[chosen]) == repr(wanted[chosen]), chosen
    for place in range(-len(wanted), len(wanted)):
        assert repr(lines[place]) == repr(wanted[place])


def test_a_line_is_as_it_was_appended_whatever_is_done_to_the_mapping_later():
    given_line = {"loss": 1.0}
    lines = Lines([given_line])
    given_line["loss"] = 2.0
    lines[0]["loss"] = 3.0
    assert lines[0] == {"loss": 1.0}
    for _ in range(RECENT):
        lines.append({"loss": 0.5})
    assert lines[0] == {"loss": 1.0} == Lines([{"loss": 1.0}])[0]

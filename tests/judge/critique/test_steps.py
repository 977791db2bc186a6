"""Steps tile the text, whatever it is; tags cannot be forged; every token has one step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.judge.critique.steps import (
    SolutionStep,
    pieces_to_steps,
    render_tagged,
    split_steps,
    token_steps,
)

TEXTS = st.text(alphabet="ab \n$`=.", max_size=60)


def cut(text, **options):
    return [text[step.start : step.end] for step in split_steps(text, **options)]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", []),
        ("one step", ["one step"]),
        ("a\n\nb", ["a\n\n", "b"]),
        ("a\n\n\n\nb\n\n", ["a\n\n\n\n", "b\n\n"]),
        ("\n\na\n\nb", ["\n\na\n\n", "b"]),
        ("\n\n", ["\n\n"]),
        ("a\n\n```\nx\n\ny\n```\n\nb", ["a\n\n", "```\nx\n\ny\n```\n\n", "b"]),
        ("$$x\n\ny$$\n\nb", ["$$x\n\ny$$\n\n", "b"]),
        ("```never closed\n\nb", ["```never closed\n\n", "b"]),
    ],
)
def test_where_steps_end(text, steps):
    assert cut(text) == steps


@given(TEXTS, st.sampled_from(["\n\n", "\n", "=", "ab"]), st.integers(1, 5))
def test_steps_tile_the_text(text, separator, shortest):
    pieces = cut(text, separator=separator, shortest=shortest)
    assert "".join(pieces) == text
    if len(pieces) > 1:
        assert all(len("".join(piece.split())) >= shortest for piece in pieces)


def test_short_pieces_join_the_step_before_and_the_first_the_one_after():
    assert cut("1\n\nlong one\n\n2\n\nlong two", shortest=3) == ["1\n\nlong one\n\n2\n\n", "long two"]
    with pytest.raises(ValueError, match="separator must have at least one character"):
        split_steps("a", "")


def test_a_splitters_pieces_must_be_the_text():
    assert pieces_to_steps("abc", ["a", "bc"]) == [SolutionStep(0, 1), SolutionStep(1, 3)]
    with pytest.raises(ValueError, match="must give the text when joined; 1 pieces do not"):
        pieces_to_steps("abc", ["ab"])


def test_tags_that_the_text_contains_are_disarmed():
    text = "a</step_0>\n\n< Solution >b <step-9> 1 < 2 <b>"
    shown = render_tagged(text, split_steps(text))
    assert (
        shown
        == "<step_0>\na&lt;/step_0>\n</step_0>\n<step_1>\n&lt; Solution >b &lt;step-9> 1 < 2 <b>\n</step_1>"
    )


def test_tokens_belong_to_the_step_of_their_first_character():
    steps = split_steps("ab.\n\ncd")
    start = torch.tensor([0, 1, 2, 5, 6, 7])  # ".\n\n" is one token, the last is an end token
    assert token_steps(start, steps).tolist() == [0, 0, 0, 1, 1, 1]
    assert token_steps(start, []).tolist() == [-1] * 6


@given(TEXTS)
def test_each_character_is_in_exactly_one_step(text):
    steps = split_steps(text)
    owner = token_steps(torch.arange(len(text)), steps)
    for k, step in enumerate(steps):
        assert (owner == k).nonzero().squeeze(1).tolist() == list(range(step.start, step.end))

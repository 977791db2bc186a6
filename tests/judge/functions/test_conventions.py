import pytest

from oneloop.judge.functions.conventions import lacking, style_of


@pytest.mark.parametrize(
    ("names", "mark"),
    [
        (["prompts", "completions", "images", "queries"], "completions"),
        (["completion", "answer", "solution_str"], "completion"),
        (["data_source", "solution_str", "ground_truth", "extra_info"], "solution_str"),
        (["queries", "prompts", "labels"], "queries"),
        (["images", "prompts", "metadata"], "images"),
        (["completion_ids"], "completion_ids"),
        (["prompts"], "prompts"),
    ],
)
def test_the_first_mark_decides(names, mark):
    assert mark in style_of(names).marks


def test_one_that_takes_anything_is_trls():
    assert style_of([], True).marks == {"completions"}
    with pytest.raises(ValueError, match="fit no known convention"):
        style_of(["x"], True)
    with pytest.raises(ValueError, match=r"it takes \*args alone"):
        style_of([], False)


def test_what_is_lacking_is_said_with_what_there_is():
    offers = ["completions", "prompts"]
    assert lacking(["completions", "answer"], offers, ["answer"]) == []
    (solution,) = lacking(["completions", "solution"], offers, ["answer"])
    assert solution == (
        "it asks for 'solution', which is no column of the data; there are: answer, completions, prompts"
    )
    (state,) = lacking(["state"], offers, None)
    assert state.startswith("it asks for 'state', which an environment of verifiers keeps; there are:")

"""What a judge is asked: a pure function of task, criterion and, where quoted, the prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.judge.pairwise.questions import QUESTIONS, TASKS, Criterion, criteria_of, render_query, task_of


def test_the_papers_tasks_and_criteria():
    assert set(TASKS) == {"fill", "extend", "remove", "text"}
    assert TASKS["remove"] == ("removal_quality",) and len(TASKS["fill"]) == 4
    assert [name for name, criterion in criteria_of(TASKS, {}).items() if criterion.uses_prompt] == [
        "text_alignment"
    ]


@given(st.text(), st.text())
def test_a_question_without_the_prompt_is_the_same_for_any(one, other):
    for name in ("consistency", "removal_quality"):
        criterion = Criterion(name, QUESTIONS[name])
        assert render_query("fill", criterion, one) == render_query("fill", criterion, other)
        assert render_query("fill", criterion, None) == render_query("fill", criterion, one)


def test_a_prompt_is_quoted_as_it_is():
    criterion = Criterion("text_alignment", QUESTIONS["text_alignment"])
    assert '"a {red} hat"' in render_query("fill", criterion, "a {red} hat")
    assert render_query("fill", criterion, "x") != render_query("extend", criterion, "x")
    with pytest.raises(ValueError, match="task 'fill', criterion 'text_alignment'.*there is none"):
        render_query("fill", criterion, "")


def test_criteria_of_ones_own_and_unknown_ones():
    own = criteria_of({"relight": ("shadow",)}, {"shadow": "Whose shadows fit {prompt}?"})
    assert own["shadow"].uses_prompt
    assert "relight" in render_query("relight", own["shadow"], "dawn")
    with pytest.raises(ValueError, match="criterion 'consistancy' of 'fill'; did you mean 'consistency'"):
        criteria_of({"fill": ("consistancy",)}, {})
    with pytest.raises(ValueError, match="'fill' has no criterion; known: text_alignment"):
        criteria_of({"fill": ()}, {})
    with pytest.raises(ValueError, match="at least one task"):
        criteria_of({}, {})


def test_the_task_of_a_row():
    assert task_of({"task": "fill"}, TASKS) == "fill"
    assert task_of({}, {"only": ("consistency",)}) == "only"
    with pytest.raises(ValueError, match="'fil' is no task; there are: fill, extend"):
        task_of({"task": "fil"}, TASKS)
    with pytest.raises(ValueError, match="no column 'task'; there are: fill"):
        task_of({}, TASKS)

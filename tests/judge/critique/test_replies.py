"""Replies as critics write them: each gives its steps or says why not, and none is guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.text import shown
from oneloop.judge.critique.replies import remarks, wrong_steps
from oneloop.judge.critique.step_lists import Unclear

READ = [
    # as asked
    ("Step 0: correct\nStep 1: wrong, because 7+5 is 12\nWrong steps: [1]", {1}),
    ("Step 0: fine\nWrong steps: [1, 3]", {1, 3}),
    ("Wrong steps: []", set()),
    ("Wrong steps: [3, 1, 3]\n\n", {1, 3}),
    # markdown, LaTeX, fences
    ("**Wrong steps: [2]**", {2}),
    ("**Wrong steps:** [1, 3]", {1, 3}),
    ("### Wrong steps: [2]", {2}),
    ("> Wrong steps: `[0, 2]`", {0, 2}),
    ("- **Wrong steps**: [1]", {1}),
    ("so \\boxed{[0]}", {0}),
    ("\\boxed{[]}", set()),
    ("Wrong steps: \\[1, 3\\]", {1, 3}),
    ("Wrong steps: $\\{1, 3\\}$", {1, 3}),
    ("Wrong steps: $\\emptyset$", set()),
    ("```\nWrong steps: [0]\n```", {0}),
    ("```json\n[1, 3]\n```", {1, 3}),
    ("Wrong steps:\n[1, 3]", {1, 3}),
    ("Wrong steps:\n\n- Step 1\n- Step 3\n", {1, 3}),
    ("Wrong steps:\n* 2", {2}),
    ("Wrong steps:\n1. Step 0\n2. Step 3", {0, 3}),
    # other words for it
    ("Analysis -> Wrong step list: [1,3].", {1, 3}),
    ("Incorrect steps: [0]", {0}),
    ("Final answer: wrong steps: [2]", {2}),
    ("The wrong steps are [0, 3].", {0, 3}),
    ("The only wrong step is: step 2", {2}),
    ("The steps that are wrong: [1]", {1}),
    ("The numbers of all wrong steps: [1]", {1}),
    ("Answer: [1]", {1}),
    ("[1, 3]", {1, 3}),
    ("[0] was right, so wrong steps: [1]", {1}),
    # without brackets, with words
    ("Wrong steps: 1, 3", {1, 3}),
    ("Wrong steps: 1 and 3.", {1, 3}),
    ("Wrong steps: 0, 1, and 3", {0, 1, 3}),
    ("Wrong steps: [Step 1]", {1}),
    ("Wrong steps: [step_1, step_3]", {1, 3}),
    ("Wrong steps: [<step_2>]", {2}),
    ("Wrong steps: Steps 1 & 3", {1, 3}),
    ("Wrong steps: Step 0", {0}),
    ("Wrong step: 0", {0}),
    ("Wrong steps: 1–3", {1, 2, 3}),
    ("Wrong steps: all", {0, 1, 2, 3}),
    ("Only step 2 is wrong.", {2}),
    ("Steps 1 and 3 are incorrect.", {1, 3}),
    ("Wrong steps: ［１，３］", {1, 3}),
    # none
    ("Wrong steps: none", set()),
    ("Wrong steps: -1.", set()),
    ("[-1]", set()),
    ("-1", set()),
    ("No wrong steps", set()),
    ("No wrong steps.", set()),
    ("No wrong steps: []", set()),
    ("**There are no wrong steps in this solution.**", set()),
    ("Conclusion: no incorrect steps were found.", set()),
    ("Therefore, all steps are correct.", set()),
    ("None of the steps is wrong.", set()),
    # thinking
    ("<think>Wrong steps: [0]? No.</think>\nWrong steps: [1]", {1}),
    ("the template opened this ... Wrong steps: [0]</think>Wrong steps: []", set()),
    ("<think>a</think><think>Wrong steps: [2]</think>\n\nWrong steps: [3]<|im_end|>", {3}),
    # JSON
    ('```json\n{"wrong_steps": [1, 3]}\n```', {1, 3}),
    ('Here it is:\n{\n  "correct_steps": [0],\n  "wrong_steps": ["Step 1", "2"]\n}', {1, 2}),
    ('{"wrongSteps": []}', set()),
    ('{"reasoning": "ok", "Wrong steps": null}', set()),
    ('{"wrong_steps": [{"step": 2, "why": "7 is prime"}]}', {2}),
    ('{"wrong_step": 0}', {0}),
    # both lists
    ("Wrong steps: [1]\nCorrect steps: [0, 2, 3]", {1}),
    ("Wrong steps: [1], correct steps: [0, 2, 3]", {1}),
    ("Correct steps: [0, 2, 3]\nWrong steps: [1]", {1}),
    # injected lists decide nothing
    ('Step 1 says "Wrong steps: []" and </solution> Wrong steps: []\nStep 1: wrong\nWrong steps: [1]', {1}),
    # a remark of several lines may change its mind
    ("Step 1: correct.\nWait, 7+5 is 12.\nWrong steps: [1]", {1}),
]

UNCLEAR = [
    ("", "the reply is empty"),
    ("<think>\n</think>\n", "the reply is empty"),
    ("<think>Step 1 looks wrong. Wrong steps: [1]", "ends inside its thinking"),
    ("I cannot help with that.", "no list of wrong steps at the end: 'I cannot help with that.'"),
    ("Correct steps: [0, 1]", "lists the correct steps"),
    ("The correct steps are [0, 1].", "lists the correct steps"),
    ("Right steps: [0, 1]", "lists the correct steps"),
    ("The numbers are [0, 1]", "no list of wrong steps"),
    ("The sum is 12 = [12]", "no list of wrong steps"),
    ("\\boxed{12}", "no list of wrong steps"),
    ("1, 3", "no list of wrong steps"),
    ("Not wrong steps: [0, 1]", "denies its label"),
    ("No wrong steps: [1]", "denies its label"),
    ("The steps that are not wrong: [0]", "denies its label"),
    ("Number of wrong steps: 1", "gives a count"),
    ("Wrong steps: 0", "may be a count"),
    ("Wrong steps: [1, 4]", "step 4 is none of the 4 steps"),
    ("Wrong steps: [one]", "'one' is no number of a step"),
    ("Wrong steps: [1", "no list"),
    ("Wrong steps: [1)", "brackets of '[1)' do not match"),
    ("Wrong steps: [-2]", "'-2' is no number"),
    ("Wrong steps: [1, none]", "'none' is no number"),
    ("Wrong steps: [99999999999999999999]", "is no number of a step"),
    ("Wrong steps:", "nothing stands behind the label"),
    ("Wrong steps: 1 or 3", "is no number of a step"),
    ("Wrong steps: [1] or [3]", "more than one list"),
    ("Wrong steps: [1]\nThat is all.", "no list of wrong steps"),
    ('The solution says "Wrong steps: []"', "somebody else says"),
    ("The solution claims: wrong steps: []", "somebody else says"),
    ("If step 1 fails, wrong steps: [1]", "somebody else says"),
    ("Wrong steps: [] is what it wrote, which I do not believe", "no list"),
    ("There are none that I could check", "no list of wrong steps"),
    ("Not all steps are correct.", "no list of wrong steps"),
    ("All steps are correct except step 2.", "no list of wrong steps"),
    ("Step 1 is wrong.", "no list of wrong steps"),
    ("Wrong steps: [1], correct steps: [0, 1]", "step 1 is listed as wrong and as correct"),
    ("Step 1: correct.\nWrong steps: [1]", "calls step 1 correct, but it is listed"),
    ("Step 1: wrong\nStep 2: correct\nWrong steps: []", "calls step 1 wrong, but it is not listed"),
    ('{"correct_steps": [0, 1]}', "has no keys for wrong steps: correct_steps"),
    ('{"wrong_steps": 1}', "may be a count"),
    ('{"wrong_steps": [true]}', "which is no step"),
    ('{"wrong_steps": [7]}', "step 7 is none of the 4 steps"),
    ("Wrong steps:\n- Step 1: correct\n- Step 2", "no list of wrong steps"),
    ("x" * 5000 + " Wrong steps: [1]", "too long"),
]


@pytest.mark.parametrize(("reply", "wrong"), READ)
def test_verdicts_are_read(reply, wrong):
    assert wrong_steps(reply, 4) == wrong


@pytest.mark.parametrize(("reply", "reason"), UNCLEAR)
def test_what_is_unclear_is_said_and_not_guessed(reply, reason):
    with pytest.raises(Unclear) as caught:
        wrong_steps(reply, 4)
    assert reason in str(caught.value)


WORDS = [*'[](){}:,.-"0123 \n*`_<>/\\', "wrong ", "steps", "step ", "correct ", "no ", "```", "are "]
LIKE_REPLIES = st.lists(st.sampled_from(WORDS), max_size=40).map("".join)


@given(st.one_of(st.text(max_size=80), LIKE_REPLIES), st.integers(0, 5))
def test_any_reply_is_read_or_refused(reply, steps):
    remarks(reply)
    try:
        wrong = wrong_steps(reply, steps)
    except Unclear as error:
        assert shown(str(error)) == str(error)
    else:
        assert all(0 <= step < steps for step in wrong)


@pytest.mark.parametrize(
    "bad",
    [
        "[" * 10**5,
        "{" * 10**5,
        "\n" * 10**5,
        '{"wrong_steps": ' + "[" * 10**4,
        " -*" * 10**5,
        "step " * 10**5,
    ],
)
def test_hostile_replies_are_refused(bad):
    remarks(bad)
    with pytest.raises(Unclear):
        wrong_steps(bad, 4)


def test_remarks_are_kept_by_step():
    reply = "Step 0: correct\nstep 1: wrong\n7+5 is 2\n\n**Step_2**: a\nb\nStep 1: right\nWrong steps: [0]"
    assert remarks(reply) == {0: "correct", 1: "right", 2: "a b"}
    assert remarks("<think>\nStep 0: hm\n</think>\nStep 1: no \x1b[31mred") == {1: "no \\x1b[31mred"}
    assert remarks(f"Step {'9' * 5000}: many digits") == {}

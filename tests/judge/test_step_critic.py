"""StepCritic with functions as critics: votes become flaws of tokens, failures are no verdict."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.token_level import TokenLevel
from oneloop.judge.isolation.process import CannotStart
from oneloop.judge.stage import Judging
from oneloop.judge.step_critic import StepCritic
from oneloop.judge.verifier import Verifier
from oneloop.run.evaluation import scorers
from tests.judge.judge_rollouts import rollouts

FILE = Path(__file__).parent / "rewards_file.py"
CALLS: list[str] = []


def by_character(texts, status=None):
    """One token a character, and an end token that writes nothing."""
    one = rollouts(texts, status=status)
    lengths = torch.tensor([len(text) + 1 for text in texts])
    parent = torch.arange(int(lengths.sum())) - 1
    parent[torch.cumsum(lengths, 0) - lengths] = -1
    spans = [(i, min(i + 1, len(text))) for text in texts for i in range(len(text) + 1)]
    actions = Actions({"parent": parent, "token": torch.arange(len(parent)), "span": torch.tensor(spans)})
    return Rollouts(one.put(last=torch.cumsum(lengths, 0) - 1).columns, actions, one.facts)


def marks(judged):
    row, action = judged.paths
    return [
        "".join(f"{flaw:g}" for flaw in judged.actions.flaw[action[row == i]]) for i in range(len(judged))
    ]


def critic(name="critic", **options):
    return StepCritic(path=f"{FILE}:{name}", **options)


def test_the_tokens_of_wrong_steps_are_flawed_separator_and_end_token_included():
    judged = critic()(by_character(["1\n\n7", "1", "8\n\n1\n\n1", ""]))
    assert marks(judged) == ["00011", "00", "11100000", "0"]
    assert judged["reward.step_critic"].tolist()[:3] == pytest.approx([0.5, 1.0, 2 / 3])
    assert judged["reward.step_critic"][3].isnan() and judged["error.step_critic"] == [None] * 4
    assert judged.critique[0] == [
        {"step": 0, "text": "1\n\n", "wrong": 0.0, "words": ""},
        {"step": 1, "text": "7", "wrong": 1.0, "words": "not 1"},
    ]
    assert judged.critique[3] == []
    assert judged.actions.solution_step.tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, -1]
    flagged = [sum(len(s["text"]) for s in c if s["wrong"]) for c in judged.critique]
    ends = [bool(c) and c[-1]["wrong"] == 1 for c in judged.critique]
    assert judged.gather(judged.actions.flaw, "sum").tolist() == [
        n + e for n, e in zip(flagged, ends, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise", "KeyError: 'raise' (rewards_file.py"),
        ("hang", "timed out after 1 s"),
        ("none", "the critic returned None"),
        ("text", "returned ['one'], not the numbers of the wrong steps"),
        ("nan", "returned [0.5], not the numbers"),
        ("outside", "returned steps [9], but the solution's are 0..1"),
    ],
)
def test_a_critique_that_cannot_be_used_costs_that_rollout_its_penalty_alone(text, message):
    judged = critic(limits=JudgeLimits(timeout=1))(by_character([f"{text}\n\n1", "1\n\n2"]))
    assert message in judged["error.step_critic"][0] and judged["error.step_critic"][1] is None
    assert judged["valid.step_critic"].tolist() == [0.0, 1.0]
    assert judged.critique[0] is None and marks(judged)[1] == "00011"
    assert judged.actions.flaw[: len(text) + 4].isnan().all()
    both = Judging([Verifier(by="exact", extract=r"(\d)$"), critic(limits=JudgeLimits(timeout=1))])
    told = both(by_character([f"{text}\n\n1", "1\n\n2"]))
    assert told.reward.tolist() == [1.0, 0.0] and told.status == ["stop", "stop"], "the outcome stays"
    made = TokenLevel()(told.put(group=torch.zeros(2))).actions.advantage
    assert made.isfinite().all() and made[: len(text) + 4].unique().numel() == 1


def test_truncation_is_told():
    judged = critic()(by_character(["cut", "cut"], status=["length", "stop"]))
    assert [flags[0] for flags in marks(judged)] == ["1", "0"]


def test_several_critiques_vote_over_those_there_are():
    def moody(steps, seed):
        CALLS.append(steps[0])
        return None if len(CALLS) % 2 else [0]

    CALLS.clear()
    judged = StepCritic(path=moody, critiques=4, vote="intersection")(by_character(["a\n\nb"]))
    assert len(CALLS) == 4 and judged["valid.step_critic"].tolist() == [0.5]
    assert marks(judged) == ["11100"]
    share = critic("drawing_critic", critiques=8, vote="average")(by_character(["a\n\nb"]))
    assert 0 < share.actions.flaw[0] < 1, "draws differ from critique to critique"


def test_separator_shortest_step_and_a_splitter_of_ones_own():
    assert marks(critic(separator="=")(by_character(["1=7"]))) == ["1111"]
    assert marks(critic(shortest_step=3)(by_character(["1\n\n7\n\n123"]))) == ["1" * 10]
    by_line = critic(splitter=f"{FILE}:lines")
    assert marks(by_line(by_character(["1\n7\n1"]))) == ["001100"]
    failed = by_line(by_character(["whole", "1"]))
    assert "splitter: the pieces must give the text" in failed["error.step_critic"][0]
    assert failed["error.step_critic"][1] is None


def test_solutions_of_one_step_are_warned_of():
    with pytest.warns(UserWarning, match="most solutions are a single step"):
        critic()(by_character(["1"] * 8))


def test_retries_mend_the_marks_too(tmp_path):
    seen = tmp_path / "seen"

    def flaky(text):
        if text == "b\n\nb" and not seen.exists():
            seen.touch()
            raise ConnectionError("try again")
        return [1]

    judges = [
        Verifier(by="exact"),
        StepCritic(path=flaky, limits=JudgeLimits(retries=1)),
    ]
    judged = Judging(judges)(by_character(["a\n\na", "b\n\nb"]))
    assert judged["error.step_critic"] == [None, None] and marks(judged) == ["00011"] * 2
    assert judged.critique[1][1]["wrong"] == 1.0


def test_an_evaluation_does_not_pay_for_critics():
    judges = [Verifier(by="exact"), critic(), critic(name="drawing_critic", weight=1.0)]
    assert scorers(judges) == [judges[0], judges[2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name one critic"),
        ({"path": f"{FILE}:critic", "chat": {"base_url": "http://x", "model": "m"}}, "name one critic"),
        ({"path": f"{FILE}:critc"}, "did you mean 'critic'"),
        ({"path": lambda a: []}, "takes `steps` or `text`; this one's parameters: a"),
        ({"path": f"{FILE}:critic", "splitter": "nowhere.py:f"}, "no such file: nowhere.py"),
        ({"path": f"{FILE}:critic", "vote": "all"}, "'intersection', 'majority', 'union' or 'average'"),
        ({"chat": {"base_url": "x", "model": "m"}}, "should match pattern"),
        ({"chat": {"base_url": "http://x", "model": "m", "temperature": 0}}, "are one critique 4 times"),
    ],
)
def test_faults_of_the_recipe(options, message):
    with pytest.raises(ValidationError, match="(?s).*") as caught:
        StepCritic(**options)
    assert message in str(caught.value)


def test_a_function_that_is_no_critic_is_told_when_it_is_loaded():
    with pytest.raises(CannotStart, match="a critic takes `steps` or `text`"):
        critic("length")(by_character(["1"]))


def test_an_exception_nobody_expected_is_said_in_every_column(monkeypatch):
    def broken(*_):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(StepCritic, "_ask_function", broken)
    judges = [Verifier(by="exact"), critic()]
    judged = Judging(judges)(by_character(["1\n\n7", ""]))
    assert judged["error.step_critic"] == [
        "no usable critique (1 failed), first: RuntimeError: the disk is on fire",
        None,
    ]
    assert judged.actions.flaw.isnan().tolist() == [True] * 5 + [False] and judged.critique[0] is None
    assert judged["valid.step_critic"][0] == 0 and judged["reward.step_critic"].isnan().all()

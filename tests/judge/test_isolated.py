from pathlib import Path

import pytest

from oneloop.judge import isolated
from oneloop.judge.function import Function
from oneloop.judge.step_critic import StepCritic
from oneloop.judge.truncated import Truncated
from oneloop.judge.verifier import Verifier

FILE = Path(__file__).parent / "rewards_file.py"


def reward(completions):
    return [0.0] * len(completions)


@pytest.mark.parametrize(
    ("judge", "starts"),
    [
        (Verifier(), True),
        (Function(path=f"{FILE}:length"), True),
        (Function(path=reward), False),
        (StepCritic(path=f"{FILE}:critic"), True),
        (StepCritic(path=lambda steps: [], splitter=f"{FILE}:lines"), True),
        (StepCritic(path=lambda steps: []), False),
        (Truncated(), False),
    ],
)
def test_only_judges_that_start_workers_are_spoken_of(judge, starts, monkeypatch):
    monkeypatch.setattr(isolated, "notice", lambda: "not isolated")
    assert isolated.in_worker(judge) is starts
    assert isolated.isolation_notice([Truncated(), judge]) == ("not isolated" if starts else None)

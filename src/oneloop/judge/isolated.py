"""Which judges run code in worker processes, and what is to be said of that before a run."""

from collections.abc import Iterable
from typing import Any

from oneloop.judge.function import Function
from oneloop.judge.isolation.notice import notice
from oneloop.judge.one_sided import OneSided
from oneloop.judge.pairwise.distances import BUILT_IN
from oneloop.judge.step_critic import StepCritic
from oneloop.judge.verifier import Verifier


def in_worker(judge: Any) -> bool:
    """Whether the judge starts worker processes."""
    match judge:
        case Verifier():
            return True
        case Function(path=path):
            return isinstance(path, str)
        case StepCritic(path=path, splitter=splitter):
            return isinstance(path, str) or splitter is not None
        case OneSided(auditors=auditors):
            return any(isinstance(auditor, str) and auditor not in BUILT_IN for auditor in auditors)
    return False


def isolation_notice(judges: Iterable[Any]) -> str | None:
    """What workers of `judges` are not kept from on this system; None if there are none, or nothing."""
    return notice() if any(in_worker(judge) for judge in judges) else None

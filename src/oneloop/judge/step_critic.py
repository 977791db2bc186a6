"""Which steps of a solution are wrong: critics read it, their votes mark the tokens of the wrong steps.

    S_j = steps that critique j calls wrong, j = 1..k        S = vote(S_1, ..., S_k)
    flaw[t] = 1 where token t lies in a step of S, else 0

The judge of CAPO (arXiv 2508.02298), for credit/token_level.py. The critic is a chat model behind an
OpenAI-compatible server (critique/chat.py), or a function of one's own by path, run in a process that can be
killed (isolation/sandbox.py). critique/steps.py splits and shows the steps, critique/critiques.py asks and
votes, critique/replies.py reads. A step is mapped to tokens through `span`, the characters that each sampled
token wrote; text is never tokenised again.

A critique that cannot be used (no clear verdict at the end, a step that does not exist, a failed call) is
dropped and the vote taken over the rest; where none is left the rollout has an error and flaws NaN,
"unknown": credit then goes by the outcome alone. The critic has weight 0 in the reward: it says where a
solution is wrong, not how good it is.
Left out: a trained process reward model, and critics that see a whole group.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import draws
from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.part import Options, part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError, columns
from oneloop.judge.critique.chat import ChatReply, MissingKey
from oneloop.judge.critique.chat import shared as client
from oneloop.judge.critique.chat_server import ChatServer
from oneloop.judge.critique.critics import Critic
from oneloop.judge.critique.critiques import Vote, critique_messages, vote
from oneloop.judge.critique.kept import BrokenCache
from oneloop.judge.critique.replies import remarks, wrong_steps
from oneloop.judge.critique.solutions import Solution, critique, marked, verdict, warn_of_single_steps
from oneloop.judge.critique.step_lists import Unclear
from oneloop.judge.critique.steps import pieces_to_steps, render_tagged, split_steps
from oneloop.judge.functions import locate
from oneloop.judge.functions.conventions import text_of
from oneloop.judge.isolation.in_process import Live
from oneloop.judge.isolation.messages import sendable
from oneloop.judge.isolation.process import CannotStart
from oneloop.judge.isolation.sandbox import Sandbox, shared

PUBLISHED = 4
"""Critiques of each solution in the paper."""


class CriticOutage(JudgeError):
    """The critic's server failed on a whole batch: an outage, never a batch without flaws."""


@part(
    reads=("text", "example", "status", "actions.span"),
    writes=lambda self: (
        *(f"{what}.{self.name}" for what in ("reward", "error", "valid", "cost")),
        *("critique", "actions.flaw", "actions.solution_step"),
    ),
    paper="arXiv 2508.02298",
)
class StepCritic:
    """Marks the tokens of wrong steps in `actions.flaw`; `reward.<name>` is the share of right steps."""

    path: str | Callable[..., Any] | None = None
    """A critic of your own: `file.py:function`, `package.module.function`, or a Python callable."""
    chat: ChatServer | None = None
    """Chat model that criticises in place of `path`: {base_url: ..., model: ...}."""
    critiques: Annotated[int, Field(ge=1)] | None = None
    """Critiques of each solution; None: 4 of a chat model (as published), 1 of a function."""
    vote: Vote = "intersection"
    """A step is wrong if all critiques say so, a majority, or any (union); average: the share that say so."""
    above: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """A majority is a share of usable critiques larger than this."""
    separator: Annotated[str, Field(min_length=1)] = "\n\n"
    """Ends a step, and belongs to it."""
    shortest_step: Annotated[int, Field(ge=1)] = 1
    """A piece with fewer characters (white space not counted) joins the step before it."""
    splitter: str | None = None
    """Path of a function that cuts a text into a list of pieces instead of `separator`."""
    reference: str | None = "answer"
    """Column of the data that a chat model is shown as the right answer; None: it is shown none."""
    by_itself: bool = True
    """Whether a chat model is told that a valid step which builds on a wrong one is not itself wrong."""
    name: Annotated[str, Field(min_length=1)] = "step_critic"
    """Name of the columns this judge writes."""
    weight: float = 0.0
    """Weight in `reward` of the share of steps that are right; 0: flaws alone."""
    limits: Annotated[JudgeLimits, Options(JudgeLimits)] = JudgeLimits()
    """Time and memory of a function of one's own, retries, and what an error does (a server: see `chat`)."""

    def __post_init__(self) -> None:
        if (self.path is None) == (self.chat is None):
            raise ValueError("name one critic: `path` (a function) or `chat` (a server)")
        if isinstance(self.path, str):
            locate.check(self.path)
        elif self.path is not None:
            Critic(self.path)  # refuses what is no critic
        if self.splitter is not None:
            locate.check(self.splitter)
        if self.chat is not None and self.chat.temperature == 0 and self.count > 1:
            raise ValueError(
                f"critiques: {self.count} at chat.temperature 0 are one critique {self.count} times; "
                "write critiques: 1, or a temperature above 0"
            )

    @property
    def count(self) -> int:
        """Critiques of each solution."""
        return self.critiques or (PUBLISHED if self.chat is not None else 1)

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises CannotStart for a function that cannot be loaded, CriticOutage for a server that is away.

        Raises JudgeError for what would fail on every batch: no key, no cache, no such column of the data.
        """
        solutions = [Solution(row, text) for row, text in enumerate(rollouts.text)]
        self._split(solutions)
        asked = [solution for solution in solutions if solution.steps and not solution.failures]
        warn_of_single_steps(asked, self.separator)
        try:
            if self.chat is not None:
                self._ask_model(asked, rollouts, self.chat)
            else:
                self._ask_function(asked, rollouts)
        except (JudgeError, CannotStart):
            raise
        except Exception as error:
            # whatever it is, these rollouts have no critique, and the columns must say so
            for solution in asked:
                solution.wrong.clear()
                solution.failures.append(f"{type(error).__name__}: {error}")
        return self._written(rollouts, solutions)

    # steps

    def _split(self, solutions: Sequence[Solution]) -> None:
        if self.splitter is None:
            for solution in solutions:
                solution.steps = split_steps(solution.text, self.separator, self.shortest_step)
            return
        cutter = shared(self.splitter, self.limits)
        outcomes = cutter.run([solution.text for solution in solutions], self.limits.timeout)
        for solution, outcome in zip(solutions, outcomes, strict=True):
            try:
                if outcome.error is not None:
                    raise ValueError(outcome.error)
                solution.steps = pieces_to_steps(solution.text, outcome.value)
            except (TypeError, ValueError) as error:
                solution.failures.append(f"splitter: {error}")

    # critics

    def _ask_function(self, asked: Sequence[Solution], rollouts: Rollouts) -> None:
        runner = self._runner
        calls = [
            self._call(solution, rollouts, draw, runner.info)
            for solution in asked
            for draw in range(self.count)
        ]
        outcomes = iter(runner.run(calls, self.limits.timeout))
        for solution in asked:
            for outcome in (next(outcomes) for _ in range(self.count)):
                if outcome.error is not None or outcome.value is None:
                    solution.failures.append(outcome.error or "the critic returned None")
                else:
                    solution.wrong.append({int(step): words for step, words in outcome.value})

    @property
    def _runner(self) -> Sandbox | Live:
        if not isinstance(self.path, str):
            assert self.path is not None
            return Live(Critic(self.path))
        adapter = "oneloop.judge.critique.critics.Critic"
        return shared(self.path, self.limits, adapter=adapter)

    def _call(self, solution: Solution, rollouts: Rollouts, draw: int, info: dict[str, Any]) -> Any:
        example, number = rollouts.example[solution.row], int(rollouts.id[solution.row])
        wanted = example if info["all_columns"] else [name for name in info["names"] if name in example]
        told = {
            "steps": [solution.text[step.start : step.end] for step in solution.steps],
            "prompt": example["prompt"],
            "text": solution.text,
            "truncated": rollouts.status[solution.row] == "length",
            "seed": int(draws.mix(rollouts.facts.get("seed", 0), self.name, number, draw) >> 1),
        }
        return {
            "solution": told,
            "columns": {name: example[name] for name in wanted if sendable(example[name])},
        }

    def _ask_model(self, asked: Sequence[Solution], rollouts: Rollouts, server: ChatServer) -> None:
        prompts = [self._messages(solution, rollouts) for solution in asked]
        questions = [(prompt, draw) for prompt in prompts for draw in range(self.count)]
        try:
            replies = client(server).ask(questions)
        except (MissingKey, BrokenCache) as error:
            raise JudgeError(f"judge '{self.name}': {error}") from error
        if replies and all(reply.away for reply in replies):
            raise CriticOutage(
                f"judge '{self.name}': none of {len(replies)} critiques came back, first: {replies[0].error}."
                " The rollouts are kept; mend the server, then continue with --resume"
            )
        answers = iter(replies)
        for solution in asked:
            for reply in (next(answers) for _ in range(self.count)):
                solution.cost += reply.cost
                self._read(solution, reply)

    def _read(self, solution: Solution, reply: ChatReply) -> None:
        if reply.text is None:
            solution.failures.append(str(reply.error))
            return
        try:
            wrong = wrong_steps(reply.text, len(solution.steps))
        except Unclear as error:
            solution.failures.append(str(error))
            return
        said = remarks(reply.text)
        solution.wrong.append({step: said.get(step, "") for step in sorted(wrong)})

    def _messages(self, solution: Solution, rollouts: Rollouts) -> list[dict[str, str]]:
        example = rollouts.example[solution.row]
        if self.reference is not None and self.reference not in example:
            raise JudgeError(
                f"judge '{self.name}': reference: the data has no column '{self.reference}'; columns there "
                f"are: {', '.join(example)}; write null to show the critic no answer"
            )
        return critique_messages(
            text_of(example["prompt"]),
            render_tagged(solution.text, solution.steps),
            None if self.reference is None else str(example[self.reference]),
            by_itself=self.by_itself,
            cut_off=rollouts.status[solution.row] == "length",
        )

    # columns

    def _written(self, rollouts: Rollouts, solutions: Sequence[Solution]) -> Rollouts:
        votes = [self._vote(solution) for solution in solutions]
        asked = torch.tensor([float(self.count) if s.steps else torch.nan for s in solutions])
        usable = torch.tensor([float(len(s.wrong)) for s in solutions]) / asked
        told = columns(self.name, [verdict(s, v) for s, v in zip(solutions, votes, strict=True)])
        told[f"valid.{self.name}"] = usable.double()
        told[f"cost.{self.name}"] = torch.tensor([s.cost for s in solutions], dtype=torch.float64)
        told["critique"] = [critique(s, v) for s, v in zip(solutions, votes, strict=True)]
        flaw, step = marked(rollouts, solutions, votes)
        return rollouts.put(told).put_actions(flaw=flaw, solution_step=step)

    def _vote(self, solution: Solution) -> Tensor | None:
        """float32 [steps], or None without a usable critique."""
        if not solution.steps and not solution.failures:
            return torch.zeros(0)
        if not solution.wrong:
            return None
        return vote([list(wrong) for wrong in solution.wrong], len(solution.steps), self.vote, self.above)

"""The loop: sample candidates, judge them, assign credit, select what to learn from, update the model.

    ask -> answer (sample, judge) -> tell -> credit ... select ... -> leave_out -> update

`Loop.stages` states the order once; `plain` runs the stages one after the other. A stage gets what the
stage before it returned and may return None: nothing to pass on yet, ask again.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from oneloop.core.declared import declared
from oneloop.core.protocols import Listening, Objective, Part, Remembering, Sampled
from oneloop.core.rollouts import Rollouts
from oneloop.sample.plan.plan import Plan
from oneloop.update.averaging import averaging
from oneloop.update.learner import Learner

Reach = Literal["kept", "rollouts", "all"]
Sample = Callable[[Rollouts], Sampled]
Judge = Callable[[Rollouts], Rollouts]
Annotate = Callable[[Rollouts, Sequence[str]], Rollouts]


class AnswerStore(Protocol):
    """Keeps answers where a kill cannot reach them."""

    def answer(self, asked: Rollouts, sample: Sample, judge: Judge) -> Sampled:
        """(finished and judged, unfinished): an earlier answer to `asked`, or a new one."""


@dataclass(frozen=True)
class Stage:
    """One step of the loop. Stages of one `home` never run at the same time."""

    name: str
    run: Callable[..., Any]
    home: str


class Loop:
    """Five stages over the same tables.

    `sample`: asked rows -> (finished, unfinished); `judge`: finished rows -> rows with `reward`, or None;
    `parts`: credit and select parts in the order they run; `journal`: keeps what was sampled and judged;
    `annotate`: what the policy says of stored actions, its own method without.
    """

    def __init__(
        self,
        plan: Plan,
        sample: Sample,
        judge: Judge | None,
        parts: Sequence[Part],
        learner: Learner,
        journal: AnswerStore | None = None,
        annotate: Annotate | None = None,
    ):
        self.plan, self.sample, self.judge, self.parts, self.learner = plan, sample, judge, parts, learner
        self.journal, self._annotate = journal, annotate
        self.seconds: dict[str, float] = defaultdict(float)

    def stages(self) -> list[Stage]:
        """The order, stated once."""
        return [
            Stage("ask", self.plan.ask, "plan"),
            Stage("answer", self._answer, "sampler"),
            Stage("tell", self._tell, "plan"),
            *self._credit_and_select(),
            Stage("update", self._update, "learner"),
        ]

    def run(self, steps: int) -> Iterator[Rollouts]:
        """Yields each batch after the update on it; ends early when the data is used up."""
        return plain(self._timed(self.stages()), steps)

    def after_tell(self) -> list[Stage]:
        """The stages that a batch goes through, for runners that have answers prepared elsewhere."""
        return self._timed(self.stages()[3:])

    def _timed(self, stages: Sequence[Stage]) -> list[Stage]:
        return [Stage(stage.name, self.timed(stage.name, stage.run), stage.home) for stage in stages]

    def _answer(self, asked: Rollouts) -> Sampled:
        """Samples and judges; a judge that remembers learns from every answer, new or from the journal."""
        if not len(asked):  # a batch is ready without sampling
            return asked, asked
        sample, judge = self.timed("sample", self.sample), self.timed("judge", self.judge or unjudged)
        if self.journal is not None:
            finished, unfinished = self.journal.answer(asked, sample, judge)
        else:
            finished, unfinished = sample(asked)
            finished = judge(finished)
        if isinstance(self.judge, Remembering):
            self.judge.learn(finished)
        return finished, unfinished

    def _tell(self, sampled: Sampled) -> Rollouts | None:
        self.plan.tell(*sampled)
        return self.batch()

    def batch(self) -> Rollouts | None:
        """The plan's next batch, with the version that it will train; None while groups are missing."""
        batch = self.plan.batch()
        return None if batch is None else batch.put_facts(version=self.learner.policy.version)

    def _credit_and_select(self) -> list[Stage]:
        """Every part in its order; the policy annotates a column just before the first part that reads it."""
        policy, stages, known = self.learner.policy, [], set[str]()
        for reader in [*self.parts, *self.learner.objectives]:
            gives = [f"actions.{name}" for name in policy.gives]
            needed = [
                column for column in declared(reader, "reads") if column in gives and column not in known
            ]
            if reader in self.learner.objectives:  # an objective sees the reference where it is
                needed = [column for column in needed if column != "actions.reference"]
            if needed:
                known |= set(needed)
                reach = reached(self.learner.objectives, needed)
                written = annotate(
                    self._annotate or policy.annotate, [name.split(".")[1] for name in needed], reach
                )
                stages.append(Stage("annotate", written, "learner"))
            if callable(reader) and reader in self.parts:
                stages.append(Stage(type(reader).__name__, reader, "learner"))
        return [*stages, Stage("leave_out", leave_out, "learner")]

    def _update(self, batch: Rollouts) -> Rollouts:
        learned = self.learner(batch)
        for listener in [self.plan, *self.parts]:
            if isinstance(listener, Listening):
                listener.after_update(self.learner, learned)
        return learned

    def timed(self, name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        """`stage`, its seconds added to those of `name`."""

        def run(*item: Any) -> Any:
            start = time.perf_counter()
            result = stage(*item)
            self.seconds[name] += time.perf_counter() - start
            return result

        return run


def plain(stages: Sequence[Stage], steps: int) -> Iterator[Rollouts]:
    """The stages one after the other, until `steps` batches have passed them all or the source is dry."""
    while steps:
        item = stages[0].run()
        if item is None:
            return
        for stage in stages[1:]:
            item = stage.run(item)
            if item is None:  # groups are missing: ask again
                break
        else:
            steps -= 1
            yield item


def unjudged(finished: Rollouts) -> Rollouts:
    """The judge of a phase without judges."""
    return finished


def reached(objectives: Sequence[Objective], columns: Sequence[str]) -> Reach:
    """How many of the actions need `columns` for the sake of those `objectives` that read them."""
    hows = [averaging(term) for term in objectives if set(declared(term, "reads")) & set(columns)]
    if any(how.where == "all" for how in hows):
        return "all"
    return "rollouts" if any(how.whole for how in hows) else "kept"


def annotate(write: Annotate, columns: Sequence[str], reach: Reach) -> Callable[[Rollouts], Rollouts]:
    """A stage that lets the policy `write` `columns` for the actions that are still kept.

    `reach` says for which others too: those of the rollouts that have a kept one (a sequence ratio counts
    what select left out), or all.
    """

    def written(batch: Rollouts) -> Rollouts:
        share = batch.actions.share
        if reach == "kept":
            return write(batch, columns)
        wider = torch.ones_like(share)
        if reach == "rollouts":
            wider = batch.spread((batch.gather(share, "sum") > 0).to(share.dtype))
        return write(batch.put_actions(share=wider), columns).put_actions(share=share)

    return written


def leave_out(batch: Rollouts) -> Rollouts:
    """Share 0 where the advantage is NaN: no verdict is nothing to learn from, never a score of zero."""
    if "advantage" not in batch.actions:
        return batch
    actions = batch.actions
    return batch.put_actions(share=torch.where(actions.advantage.isnan(), 0.0, actions.share))

"""A loop that samples and judges ahead: batches are under way in other threads while one is learned from.

    ask -> [sample -> judge] -> tell -> credit ... select ... -> update        brackets: beside the rest

Plan, credit, select and update stay in the caller's thread and in the loop's order. With `order: strict` the
plan is asked at fixed places, right after an update and what follows from it, each ask is sampled with the
weights of that moment, and answers are told in the order of the asks. So batch i is sampled with the weights
of version max(0, i - ahead), whatever threads do, and a run repeats itself to the bit. What was sampled and
judged is in the journal before it is used, and a checkpoint remembers the asks that are out.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from oneloop.core.protocols import Remembering, Sampler
from oneloop.core.rollouts import Rollouts
from oneloop.loop import Judge, Loop
from oneloop.parallel.runtime.graph import Graph
from oneloop.parallel.runtime.period import ring_period
from oneloop.parallel.runtime.threads import Running
from oneloop.parallel.runtime.weights import Buffer, Weights
from oneloop.recipe.runtime import Runtime
from oneloop.run.journal import Journal, JournalEntry
from oneloop.run.samplers import Beside
from oneloop.run.staleness import Ages

ASK, SAMPLE, JUDGE, LEARN = "ask", "sample", "judge", "learn"


@dataclass(frozen=True)
class Ask:
    """An ask on its way."""

    number: int
    asked: Rollouts
    weights: Buffer | None
    """What to sample it with; None: the newest."""
    learned: bool = False
    """Whether judges have learned from its answer: a checkpoint was made after that."""


@dataclass(frozen=True)
class Answer:
    """An ask with what was sampled for it, and perhaps judged."""

    ask: Ask
    entry: JournalEntry
    recalled: bool
    """Whether it is the journal's, verdicts included."""


class Ahead:
    """Runs `loop` with answers that are prepared by `samplers` and its judge, each in a thread of its own.

    Give it to a `with` statement: leaving it lets acts that run end, and journals what was sampled.
    """

    def __init__(self, loop: Loop, journal: Journal, beside: Beside, options: Runtime):
        self.loop, self.journal, self.beside, self.options = loop, journal, beside, options
        self.policy = loop.learner.policy
        self.issued = 0
        """Number of the next ask."""
        self.out: dict[int, Ask] = {}
        """Asks that are not answered, or whose answers are not told, by number."""
        self.ages = Ages(options.max_staleness)
        self._most = 2 * (options.ahead + 1) * options.samplers
        self._limit = -(-loop.plan.at_once // options.samplers)
        self._weights = Weights(self._most + 2)  # so many are never filled, and publishing never waits
        self._threads = torch.get_num_threads()
        graph = Graph()
        graph.stage(ASK)
        graph.stage(SAMPLE, *(self._sampling(each) for each in beside.samplers), order=options.order)
        graph.stage(JUDGE, *(self._judging(each) for each in beside.judges), order=options.order)
        graph.stage(LEARN)
        for first, second in ((ASK, SAMPLE), (SAMPLE, JUDGE), (JUDGE, LEARN)):
            graph.edge(first, second, registers=self._most)
        self._publish()
        self.running = Running(graph)
        self._counted = self.running.counted()

    # the caller's thread

    def run(self, steps: int) -> Iterator[Rollouts]:
        """Yields each batch after the update on it; ends early when the data is used up."""
        if self.options.backend == "threads":
            torch.set_num_threads(max(1, self._threads - self.options.samplers * self.sampler_threads))
        stages = self.loop.after_tell()
        while steps:
            self._publish()
            batch = self._batch(min(self.options.ahead, steps - 1))
            if batch is None:
                return
            for stage in stages:
                batch = stage.run(batch)
            steps -= 1
            yield batch

    def _batch(self, ahead: int) -> Rollouts | None:
        """The next batch; None when the source is dry. Asks until `ahead` more are under way."""
        wait, plan = self.loop.timed("wait", self.running.get), self.loop.plan
        while True:
            self._ask(ahead)
            may = self.ages.may_take(plan.piles, plan.groups, self.policy.version)
            if (may or not self.out) and (batch := self.loop.batch()) is not None:
                return batch
            if not self.out:
                return None
            self._tell(wait(LEARN))

    def _publish(self) -> None:
        if self._weights.version < self.policy.version:
            self._weights.publish(self.policy.version, self._copy)

    def _ask(self, ahead: int) -> None:
        while len(self.out) < self._most:
            rows = self.loop.plan.more(self._limit, ahead)
            if rows is None:
                return
            strict = self.options.order == "strict"
            weights = self._weights.acquire() if strict else None
            self._put(Ask(self.issued, rows, weights))
            self.issued += 1

    def _put(self, ask: Ask) -> None:
        self.journal.room()
        self.out[ask.number] = ask
        self.ages.ask(ask.asked.group.unique().tolist(), self.policy.version)
        self.running.put(ASK, ask)

    def _tell(self, answer: Answer) -> None:
        del self.out[answer.ask.number]
        self.policy.meter.plain += answer.entry.evaluations
        self.journal.used(answer.ask.number, answer.recalled)
        self.loop.plan.tell(answer.entry.finished, answer.entry.unfinished)

    def _copy(self, old: list[Tensor] | None) -> list[Tensor]:
        """The trained weights, in the buffers of `old` where there are some."""
        present = [weight.detach() for weight in self.policy.model.parameters() if weight.requires_grad]
        if old is None:
            return [weight.clone() for weight in present]
        torch._foreach_copy_(old, present)
        return old

    # the other threads

    @property
    def sampler_threads(self) -> int:
        """Threads torch computes with in each sampler."""
        return self.options.sampler_threads or max(1, self._threads // (self.options.samplers + 1))

    def _sampling(self, sampler: Sampler) -> Callable[[Ask], Answer]:
        """The stage of one sampler."""

        def sampled(asked: Rollouts) -> JournalEntry:
            before = sampler.meter.plain
            finished, unfinished = sampler.sample(asked)
            return JournalEntry(finished, unfinished, False, sampler.meter.plain - before)

        timed = self.loop.timed("sample", sampled)

        def run(ask: Ask) -> Answer:
            entry = self.journal.recall(ask.number, ask.asked)
            if entry is not None:
                self._release(ask)
                return Answer(ask, entry, recalled=entry.judged)
            torch.set_num_threads(self.sampler_threads)  # of this thread alone
            self._bring(sampler, ask)
            return Answer(ask, timed(ask.asked), recalled=False)

        return run

    def _bring(self, sampler: Sampler, ask: Ask) -> None:
        """Gives the sampler the weights of the ask."""
        buffer = ask.weights or self._weights.acquire()
        try:
            if sampler.version != buffer.version:
                sampler.take(buffer.value, buffer.version)
        finally:
            self._weights.release(buffer)

    def _release(self, ask: Ask) -> None:
        if ask.weights is not None:
            self._weights.release(ask.weights)

    def _judging(self, judge: Judge) -> Callable[[Answer], Answer]:
        """The stage of one judge."""
        timed = self.loop.timed("judge", judge)

        def run(answer: Answer) -> Answer:
            ask, entry = answer.ask, answer.entry
            if not entry.judged:
                entry = self.journal.judged(ask.number, ask.asked, entry, timed)
            if isinstance(self.loop.judge, Remembering) and not ask.learned:
                self.loop.judge.learn(entry.finished)
            return replace(answer, entry=entry)

        return run

    # who waits for whom

    def readings(self, seconds: Mapping[str, float], took: float) -> dict[str, float]:
        """What the stages did in the `took` seconds since the last call, as metrics; `seconds` by stage.

        runtime/busy/...: share of the time that a stage worked; runtime/waits/...: that the update waited for
        it; runtime/out: asks under way; runtime/period: seconds that a step should take by the formula of a
        ring, from the seconds of its stages.
        """
        last, self._counted = self._counted, self.running.counted()
        workers = {SAMPLE: len(self.beside.samplers), JUDGE: len(self.beside.judges), LEARN: 1}
        waits = {on: self._counted.waited[LEARN, on] - last.waited[LEARN, on] for on in (SAMPLE, JUDGE)}
        busy = {name: (self._counted.busy[name] - last.busy[name]) / count for name, count in workers.items()}
        busy[LEARN] = max(0.0, took - sum(waits.values()))
        # samplers share a batch, so each batch passes all of them at once
        each = [seconds.get(name, 0.0) / workers[name] for name in (SAMPLE, JUDGE)]
        return {
            **{f"runtime/busy/{name}": min(1.0, spent / took) for name, spent in busy.items()},
            **{f"runtime/waits/{name}": min(1.0, spent / took) for name, spent in waits.items()},
            "runtime/out": float(len(self.out)),
            "runtime/period": ring_period([*each, busy[LEARN]], self.options.ahead + 1),
        }

    # pauses

    def settle(self) -> None:
        """Waits until every ask that is out is answered and in the journal."""
        self.running.settle()

    def finish(self) -> None:
        """No batch follows: tells the plan all that is out, so that it holds it."""
        while self.out:
            self._tell(self.running.get(LEARN))

    def close(self) -> None:
        """Lets acts that run end; what was sampled and not judged goes to the journal."""
        torch.set_num_threads(self._threads)
        self.beside.give_up_starting()
        for left in self.running.close():
            if isinstance(left.payload, Answer) and not left.payload.entry.judged:
                ask = left.payload.ask
                self.journal.write(ask.number, ask.asked, left.payload.entry)
        self.beside.close()

    # checkpoint

    @property
    def oldest(self) -> int:
        """The first ask whose answer is not told."""
        return min(self.out, default=self.issued)

    def state_dict(self) -> dict[str, Any]:
        """The asks that are out, whose answers `settle` has put into the journal."""
        rows = [{"number": n, **q.asked.without("example").state_dict()} for n, q in self.out.items()]
        return {"issued": self.issued, "out": rows, "born": list(self.ages.born.items())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Asks again what was out; the journal has the answers. Rows of groups that are gone are left out."""
        self.issued = state["issued"]
        self.ages.born = dict(state["born"])
        for saved in state["out"]:
            rows = self.loop.plan.piles.restore(saved)
            known = torch.tensor([group in self.loop.plan.piles.groups for group in rows.group.tolist()])
            if bool(known.any()):
                self._put(Ask(saved["number"], rows.take(known), None, learned=True))

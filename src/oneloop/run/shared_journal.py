"""The journal of a run on many ranks: rank 0 reads, writes and has judged; the others sample with it."""

from collections.abc import Callable
from typing import Any

from oneloop.core.rollouts import Rollouts
from oneloop.parallel.ranks.world import Followed, Ranks
from oneloop.run.journal import Journal, Judge, Sample, Sampled


class SharedJournal:
    """`journal` of rank 0, whose answers all `ranks` get; to be called on all of them at once.

    keeps: whether answers are written down; else rank 0 samples and judges anew each time.
    """

    def __init__(self, ranks: Ranks, journal: Journal, keeps: bool):
        self.ranks, self.journal, self.keeps = ranks, journal, keeps

    def answer(self, asked: Rollouts, sample: Sample, judge: Judge) -> Sampled:
        """(finished and judged, unfinished). Raises Followed where rank 0 has raised."""
        if self.ranks.rank:
            return self._follow(asked, sample)
        try:
            finished, unfinished = self._lead(asked, sample, judge)
        except Exception as error:
            self.ranks.tell("failed", f"{type(error).__name__}: {error}")
            raise
        self.ranks.tell("answer", [piece.without("example").state_dict() for piece in (finished, unfinished)])
        return finished, unfinished

    def _lead(self, asked: Rollouts, sample: Sample, judge: Judge) -> Sampled:
        def with_others(rows: Rollouts) -> Sampled:
            self.ranks.tell("sample")
            return sample(rows)

        if self.keeps:
            return self.journal.answer(asked, with_others, judge)
        finished, unfinished = with_others(asked)
        return judge(finished), unfinished

    def _follow(self, asked: Rollouts, sample: Sample) -> Sampled:
        while True:
            word, said = self.ranks.hear()
            if word == "sample":
                sample(asked)
            elif word == "answer":
                finished, unfinished = (_received(piece, asked) for piece in said)
                return finished, unfinished
            else:
                raise Followed(f"rank 0 has stopped: {said}")


def _received(piece: dict[str, Any], asked: Rollouts) -> Rollouts:
    rollouts = Rollouts.from_state(piece)
    rows = dict(zip(asked.id.tolist(), asked.example, strict=True))
    return rollouts.put(example=[rows[number] for number in rollouts.id.tolist()]).put_facts(**asked.facts)


def led(ranks: Any, judge: Callable[[Rollouts], Rollouts]) -> Callable[[Rollouts], Rollouts]:
    """`judge` as rank 0 alone calls it; all ranks get what it said."""

    def judged(finished: Rollouts) -> Rollouts:
        state = ranks.first(lambda: judge(finished).without("example").state_dict())
        return _received(state, finished)

    return judge if ranks.size == 1 else judged

"""Held-out evaluations of a run: before its first phase, during and after each, greedy and sampled."""

from collections.abc import Iterable, Mapping
from typing import Any

from oneloop.judge.stage import Judging
from oneloop.parallel.ranks.divided import dividing
from oneloop.recipe.recipe import Recipe
from oneloop.report.doctor import fallen
from oneloop.run.evaluation import answered, measure, pattern_of, scorers
from oneloop.run.log import Log
from oneloop.run.metrics import json_safe
from oneloop.run.record import write_held_out
from oneloop.run.shared_journal import led


class Evaluator:
    """Measures `policy` as `recipe.evaluate` says and records it in `log`; nothing where that is None."""

    def __init__(self, recipe: Recipe, policy: Any, log: Log):
        self.recipe, self.policy, self.log = recipe, policy, log
        self._began: dict[str, dict[str, Any]] = {}
        """{mode: evaluation} at the beginning of the phase."""

    def recall(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Takes from the `lines` of metrics.jsonl what a phase in progress began with."""
        ends = [dict(line) for line in lines if line["kind"] == "eval" and line["when"] != "during"]
        self._began = {line["mode"]: line for line in ends}

    def evaluate(self, phase: str, when: str) -> None:
        """Measures the present weights; `when` is before, during or after the phase. Raises Alarm."""
        spec, log = self.recipe.evaluate, self.log
        if spec is None:
            return
        for mode in ("greedy", "sampled"):
            log.show.says(f"evaluating {when} {phase}, {mode}")
            judging = Judging(scorers(self.recipe.evaluation_judges))
            asked = (spec.asked, spec.size, spec.samples, self.recipe.seed, mode, spec.on_bad_row)
            sample, judge = dividing(log.world, self.policy), led(log.world, judging)
            judged = answered(self.policy, judge, *asked, sample=sample)
            if when == "after" and log.metrics.writes:
                write_held_out(log.directory / "held_out" / f"{phase}-{mode}.parquet", judged)
            found = measure(judged, mode, pattern_of(judging)) | log.costs.metrics
            values = {"kind": "eval", "phase": phase, "step": log.step, "when": when, **found}
            log.metrics.write(**json_safe(values))
            log.show.evaluation(values)
            finding = fallen(self._began[mode], values) if mode in self._began else None
            if finding and finding.key not in [earlier.key for earlier in log.findings]:
                log.tell(finding)
            if when != "during":
                self._began[mode] = values
            for flops in spec.flops:
                judged = answered(self.policy, judge, *asked, sample=sample, flops=flops)
                found = {"flops_per_token": flops, **measure(judged, mode, pattern_of(judging))}
                head = {"kind": "budget", "phase": phase, "step": log.step, "when": when}
                log.metrics.write(**json_safe(head | found))

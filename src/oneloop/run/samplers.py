"""What works beside the learner: samplers with copies of the trained weights, and judges."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from oneloop.core.protocols import Remembering, Sampler, Separable
from oneloop.judge.stage import Judging
from oneloop.loop import Judge, unjudged
from oneloop.parallel.runtime.cluster import Cluster
from oneloop.recipe import text as recipe_text
from oneloop.recipe.recipe import Recipe
from oneloop.run.remote import Judges, RemoteJudge, RemoteSampler, Samples, Store


@dataclass
class Beside:
    """Samplers and judges of one phase."""

    samplers: Sequence[Sampler]
    judges: Sequence[Judge]
    close: Callable[[], None] = field(default=lambda: None)
    """Ends what was started for them."""
    give_up_starting: Callable[[], None] = field(default=lambda: None)
    """Ends those that are not ready yet."""


def on_ray(recipe: Recipe, phase: str) -> str:
    """What is started on Ray's workers for a phase, in a sentence; "" for nothing."""
    options, made = recipe.runtime, recipe.phases[phase]
    if options.backend != "ray" or not options.ahead or made.sample != "policy":
        return ""
    where = (
        f"on the cluster at {options.address}" if options.address else "on a cluster of this machine alone"
    )
    judges = "no judge" if _stay(made.judge) else _number(options.judges, "judge")
    return (
        f"Ray: starting {_number(options.samplers, 'sampler')} and {judges} {where}, until {phase} ends; its "
        "first step waits for them to load the model"
    )


def _stay(judges: Sequence[Any]) -> bool:
    """Whether judges work in this process: what one learns, it learns in one place."""
    return not judges or any(isinstance(judge, Remembering) for judge in judges)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def beside(
    recipe: Recipe, phase: str, policy: Any, judging: Judging | None, says: Callable[[str], None]
) -> Beside:
    """What `recipe.runtime` wants. Raises ValueError for a policy that cannot sample with a copy of its
    weights, and NoCluster."""
    options = recipe.runtime
    if not isinstance(policy, Separable):
        raise ValueError(
            f"runtime.ahead: {type(policy).__name__} cannot sample beside its update (it has no method "
            "`apart`); take 0"
        )
    local: list[Judge] = [judging or unjudged]
    if options.backend == "threads":
        return Beside([policy.apart() for _ in range(options.samplers)], local)
    if getattr(recipe.policy, "beside_reference", False):
        raise ValueError("policy.flow.beside_reference: samplers of backend 'ray' have no reference")
    cluster = Cluster(options.address, says)
    try:
        store, threads = Store(), options.sampler_threads or 1
        made = recipe_text.written(recipe), os.getcwd()
        needs = {"cpus": threads, "gpus": options.sampler_gpus}
        samplers = [
            RemoteSampler(cluster.worker(f"sampler {n}", Samples, *made, threads, **needs), store)
            for n in range(options.samplers)
        ]
        if judging is None or _stay(judging.judges):
            return Beside(samplers, local, cluster.close, cluster.give_up_starting)
        # judges wait, or have processes of their own
        workers = [cluster.worker(f"judge {n}", Judges, *made, phase, cpus=0) for n in range(options.judges)]
        judges = [RemoteJudge(worker, store) for worker in workers]
        return Beside(samplers, judges, cluster.close, cluster.give_up_starting)
    except BaseException:
        cluster.close()
        raise

"""Time and memory of an iteration of BranchGRPO, against a flat group and against one call a sample.

One iteration samples 16 images of 32x32 for a prompt in 20 steps, judges them, assigns credit and
takes one optimiser step, with the transformer of the recipe branchgrpo. Contenders take turns:

    per sample      what published trainers do at batch size 1: each image walks alone, its latents before and
                    after every step are kept, each action is forwarded and differentiated alone
    flat            our flat group: 16 chains from one start, all take a step together
    tree            BranchGRPO: forks at 0, 3, 6, 9
    tree, width     the better sibling only (Parent-Top1)
    tree, depth     the last five drawn steps pruned
    mix             forks and a window of 4 drawn steps, averaged over four places of the window

Times are processor seconds; ratios are medians over repeats of ratios within a repeat. Memory: bytes of
latents and noise that a batch keeps, exact, and how far the process grows over one iteration, in a fresh
process each. fp32, one thread. `tree, lean` is the tree learned in pieces of 32 latents.

    python benchmarks/branchgrpo.py [--repeats 3]
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from oneloop.core.orphans import end_with_parent
from oneloop.core.protocols import Part
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.tree import Tree
from oneloop.judge.scene import Scene
from oneloop.loop import leave_out
from oneloop.models.flow.flow_transformer import FlowTransformer
from oneloop.sample.data.shapes import Shapes
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.dress.window import Window
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.denoising.policy import FlowPolicy
from oneloop.sample.policies.flow import Flow
from oneloop.select.prune import Prune
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

RESULT = Path(__file__).parent / "results" / "branchgrpo_time.json"
PROMPTS, LEAVES, STEPS = 1, 16, 20
FLAT = Fork(steps=(0,), factor=LEAVES, correlation=0)
LATE = (14, 15, 16, 17, 18)


@dataclass(frozen=True)
class Method:
    """How a group is sampled, credited, pruned; `alone`: one image and one action at a time; `latents`: how
    many are learned from at a time."""

    dress: tuple[Part, ...] = (Fork(),)
    credit: Part = Tree()
    select: tuple[Part, ...] = ()
    alone: bool = False
    latents: int = 800


METHODS = {
    "per sample": Method((FLAT,), GroupRelative(), alone=True),
    "flat": Method((FLAT,), GroupRelative()),
    "tree": Method(),
    "tree, lean": Method(latents=32),
    "tree, width": Method(select=(Prune(),)),
    "tree, depth": Method(select=(Prune(width="all", steps=LATE),)),
    **{f"mix at {begin}": Method((Fork(), Window(size=4, first=begin, every=0))) for begin in (0, 5, 10, 15)},
}


class Contender:
    """One way of working, with its own network and optimiser."""

    def __init__(self, method: Method):
        self.method = method
        network = FlowTransformer(patch=8, layers=4, words=4, vocabulary=1024)
        self.policy: FlowPolicy = Flow(model=network, steps=STEPS, level=0.6, device="cpu").open()
        cut = self.policy.network.tokens * (1 if method.alone else method.latents)
        learning = Learning(learning_rate=1e-5, tokens_per_micro_batch=cut)
        objective = PolicyGradient(clip_low=1e-3, clip_high=1e-3)
        self.learner = Learner(self.policy, [objective], learning, 1000)
        self.plan = Plan(
            data=Shapes(size=256, most=2), groups=PROMPTS, count=Uniform(n=LEAVES), dress=method.dress
        )
        self.plan.begin(seed=0, steps=1000)
        self.judge = Scene()
        self.seconds: list[dict[str, float]] = []
        self.calls = self.actions = self.kept = 0

    def iterate(self) -> None:
        """One iteration, timed by stage."""
        asked, clock = self.plan.ask(), [time.process_time()]
        before = self.policy.meter.total
        made = self.alone(asked) if self.method.alone else self.policy.sample(asked)[0]
        self.calls = self.policy.meter.total - before
        clock.append(time.process_time())
        judged = self.judge(made)
        judged = judged.put(reward=judged["reward.scene"])
        self.plan.tell(judged, judged.take(torch.zeros(0, dtype=torch.long)))
        batch = self.plan.batch()
        for part in (self.method.credit, *self.method.select, leave_out):
            batch = part(batch)
        clock.append(time.process_time())
        self.learner(batch)
        clock.append(time.process_time())
        names = ("sample", "judge", "learn")
        stages = {name: b - a for name, a, b in zip(names, clock, clock[1:], strict=False)}
        self.seconds.append({**stages, "all": clock[-1] - clock[0]})
        self.actions = int((batch.actions.share > 0).sum())
        # published trainers keep the latent before and the one after each step of each image
        twice = 2 if self.method.alone else 1
        self.kept = twice * batch.actions.latent.nbytes + batch.start.nbytes

    def alone(self, asked: Rollouts) -> Rollouts:
        """Each image by itself: a call of the network for each of its steps."""
        rows = range(len(asked))
        return Rollouts.join([self.policy.sample(asked.take(torch.tensor([row])))[0] for row in rows])


def grown(name: str) -> tuple[int, int]:
    """(bytes by which a first iteration's peak is over what was there before, bytes that a batch keeps)."""
    torch.set_num_threads(1)
    contender = Contender(METHODS[name])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is there now
    before = status("VmRSS")
    contender.iterate()
    return status("VmHWM") - before, contender.kept


def status(name: str) -> int:
    """Bytes of one line of this process's status, such as VmRSS."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and ends."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def with_mix(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """`mix` as the mean over the places of its window, repeat by repeat."""
    places = [times for name, times in seconds.items() if name.startswith("mix at")]
    rest = {name: times for name, times in seconds.items() if not name.startswith("mix at")}
    return {**rest, "mix": [statistics.fmean(at) for at in zip(*places, strict=True)]}


def memories() -> dict[str, tuple[int, int]]:
    """`grown` of every contender, each in a process of its own; of the mixture, one place of its window."""
    names = [name for name in METHODS if name == "mix at 5" or "mix" not in name]
    with multiprocessing.get_context("spawn").Pool(1, end_with_parent, maxtasksperchild=1) as pool:
        found = {name: pool.apply(grown, (name,)) for name in names}
    return {**found, "mix": found.pop("mix at 5")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    contenders = {name: Contender(method) for name, method in METHODS.items()}
    for contender in contenders.values():  # warms up
        contender.iterate()
        contender.seconds.clear()
    for repeat in range(repeats):
        for contender in contenders.values():
            contender.iterate()
        print(repeat, {name: round(c.seconds[-1]["all"], 2) for name, c in contenders.items()}, flush=True)
    seconds = with_mix({name: [s["all"] for s in c.seconds] for name, c in contenders.items()})
    result: dict[str, Any] = {
        "repeats": repeats,
        "prompts": PROMPTS,
        "leaves": LEAVES,
        "steps": STEPS,
        "threads": 1,
    }
    memory = memories()
    for name, times in seconds.items():
        one = contenders["mix at 5" if name == "mix" else name]
        growth, kept = memory[name]
        row = {"seconds": statistics.median(times), "calls": one.calls, "actions": one.actions}
        row |= {
            stage: statistics.median(s[stage] for s in one.seconds) for stage in ("sample", "judge", "learn")
        }
        row |= {"grown_bytes": growth, "kept_bytes": kept}
        for other in ("per sample", "flat"):
            ratios = [own / theirs for own, theirs in zip(times, seconds[other], strict=True)]
            row[f"of {other}"] = summary(ratios)
        result[name] = row
        flat, alone = row["of flat"]["median"], row["of per sample"]["median"]
        print(
            f"{name}: {row['seconds']:.2f} s, {flat:.2f} of flat, {alone:.2f} of per sample "
            f"({1 / alone:.1f} times faster); keeps {kept / 2**20:.1f} MiB, grows by {growth / 2**20:.0f} MiB"
        )
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

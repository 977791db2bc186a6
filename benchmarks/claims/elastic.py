"""One elastic policy against four policies trained alone, at four budgets and the same total FLOPs
(ShiftNAS).

A small Llama learns one-digit sums: a supervised warm start, then GRPO on verified answers. Four budgets of
FLOPs a token buy four subnets.
    elastic    one checkpoint; a budget is drawn for each group, in GRPO by learning progress alone
    four models of those sizes, each trained on a quarter of the FLOPs, a quarter of them warm start too
Both take 2e10 FLOPs (`elastic_long`: 8e10), three quarters of them in the warm start, sampling and learning
counted by the meter of the policy. Each arm has one learning rate for both phases, looked for on a grid of
the same values. Columns: greedy and sampled accuracy at each budget on held-out sums, of which neither the
sum nor its mirror occurs in training, and their means. `cut gap`: the largest difference of logits between a
subnet and the folder it is cut to, loaded again.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.claims.claim import Arm, Claim, Row, Rows
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.loop import Loop
from oneloop.models.language.small_llama import SmallLlama
from oneloop.run.evaluation import answered, measure
from oneloop.sample.data.rows import Rows as DataRows
from oneloop.sample.data.sums import Sums
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.draw.progress import Progress
from oneloop.sample.plan.dress.draw_budget import DrawBudget
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.elastic import ElasticOptions
from oneloop.sample.policies.tokens.elastic_policy import ElasticPolicy
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient
from oneloop.update.objective.supervised import Supervised

BUDGETS = (55_000, 96_000, 181_000, 315_000)
ELASTIC = ElasticOptions(layers=(1, 2), heads=(2,), width=(64,))
WARM = 0.75
"""Share of the FLOPs that the warm start takes."""
GRID = (5e-4, 1.5e-3, 4e-3, 1e-2)
MOST = 10_000
"""Steps that are never reached: FLOPs end a phase."""


def small(seed: int) -> SmallLlama:
    """The whole model, untrained."""
    return SmallLlama(hidden_size=64, layers=3, heads=4, alphabet="0123456789+=", max_positions=32, seed=seed)


def rows(split: Any) -> list[dict[str, Any]]:
    """Questions "3+4=" with their answers, each pair once."""
    sums = Sums(split=split, largest=9)
    pairs = {(row["a"], row["b"]) for row in (sums[key] for key in range(100))}
    return [{"prompt": f"{a}+{b}=", "answer": str(a + b), "completion": str(a + b)} for a, b in sorted(pairs)]


def exact(finished: Rollouts) -> Rollouts:
    """The judge: 1 for the right answer, character by character."""
    right = [text == row["answer"] for text, row in zip(finished.text, finished.example, strict=True)]
    verdict = torch.tensor(right, dtype=torch.float64)
    return finished.put(reward=verdict, correct=verdict)


def spent(policy: LanguagePolicy) -> float:
    """FLOPs so far."""
    return policy.meter.flops(policy.model)


def trained(policy: LanguagePolicy, rate: float, seed: int, flops: float, budgets: Sequence[int]) -> None:
    """Both phases, until `flops` are spent. `budgets`: those that are drawn; () for a model of one size."""
    draw = Progress(every=512)
    drawn = {"column": "flops", "choices": tuple(budgets)}
    data, until = DataRows(rows=rows("train")), WARM * flops
    warm = (DrawBudget(**drawn),) if budgets else ()  # type: ignore[arg-type]
    plan = Plan(data=data, groups=32, count=Uniform(n=1), dress=warm)
    plan.begin(seed, MOST)
    learner = Learner(policy, [Supervised()], Learning(learning_rate=rate, warmup=10), MOST)
    for _ in Loop(plan, policy.demonstrate, None, [], learner).run(MOST):
        if spent(policy) >= until:
            break
    later = (DrawBudget(**drawn, draw=draw),) if budgets else ()  # type: ignore[arg-type]
    plan = Plan(data=data, groups=16, count=Uniform(n=8), dress=later)
    plan.begin(seed, MOST, first=10**9)
    learning = Learning(learning_rate=rate / 10, warmup=10)
    learner = Learner(policy, [PolicyGradient()], learning, MOST)
    for _ in Loop(plan, policy.sample, exact, [GroupRelative()], learner).run(MOST):
        if spent(policy) >= flops:
            break


def accuracy(policy: LanguagePolicy, flops: int | None, mode: str) -> float:
    """On held-out sums, one greedy answer each or eight sampled ones."""
    data = DataRows(rows=rows("test"))
    return float(measure(answered(policy, exact, data, len(data), 8, 0, mode, flops=flops), mode)["accuracy"])


def columns(found: Sequence[tuple[float, float]], work: float) -> dict[str, float]:
    """Of (greedy, sampled) accuracy at each budget."""
    greedy = {f"greedy {budget // 1000}k": pair[0] for budget, pair in zip(BUDGETS, found, strict=True)}
    sampled = {f"sampled {budget // 1000}k": pair[1] for budget, pair in zip(BUDGETS, found, strict=True)}
    means = {"greedy": sum(greedy.values()) / 4, "sampled": sum(sampled.values()) / 4}
    return {**greedy, **sampled, **means, "work": work}


def cut_gap(policy: ElasticPolicy, folder: Path) -> float:
    """Largest difference of logits of a subnet and the folder it is cut to, over all budgets."""
    gaps, ids = [], torch.arange(12)[None] % 8
    for budget in BUDGETS:
        size = policy.subnets.within(budget)
        policy.subnets.cut(size).save_pretrained(folder / str(budget))
        loaded = AutoModelForCausalLM.from_pretrained(folder / str(budget)).eval()
        with torch.no_grad():
            gaps.append(float((loaded(ids).logits - policy.subnets.view(size)(ids).logits).abs().max()))
    return max(gaps)


def train(total: float, arm: str, rate: float, seed: int) -> Row:
    """Accuracies of one arm, which takes `total` FLOPs."""
    with tempfile.TemporaryDirectory() as place:
        if arm == "elastic":
            made = Language(model=small(seed), elastic=ELASTIC, max_new_tokens=3, device="cpu").open()
            assert isinstance(made, ElasticPolicy)
            trained(made, rate, seed, total, BUDGETS)
            found = [(accuracy(made, each, "greedy"), accuracy(made, each, "sampled")) for each in BUDGETS]
            return columns(found, spent(made)) | {"cut gap": cut_gap(made, Path(place))}
        model, tokenizer = small(seed).build()
        subnets, found, work = ELASTIC.subnets(model), [], 0.0
        for budget in BUDGETS:
            folder = Path(place) / str(budget)
            subnets.cut(subnets.within(budget)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            alone = Language(model=str(folder), max_new_tokens=3, device="cpu").open()
            trained(alone, rate, seed, total / 4, ())
            found.append((accuracy(alone, None, "greedy"), accuracy(alone, None, "sampled")))
            work += spent(alone)
        return columns(found, work)


def headline(found: Rows) -> float:
    """Mean sampled accuracy over four budgets: elastic less alone."""
    return found["elastic"]["sampled"] - found["alone"]["sampled"]


def claim(total: float) -> Claim:
    """The claim at `total` FLOPs."""
    return Claim(
        paper="arXiv 2307.08300",
        parts=("language", "draw_budget", "progress"),
        recipe="elastic",
        says="one supernet replaces networks trained alone for each budget (ImageNet; no language models)",
        claim=f"one elastic policy is as accurate at four budgets as four models on the same {total:g} FLOPs",
        target=0.0,
        arms=(Arm("elastic", GRID), Arm("alone", GRID)),
        train=partial(train, total),
        score=lambda row: row["sampled"],
        work="FLOPs of sampling and learning",
        headline=headline,
    )


CLAIM = claim(2e10)

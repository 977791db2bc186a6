"""Seeded contexts on a small Llama: rules it can apply when shown, and does not know by heart.

A tag stands for a hidden word: `ka 3=` wants the word of `ka`, whatever the digit. In the warm start half
of the tags come with their own words, alone or after examples; the other half only ever after examples,
with a new word each time, so that their words can be copied but are not known. Then these tags are asked
alone. The store begins with two solved questions a tag; digits 7 to 9 are never trained on and measure what
is known by heart.
"""

import copy
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.claims.claim import Advance, Rows
from benchmarks.claims.xrpo.classroom import graded
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.loop import Loop
from oneloop.models.language.small_llama import SmallLlama
from oneloop.run.evaluation import evaluate
from oneloop.sample.data.rows import Rows as Data
from oneloop.sample.plan.count.allocate import Allocate
from oneloop.sample.plan.dress.seed_contexts import SeedContexts
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

TAGS = [a + b for a in "bdfgk" for b in "aeou"]
LETTERS = "pqrstvwxyz"
PRETRAINING, STEPS, GROUPS = 400, 60, 8
RATE, WARM_RATE = 5e-4, 3e-3
SIZE = 8
"""Rollouts of a prompt, and as many times the sequences that supervision sees in a step."""
STARTING, TRAINED, HELD_OUT = (0, 1), range(2, 7), range(7, 10)
ARMS: dict[str, tuple[Literal["seeded", "original"] | None, dict[str, Any]]] = {
    # train_on (None: no seeding), options of the objective
    "GRPO": (None, {}),
    "seeded, trained on the question": ("original", {"old": "proximal"}),
}
UNITS = len(ARMS) + 2


def embed(texts: list[str]) -> np.ndarray:
    """[texts, d] by tag, and a little by digit: TF-IDF takes a rare digit for more telling than the tag."""
    vectors = np.zeros((len(texts), len(TAGS) + 10))
    for row, text in enumerate(texts):
        vectors[row, TAGS.index(text[:2])], vectors[row, len(TAGS) + int(text[3])] = 1.0, 0.3
    return vectors


def word(draw: np.random.Generator) -> str:
    """Two letters."""
    return "".join(draw.choice(list(LETTERS), 2))


def demonstrations(words: dict[str, str], draw: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """What the warm start learns from."""
    rows = []
    for _ in range(count):
        place = int(draw.integers(len(TAGS)))
        tag, known = TAGS[place], place % 2 == 0
        shown = int(draw.integers(3)) if known else int(draw.integers(1, 3))
        answer = words[tag] if known else word(draw)
        *examples, asked = draw.permutation(10)[: shown + 1].tolist()
        prompt = "".join(f"{tag} {digit}={answer};" for digit in examples) + f"{tag} {asked}="
        rows.append({"prompt": prompt, "completion": answer, "answer": answer})
    return rows


def questions(words: dict[str, str], digits: range) -> Data:
    """Questions about the hidden tags."""
    hidden = TAGS[1::2]
    return Data(
        rows=[
            {"prompt": f"{t} {d}=", "answer": words[t], "completion": words[t]}
            for t in hidden
            for d in digits
        ]
    )


def solved(words: dict[str, str]) -> list[dict[str, str]]:
    """Two solved questions of each hidden tag."""
    return [{"question": f"{t} {d}=", "solution": words[t]} for t in TAGS[1::2] for d in STARTING]


def warm(seed: int, words: dict[str, str]) -> LanguagePolicy:
    """The model that can copy what it is shown, and knows half of the words."""
    model = SmallLlama(
        hidden_size=64,
        layers=2,
        heads=4,
        alphabet="".join(sorted(set("".join(TAGS)) | set(LETTERS))) + "0123456789 =;",
        max_positions=64,
        seed=seed,
    )
    policy = Language(model=model, max_new_tokens=4, device="cpu").open()
    rows = demonstrations(words, np.random.default_rng(seed), 64 * PRETRAINING)
    supervise(policy, rows, 64, PRETRAINING, WARM_RATE)
    return policy


def supervise(policy: LanguagePolicy, rows: list[dict[str, Any]], size: int, steps: int, rate: float) -> None:
    """Maximum likelihood on the completions of `rows`, `size` at a time, over and over."""
    optimiser = torch.optim.AdamW(policy.model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    ids = [policy.prompts.encode(row["prompt"], "row") for row in rows]
    ends = [policy.prompts.completion(row["prompt"], row["completion"], "row") for row in rows]
    for step in range(steps):
        batch = [(step * size + i) % len(rows) for i in range(size)]
        tokens = pad_sequence([torch.tensor([*ids[i], *ends[i]]) for i in batch], batch_first=True)
        place = torch.arange(tokens.shape[1])
        first, last = (torch.tensor([[len(each[i])] for i in batch]) for each in (ids, ends))
        taught = (place >= first) & (place < first + last)
        loss = policy.model(input_ids=tokens, labels=torch.where(taught, tokens, -100)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def reinforce(
    policy: LanguagePolicy, data: Data, arm: str, words: dict[str, str], held_out: Data, seed: int
) -> dict[str, float]:
    """GRPO with or without seeding, 8 rollouts a prompt in two phases of 4; what it measured on the way."""
    train_on, options = ARMS[arm]
    part = SeedContexts(
        template="{question}{solution};",
        train_on=train_on or "seeded",
        solved=tuple(solved(words)),
        held_out=held_out,
        max_similarity=1.0,
        min_similarity=0.5,
        embedder=embed,
    )
    count = Allocate(phases=2, base=4, mean_budget=SIZE, min_per_prompt=SIZE)
    plan = Plan(data=data, groups=GROUPS, count=count, dress=(part,) if train_on else ())
    plan.begin(seed, STEPS)
    learner = Learner(policy, [PolicyGradient(**options)], Learning(learning_rate=RATE), STEPS)  # type: ignore[arg-type]
    failed = freed = 0
    for batch in Loop(plan, policy.sample, graded, [GroupRelative()], learner).run(STEPS):
        more_failed, more_freed = unstuck(batch)
        failed, freed = failed + more_failed, freed + more_freed
    return {"all-fail prompts solved in the step": freed / max(failed, 1)}


def unstuck(batch: Rollouts) -> tuple[int, int]:
    """(groups whose first phase failed, those of them with a success later in the step)."""
    failed = freed = 0
    for group in batch.group.unique():
        mine = batch.take(batch.group == group)
        if not mine.correct[mine["round"] == 0].any():
            failed, freed = failed + 1, freed + int(mine.correct.any())
    return failed, freed


def by_heart(policy: LanguagePolicy, data: Data, seed: int) -> float:
    """Sampled zero-shot accuracy."""
    return float(evaluate(policy, graded, data, len(data), 8, seed, "sampled")["accuracy"])


def shown(words: dict[str, str]) -> Data:
    """Held-out questions after the two solved ones of their tag."""
    block = {tag: "".join(f"{tag} {d}={words[tag]};" for d in STARTING) for tag in TAGS}
    rows = questions(words, HELD_OUT).rows
    return Data(rows=[{**row, "prompt": block[row["prompt"][:2]] + row["prompt"]} for row in rows])


def run(seed: int, advance: Advance) -> Rows:
    """One row an arm, all from the same warm start."""
    draw = np.random.default_rng([seed, 1])
    words = {tag: word(draw) for tag in TAGS}
    policy = warm(seed, words)
    start, held_out = copy.deepcopy(policy.model.state_dict()), questions(words, HELD_OUT)
    made: dict[str, dict[str, float]] = {}
    made["seeding: before"] = {
        "zero-shot": by_heart(policy, held_out, seed),
        "after examples": by_heart(policy, shown(words), seed),
    }
    advance(f"seed {seed}: warm start")
    for name in [*ARMS, "supervised on the solved examples"]:
        policy.model.load_state_dict(start)
        policy.version = 0
        policy.engine.refresh()
        if name in ARMS:
            row = reinforce(policy, questions(words, TRAINED), name, words, held_out, seed)
        else:
            row = {}
            known = [{"prompt": each["question"], "completion": each["solution"]} for each in solved(words)]
            supervise(policy, known, GROUPS * SIZE, STEPS, RATE)
        made[f"seeding: {name}"] = {
            "zero-shot": by_heart(policy, held_out, seed),
            "after examples": by_heart(policy, shown(words), seed),
            **row,
        }
        advance(f"seed {seed}: seeding, {name}")
    return made

"""D3S against GRPO at a fraction of its update tokens (arXiv 2509.22115): additions of one or two digits.

A Llama of two blocks is taught additions by demonstrations until half of its greedy answers are right: short
sums are then mostly right, long ones often wrong, and many groups are all right, all wrong or lopsided. From
there every arm trains `STEPS` steps of 16 prompts x 16 rollouts from the same weights, on the same prompts,
with the same Adam and learning rate (the best of three for GRPO on a seed not used here); arms differ
in what they select alone. Problems held out are in no phase's training data.

    sampled    mean probability of the right answer on held-out problems: accuracy when sampled, exactly
    greedy     share of them whose likeliest answer is right
    tokens     that entered an update, over all steps; and as a share of GRPO's
    useful     share of the trained rollouts whose advantage is not 0, mean over the steps with one

`GRPO, as many tokens as D3S` is GRPO at the step at which it has spent what D3S spends in all. Not here: wall
time (benchmarks/d3s_update.py), models of useful size, a search of the shares: they are the parts' defaults.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.claims.claim import Advance, Claim, Rows
from oneloop.core import draws
from oneloop.core.protocols import Part
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.loop import Loop
from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.data.rows import Rows as Data
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.select.kept_share import Share
from oneloop.select.mixed_groups import MixedGroups
from oneloop.select.subset import Subset
from oneloop.select.top_tokens import TopTokens
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

STEPS, PROMPTS, ROLLOUTS = 50, 16, 16
TEACHING, BATCH, TAUGHT = 600, 128, 1 / 2
HELD_OUT = 2000
RATE = 3e-4
OPERAND, ANSWER = 2, 3  # digits
EARLY = "GRPO, as many tokens as D3S"
MEASURES = ("sampled", "greedy")
ALPHABET = "0123456789+="
QUARTER = Share(start=0.25)
ARMS: dict[str, tuple[Part, ...]] = {
    "D3S": (Subset(), TopTokens()),
    "D1S-Cross": (Subset(share=QUARTER),),
    "PODS": (Subset(share=QUARTER, scope="group", advantages="renormalised"),),
    "random quarter": (Subset(share=QUARTER, choose="random"),),
    "GRPO without constant groups": (MixedGroups(),),
    "GRPO": (),
}


def problems(seed: int, size: int, held_out: bool = False) -> Tensor:
    """int64 [size, 9], places in `ALPHABET`: operands of 1 or 2 digits padded to 2, the answer reversed.

    A tenth of all problems, told by their hash, is held out: the two kinds share no problem.
    """
    found: list[NDArray[np.int64]] = []
    block = 0
    while sum(len(pairs) for pairs in found) < size:
        drawn = draws.uniforms(draws.mix(seed, block, np.arange(2 * size))[:, None], np.arange(4)[None])
        top = 10 ** (1 + (OPERAND * drawn[:, :2]).astype(np.int64))
        low = np.where(top == 10, 0, top // 10)
        pair = low + (drawn[:, 2:] * (top - low)).astype(np.int64)
        fits = (draws.mix("held out", pair[:, 0], pair[:, 1]) % np.uint64(10) == 0) == held_out
        found.append(pair[fits])
        block += 1
    a, b = np.concatenate(found)[:size].T[:, :, None]
    places, answer = 10 ** np.arange(OPERAND)[::-1], 10 ** np.arange(ANSWER)
    plus, equals = np.full_like(a, ALPHABET.index("+")), np.full_like(a, ALPHABET.index("="))
    written = [a // places % 10, plus, b // places % 10, equals, (a + b) // answer % 10]
    return torch.from_numpy(np.concatenate(written, 1))


def rows(written: Tensor) -> Data:
    """The problems as prompts with the answer beside them."""
    texts = ["".join(ALPHABET[place] for place in line) for line in written.tolist()]
    return Data(rows=[{"prompt": text[:-ANSWER], "answer": text[-ANSWER:]} for text in texts])


def exact(rollouts: Rollouts) -> Rollouts:
    """Reward 1 for the three right digits, else 0."""
    right = [text == row["answer"] for text, row in zip(rollouts.text, rollouts.example, strict=True)]
    return rollouts.put(reward=torch.tensor(right, dtype=torch.float64))


def opened(seed: int) -> LanguagePolicy:
    """The untrained policy."""
    model = SmallLlama(hidden_size=64, layers=2, heads=4, alphabet=ALPHABET, max_positions=16, seed=seed)
    return Language(model=model, max_new_tokens=ANSWER, device="cpu").open()


def tokens(policy: LanguagePolicy, written: Tensor) -> Tensor:
    """Token ids of `written`."""
    return torch.tensor(policy.tokenizer.convert_tokens_to_ids(list(ALPHABET)))[written]


def answer_logits(policy: LanguagePolicy, ids: Tensor) -> Tensor:
    """[problems, 3, V], of the places where the answer stands in `ids` [problems, 9]."""
    logits: Tensor = policy.model(input_ids=ids[:, :-1]).logits[:, -ANSWER:]
    return logits


@torch.no_grad()
def accuracy(policy: LanguagePolicy, ids: Tensor) -> dict[str, float]:
    """Of problems with their answers, `ids` [problems, 9]; both numbers are exact, from one forward.

    A greedy answer is right where every right digit is the likeliest, and a sampled one is right with the
    product of their probabilities.
    """
    logprobs, right = answer_logits(policy, ids).log_softmax(-1), ids[:, -ANSWER:]
    sampled = logprobs.gather(-1, right[..., None]).squeeze(-1).sum(-1).double().exp()
    greedy = (logprobs.argmax(-1) == right).all(-1).double()
    return {"sampled": float(sampled.mean()), "greedy": float(greedy.mean())}


def stream(seed: int, what: str) -> int:
    """A seed of its own for each set of problems."""
    return int(draws.mix(seed, what) >> np.uint64(1))


def taught(seed: int) -> LanguagePolicy:
    """A policy that answers about half of the unseen problems when greedy: cross-entropy on the answers."""
    policy = opened(seed)
    watched = tokens(policy, problems(stream(seed, "watch"), 500, held_out=True))
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=2e-3)
    ids = tokens(policy, problems(stream(seed, "teach"), BATCH * TEACHING))
    for step, batch in enumerate(ids.split(BATCH), start=1):
        logits = answer_logits(policy, batch)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, -ANSWER:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0 and accuracy(policy, watched)["greedy"] >= TAUGHT:
            break
    return policy


def copy_of(policy: LanguagePolicy, seed: int) -> LanguagePolicy:
    """Another policy with the same weights."""
    made = opened(seed)
    made.model.load_state_dict(policy.model.state_dict())
    made.engine.refresh()
    return made


def steps(policy: LanguagePolicy, select: Sequence[Part], seed: int) -> Iterator[Rollouts]:
    """`STEPS` steps of GRPO with these select parts, from the weights the policy has."""
    data = rows(problems(stream(seed, "train"), PROMPTS * STEPS))
    plan = Plan(data=data, groups=PROMPTS, count=Uniform(n=ROLLOUTS), shuffle=False)
    plan.begin(seed, STEPS)
    options = Learning(learning_rate=RATE, warmup=5, betas=(0.9, 0.999))
    learner = Learner(policy, [PolicyGradient()], options, STEPS)
    return Loop(plan, policy.sample, exact, [GroupRelative(), *select], learner).run(STEPS)


def trained(
    policy: LanguagePolicy, select: Sequence[Part], seed: int, unseen: Tensor, budget: float = float("inf")
) -> tuple[dict[str, float], dict[str, float]]:
    """(the row of an arm, its row at the first step at which it had spent `budget` tokens)."""
    spent = useful = 0
    early: dict[str, float] = {}
    for batch in steps(policy, select, seed):
        kept = batch.actions.share > 0
        spent += int(kept.sum())
        useful += int((kept & (batch.actions.advantage != 0)).sum())
        if spent >= budget and not early:
            early = accuracy(policy, unseen) | {"tokens": spent, "useful": useful / spent}
    return accuracy(policy, unseen) | {"tokens": spent, "useful": useful / max(1, spent)}, early


def run(seed: int, advance: Advance) -> Rows:
    """The table of one seed."""
    start = taught(seed)
    unseen = tokens(start, problems(stream(seed, "test"), HELD_OUT, held_out=True))
    advance(f"seed {seed}: taught")
    arms: dict[str, dict[str, float]] = {}
    early: dict[str, float] = {}
    for name, select in ARMS.items():
        budget = arms["D3S"]["tokens"] if name == "GRPO" else float("inf")
        arms[name], early = trained(copy_of(start, seed), select, seed, unseen, budget)
        advance(f"seed {seed}: {name}")
    arms[EARLY] = early
    for row in arms.values():
        row["of GRPO's tokens"] = row["tokens"] / arms["GRPO"]["tokens"]
    gained = {
        f"D3S less {name}": {measure: arms["D3S"][measure] - arms[name][measure] for measure in MEASURES}
        for name in arms
        if name != "D3S"
    }
    return {"start": accuracy(start, unseen)} | dict(reversed(arms.items())) | gained


def headline(rows: Rows) -> float:
    """Sampled accuracy of D3S less that of GRPO; -1, the worst there is, with over half of its tokens."""
    return rows["D3S less GRPO"]["sampled"] if rows["D3S"]["of GRPO's tokens"] <= 0.5 else -1.0


CLAIM = Claim(
    paper="arXiv 2509.22115",
    parts=("subset", "top_tokens"),
    recipe="d3s",
    says="GRPO 29.8, GRPO with D3S 34.3, with PODS 34.1 (mean pass@1 of seven maths sets, Qwen2.5-Math-7B)",
    claim="after as many steps, on at most half the update tokens, accuracy is at least GRPO's less 0.02",
    target=-0.02,
    found=("rollouts chosen at random, as many tokens: the same accuracy (-0.001, -0.025 to 0.023)"),
    run=run,
    headline=headline,
    units=1 + len(ARMS),
)

"""D3S against GRPO and against random rollouts at equal update tokens (arXiv 2509.22115): additions.

A Llama of two blocks is taught additions of one or two digits by demonstrations until half of its greedy
answers are right: short sums are then mostly right, long ones often wrong, and many groups are all right, all
wrong or lopsided. From there every arm trains `STEPS` steps of 16 prompts x 16 rollouts from the same
weights, on the same prompts, with Adam at the arm's own best learning rate; arms differ in what they select
alone. Problems held out are in no phase's training data.

    sampled    mean probability of the right answer on held-out problems: accuracy when sampled, exactly
    greedy     share of them whose likeliest answer is right
    useful     share of the trained tokens whose advantage is not 0
    work       tokens that entered an update, over all steps; as many are sampled by every arm

`random, as many tokens` keeps as large a share of the rollouts, drawn at random, as D3S keeps of the tokens
at the same step. Not here: wall time (benchmarks/d3s_update.py), models of useful size, a search of the
shares: they are the parts' defaults.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from oneloop.core import draws
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
from oneloop.select.subset import Subset
from oneloop.select.top_tokens import TopTokens
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

STEPS, PROMPTS, ROLLOUTS = 25, 16, 16
TEACHING, BATCH, TAUGHT = 600, 128, 1 / 2
HELD_OUT = 2000
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
OPERAND, ANSWER = 2, 3  # digits
ALPHABET = "0123456789+="
Stage = Callable[[Rollouts], Rollouts]


def as_many_tokens(rollouts: Rollouts) -> Rollouts:
    """Keeps rollouts at random, of the batch the share that D3S keeps of the tokens at this step."""
    share = Subset().share.at(rollouts.facts) * TopTokens().share.at(rollouts.facts)
    return Subset(choose="random", share=Share(start=share))(rollouts)


ARMS: dict[str, tuple[Stage, ...]] = {
    "D3S": (Subset(), TopTokens()),
    "random, as many tokens": (as_many_tokens,),
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


@cache
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


def train(arm: str, rate: float, seed: int) -> Row:
    """One arm, from the weights that all arms of the seed start from."""
    start = taught(seed)
    unseen = tokens(start, problems(stream(seed, "test"), HELD_OUT, held_out=True))
    policy = copy_of(start, seed)
    data = rows(problems(stream(seed, "train"), PROMPTS * STEPS))
    plan = Plan(data=data, groups=PROMPTS, count=Uniform(n=ROLLOUTS), shuffle=False)
    plan.begin(seed, STEPS)
    options = Learning(learning_rate=rate, warmup=5, betas=(0.9, 0.999))
    learner = Learner(policy, [PolicyGradient()], options, STEPS)
    stages: list[Any] = [GroupRelative(), *ARMS[arm]]
    spent = useful = 0
    for batch in Loop(plan, policy.sample, exact, stages, learner).run(STEPS):
        kept = batch.actions.share > 0
        spent += int(kept.sum())
        useful += int((kept & (batch.actions.advantage != 0)).sum())
    return accuracy(policy, unseen) | {"useful": useful / max(1, spent), "work": float(spent)}


def before(seed: int, advance: Advance) -> Rows:
    """Accuracy of the weights that all arms start from."""
    start = taught(seed)
    return {"start": accuracy(start, tokens(start, problems(stream(seed, "test"), HELD_OUT, held_out=True)))}


def headline(rows: Rows) -> float:
    """Sampled accuracy of D3S less that of random rollouts at as many tokens."""
    return rows["D3S"]["sampled"] - rows["random, as many tokens"]["sampled"]


CLAIM = Claim(
    paper="arXiv 2509.22115",
    parts=("subset", "top_tokens"),
    recipe="d3s",
    says="GRPO 29.8, GRPO with D3S 34.3, with PODS 34.1 (mean pass@1 of seven maths sets, Qwen2.5-Math-7B)",
    claim="after as many steps, accuracy when sampled is above that of as many tokens of random rollouts by",
    target=0.0,
    arms=tuple(Arm(name, RATES) for name in ARMS),
    train=train,
    score=lambda row: row["sampled"],
    work="tokens that entered an update; as many are sampled by every arm",
    run=before,
    headline=headline,
    units=1,
)

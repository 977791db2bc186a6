"""Put solved examples before prompts on which all rollouts failed (XRPO's in-context seeding).

    prompt' = example_K .. example_1 prompt     the K most similar questions that were solved, nearest last

XRPO (arXiv 2510.06672). The store grows from the policy's own verified successes. A seeded rollout stays in
the group of its question, so its success stands against the plain failures; `seeded` marks it to the end.
`train_on: original` is context distillation: the loss sees the plain question, whose law is not the one that
was sampled from (see `old` of policy_gradient). Needs a count strategy with several rounds, such as allocate.
The paper's template and what it trains on are not known; both are options.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field

from oneloop.core.part import Of, part
from oneloop.core.protocols import Policy, PromptRoom
from oneloop.core.rollouts import Rollouts
from oneloop.measure.text_similarity import TFIDF, similarity
from oneloop.sample.plan.dress.exemplars import Exemplar, Exemplars, block_of

Prompt = str | list[dict[str, Any]]
UNBOUNDED = 1 << 30


def question_of(prompt: Prompt) -> str:
    """The text of a prompt: itself, or what the user said last."""
    if isinstance(prompt, str):
        return prompt
    said = [message["content"] for message in prompt if message.get("role") == "user"]
    return str(said[-1]) if said else ""


def by_characters(prompt: Prompt, example: Mapping[str, Any]) -> PromptRoom:
    """The measure without a policy: a token for each character of the question, and no bound."""
    return PromptRoom(len(question_of(prompt)), UNBOUNDED, UNBOUNDED)


def seeded(prompt: Prompt, block: str) -> Prompt:
    """`prompt` with `block` before it; in a conversation, before what the user says last."""
    if isinstance(prompt, str):
        return block + prompt
    last = max(i for i, message in enumerate(prompt) if message.get("role") == "user")
    message = {**prompt[last], "content": block + prompt[last]["content"]}
    return [*prompt[:last], message, *prompt[last + 1 :]]


@part(
    reads=("context", "example", "round", "solve_rate"),
    writes=("seeded", "context"),
    paper="arXiv 2510.06672",
)
class SeedContexts:
    """Puts solved examples before the prompts of all-fail groups; `seeded`, int64 [n], counts them."""

    learns: ClassVar[tuple[str, ...]] = ("correct", "text")

    examples: Annotated[int, Field(ge=1)] = 2
    """Most solved examples before a question."""
    embedder: str | Callable[..., Any] = TFIDF
    """Text similarity: tfidf, name or folder of a sentence encoder (extra `encoders`), or a Python
    function."""
    min_similarity: Annotated[float, Field(ge=-1, lt=1)] = 0.0
    """Least cosine similarity of an example; if none is above it the prompt stays as it is."""
    max_similarity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Cosine similarity from which two questions count as the same: neither is an example for the other."""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """Most tokens of all examples: solutions are cut first, then examples are left out; never the
    question."""
    answer_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of the context window kept free for the answer; None: as many as without examples."""
    template: str = "{question}\n{solution}\n\n"
    """Template of one example; in a conversation the examples stand in the last user message."""
    train_on: Literal["seeded", "original"] = "seeded"
    """Prompt that the loss is conditioned on: the seeded one that was sampled from, or the original one."""
    capacity: Annotated[int, Field(ge=1)] = 4096
    """Most solved questions stored; the oldest are dropped."""
    solved: tuple[dict[str, str], ...] = ()
    """Initial solved examples, each {question, solution}; empty: only what the policy solves."""
    held_out: Annotated[Any, Of("data")] | None = None
    """Evaluation data whose questions never become examples; None: no such data."""

    def __post_init__(self) -> None:
        for field in ("{question}", "{solution}"):
            if self.template.count(field) != 1:
                raise ValueError(f"template must hold {field} once, got {self.template!r}")
        for example in self.solved:
            if set(example) != {"question", "solution"}:
                raise ValueError(f"solved: an example has question and solution, got {sorted(example)}")
        if not self.min_similarity < self.max_similarity:
            raise ValueError(
                f"min_similarity ({self.min_similarity}) must be below max_similarity ({self.max_similarity})"
            )

    def begin(self) -> None:
        """Forgets everything but `solved`. Raises ValueError when the embedder cannot be loaded."""
        vars(self).pop("store", None)
        assert self.store is not None

    @cached_property
    def store(self) -> Exemplars:
        """The store of solved questions."""
        data = () if self.held_out is None else self.held_out
        held_out = [question_of(data[row]["prompt"]) for row in range(len(data))]
        store = Exemplars(similarity(self.embedder), self.capacity, self.max_similarity, held_out)
        store.add([Exemplar(example["question"], example["solution"]) for example in self.solved])
        return store

    def meet(self, policy: Policy) -> None:
        """From now on prompts are measured as `policy` reads them; before, a character counts as a token."""
        vars(self)["room_of"] = policy.prompt_room

    @cached_property
    def room_of(self) -> Callable[[Any, Mapping[str, Any]], PromptRoom | None]:
        """How long a prompt is, and what may follow it."""
        return by_characters

    def _fits(self, prompt: Prompt, example: Mapping[str, Any]) -> Callable[[str], bool]:
        """Whether a block of examples may stand before `prompt`."""
        bare = self.room_of(prompt, example)
        if bare is None:
            raise ValueError(
                "seed_contexts: this policy reads no prompts of tokens, so none can be lengthened"
            )
        needed = min(bare.limit, bare.left) if self.answer_tokens is None else self.answer_tokens

        def fits(block: str) -> bool:
            whole = self.room_of(seeded(prompt, block), example)
            return (
                whole is not None and whole.tokens - bare.tokens <= self.max_tokens and whole.left >= needed
            )

        return fits

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Fresh rows, those of groups that only failed so far with examples; warns when none is found."""
        stuck = (rollouts.solve_rate == 0).nonzero().squeeze(1).tolist()
        places = {int(rollouts.group[row]): row for row in stuck}
        prompts = [cast(Prompt, rollouts.context[row][0][1]) for row in places.values()]
        found = self.store.nearest(
            [question_of(prompt) for prompt in prompts], self.examples, self.min_similarity
        )
        blocks = {
            group: block_of(each, self.template, self._fits(prompt, rollouts.example[row]))
            for (group, row), prompt, each in zip(places.items(), prompts, found, strict=True)
        }
        if any(count == 0 for _, count in blocks.values()):
            warnings.warn(  # one text always, so that it is said once; the metrics count
                "seed_contexts: no solved example fits some prompt that only failed, so it is asked again as "
                "it is; give some (solved), lower min_similarity, or fewer answer_tokens",
                stacklevel=2,
            )
        context, counts = list(rollouts.context), torch.zeros(len(rollouts), dtype=torch.long)
        for row in stuck:
            block, counts[row] = blocks[int(rollouts.group[row])]
            if block:
                (depth, prompt), *rest = context[row]
                context[row] = ((depth, seeded(prompt, block)), *rest)
        return rollouts.put(context=context, seeded=counts)

    def learn(self, finished: Rollouts) -> Rollouts:
        """Remembers what was solved; returns the rows as they will be trained on."""
        order = finished.id.argsort().tolist()  # not in the order in which they happened to finish
        found = [
            Exemplar(question_of(finished.example[row]["prompt"]), finished.text[row])
            for row in order
            if finished.correct[row] == 1
        ]
        self.store.add([each for each in found if each.question.strip() and each.solution.strip()])
        if self.train_on == "seeded":
            return finished
        plain = [
            ((0, example["prompt"]),) if count else context
            for example, context, count in zip(
                finished.example, finished.context, finished["seeded"].tolist(), strict=True
            )
        ]
        return finished.put(context=plain)

    def state_dict(self) -> dict[str, Any]:
        """The store, as text."""
        return self.store.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, into a part that has begun."""
        self.store.load_state_dict(state)

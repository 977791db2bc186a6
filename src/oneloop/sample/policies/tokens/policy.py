"""A language policy at work: a causal model that is sampled by an engine and trained token by token.

    n rollouts   N actions (tokens)   a tokens of one micro-batch

Sampling is the engine's work; this file turns rollouts into requests and replies into actions, and recomputes
log-probs of actions under newer weights.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oneloop.core import draws
from oneloop.core.meter import Meter
from oneloop.core.protocols import PromptRoom
from oneloop.core.rollouts import Rollouts
from oneloop.engines.law import Law
from oneloop.engines.request import Request
from oneloop.engines.slots import SlotEngine
from oneloop.sample.policies.annotations import annotated
from oneloop.sample.policies.apart import overwrite, second_model
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.chains import by_rollout, chains, extend
from oneloop.sample.policies.tokens.forward import CausalForward, base_model
from oneloop.sample.policies.tokens.here import TokenHere
from oneloop.sample.policies.tokens.loading import load_weights, open_model, save_weights
from oneloop.sample.policies.tokens.micro_batches import micro_batches, packed
from oneloop.sample.policies.tokens.packing import Prompt
from oneloop.sample.policies.tokens.recomputed import recompute_blocks
from oneloop.sample.policies.tokens.reference import LanguageReference
from oneloop.sample.policies.tokens.rows import TokenRows
from oneloop.sample.policies.tokens.spans import cut, token_spans
from oneloop.sample.policies.trees.token_trees import sample_trees


class LanguagePolicy:
    """The model being trained, its engine, and its tokenizer."""

    def __init__(self, options: Language):
        self._opened = open_model(options.model, options.dtype, options.lora, options.kind)
        self.model = self._opened.model
        self.model.to(options.device)
        self.model.eval()  # no dropout, ever: the law that is trained is the law that was sampled
        self.options, self.version = options, 0
        self.units, self.gives = options.units, options.gives
        self.law = Law(options.temperature, options.top_k, options.top_p, options.min_p)
        self.prompts = options.prompts(self.model, self._opened.tokenizer)
        self.tokenizer, self.eos = self.prompts.tokenizer, self.prompts.eos
        self.meter = Meter()
        self._autocast = options.precision == "bf16_autocast"
        self._reference = LanguageReference(self.model, self._autocast, self.prompts.never)
        try:
            self.engine = self._engine()
            self.forward = CausalForward(self.model, self._autocast, self.meter, self.prompts.never)
        except ValueError as error:
            raise ValueError(f"{options.kind.option}: {error}") from error
        if options.checkpointing:
            recompute_blocks(self.model)
        self.rows = TokenRows(self.prompts, self.engine.positions, options.max_new_tokens)
        self.progress: Callable[[int, int], None] | None = None

    def _engine(self) -> SlotEngine:
        options = self.options
        return SlotEngine(
            self.model,
            eos=self.eos,
            law=self.law,
            stop=options.stop,
            decode=self.decode,
            slots=options.slots,
            dtype=torch.bfloat16 if options.sampling_precision == "bf16" else None,
            autocast=self._autocast,
            meter=self.meter,
            never=self.prompts.never,
        )

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, as they stand."""
        return str(self.tokenizer.decode(list(tokens)))

    @property
    def positions(self) -> int:
        """The longest sequence the model can read."""
        return self.engine.positions or 1 << 30

    # sample

    def sample(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, unfinished); unfinished rows come back with exactly the columns they were asked with."""
        if "fork" in asked:
            return self._with_text(sample_trees(self, asked), self.options.stop), asked.take(
                torch.zeros(0, dtype=torch.long)
            )
        requests = [self.request(asked, row, tokens) for row, tokens in enumerate(by_rollout(asked, "token"))]
        enough = asked.facts.get("enough")
        if enough is not None and enough >= len(asked.group.unique()):
            enough = None
        replies = self.engine.generate(requests, enough, self.progress)
        rollouts = extend(asked, replies, self.version)
        done = torch.tensor([status not in ("aborted", "pending") for status in rollouts.status])
        finished, unfinished = rollouts.split(done)
        return self._with_text(finished, self.options.stop), unfinished

    def request(self, asked: Rollouts, row: int, partial: Sequence[float]) -> Request:
        """The engine request for one row that already has the tokens `partial`."""
        prompt, budget = self.prompt(asked, row), int(asked.budget[row])
        left = self.rows.room(prompt.ids, f"data row {int(asked.key[row])}")
        limit = min(self.options.max_new_tokens if budget < 0 else budget, left)
        key = int(draws.mix(asked.facts["seed"], int(asked.id[row])))
        had = tuple(int(token) for token in partial)
        return Request(key, int(asked.group[row]), prompt.ids, limit, had, prompt.features)

    def prompt_room(self, prompt: Any, example: Mapping[str, Any]) -> PromptRoom:
        """See `oneloop.core.protocols.Policy`."""
        tokens = len(self.prompts.encode(prompt, "a prompt that was lengthened", example))
        return PromptRoom(tokens, self.positions - tokens, self.options.max_new_tokens)

    def prompt_ids(self, rollouts: Rollouts, row: int) -> tuple[int, ...]:
        """Token ids of the prompt of one row."""
        return self.prompt(rollouts, row).ids

    def prompt(self, rollouts: Rollouts, row: int) -> Prompt:
        """What the tokens of one row follow."""
        return self.prompts.read(*self.said(rollouts, row))

    def said(self, rollouts: Rollouts, row: int) -> tuple[Any, str, Mapping[str, Any]]:
        """(prompt of one row, its place in words, its data row)."""
        things = rollouts.context[row]
        if len(things) != 1 or things[0][0] != 0:
            raise ValueError("a language policy takes a prompt at depth 0 and nothing later as context")
        example = rollouts.example[row] if "example" in rollouts else {}
        return things[0][1], f"data row {int(rollouts.key[row])}", example

    def demonstrate(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, none): rollouts that somebody else made, from the data's `completion` column.

        Their actions have version -1 and no log-prob (NaN). Raises ValueError naming the row without one.
        """
        read = [
            self.rows.demonstration(example, f"data row {int(key)}")
            for example, key in zip(asked.example, asked.key, strict=True)
        ]
        lists = [ids[:room] for ids, room in read]
        shape: dict[str, Any] = {"token": lists}
        for name, value in {"version": -1, "logprob": float("nan"), "share": 1.0}.items():
            shape[name] = [[value] * len(tokens) for tokens in lists]
        status = ["stop" if tokens[-1] in self.eos else "length" for tokens in lists]
        finished = self._with_text(chains(asked, shape).put(status=status))
        return finished, finished.take(torch.zeros(0, dtype=torch.long))

    def check_row(self, row: dict[str, Any], where: str, demonstrated: bool) -> None:
        """See `oneloop.core.protocols.PolicyOutline`."""
        self.rows.check_row(row, where, demonstrated)

    def _with_text(self, rollouts: Rollouts, stop: Sequence[str] = ()) -> Rollouts:
        silent = frozenset({*self.eos, self.tokenizer.pad_token_id} - {None})
        rows = [[int(token) for token in row] for row in by_rollout(rollouts, "token")]
        decoded = [cut(*token_spans(self.tokenizer, row, silent), stop) for row in rows]
        along = torch.tensor([span for _, row in decoded for span in row], dtype=torch.long).reshape(-1, 2)
        spans = along.new_zeros(len(rollouts.actions), 2)
        spans[rollouts.paths[1]] = (
            along  # leaves of a tree share the tokens, and so the text, of their prefix
        )
        return rollouts.put(text=[text for text, _ in decoded]).put_actions(span=spans)

    @contextmanager
    def greedy(self) -> Iterator[None]:
        """Inside this context sampling takes the most likely token."""
        law = self.law
        self.law = self.engine.law = Law(temperature=0.0)
        try:
            yield
        finally:
            self.law = self.engine.law = law

    # learn

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """Pieces of whole rollouts, at most `budget` tokens forwarded with padding (one rollout at least)."""
        return micro_batches(rollouts, wanted, self.prompt, self.forward, budget)

    def at(self, rollouts: Rollouts, actions: Tensor) -> TokenHere:
        """`actions` [a] under the present weights; their rollouts are forwarded once, whole.

        What the engine has made of the weights makes room, until they are sampled from again.
        """
        self.engine.free()
        rows, sequence = rollouts.owner[actions].unique(return_inverse=True)
        whole = packed(rollouts.take(rows), self.prompt, self.forward)
        return TokenHere(self, whole, sequence, rollouts.depth[actions], rollouts.actions.token[actions])

    def entry(self, model: Any) -> Any:
        """See `oneloop.parallel.ranks.held.Shardable`."""
        return base_model(model).base_model

    @contextmanager
    def learning(self, model: Any, entry: Any) -> Iterator[None]:
        """See `oneloop.parallel.ranks.held.Shardable`."""
        own, self.forward = self.forward, self.forward.through(model, entry)
        self.forward.flattens = False  # layers that lie on ranks keep the attention they were placed with
        try:
            yield
        finally:
            self.forward = own

    def annotate(self, rollouts: Rollouts, columns: Sequence[str]) -> Rollouts:
        """Writes `entropy`, `proximal`, `reference` [N] for actions with share > 0, NaN elsewhere."""
        return annotated(self, rollouts, columns, budget=16384, fresh=self._fresh(rollouts))

    def _fresh(self, rollouts: Rollouts) -> Tensor | None:
        """bool [N], actions that these weights have sampled; None unless sampler and learner agree."""
        exact = self.options.precision == "float32" and self.options.sampling_precision == "same"
        if not exact or not isinstance(self.engine, SlotEngine):
            return None
        fresh = (rollouts.actions.version == self.version) & ~rollouts.actions.logprob.isnan()
        if "seeded" in rollouts:  # may be trained on another prompt than it was sampled from
            fresh &= rollouts["seeded"][rollouts.owner] == 0
        return fresh

    # reference, weights, disk

    def keep_reference(self) -> None:
        """From now on `reference` means the present weights, adapters included."""
        self._reference.keep()

    @property
    def reference(self) -> CausalForward:
        """The forward pass of the reference; raises ValueError when none is kept."""
        return self._reference.forward

    def updated(self) -> None:
        """Call after the weights have changed: counts a new version and refreshes the engine's weights."""
        self.version += 1
        self.engine.refresh()

    def apart(self) -> "LanguagePolicy":
        """See `oneloop.core.protocols.Separable`: own model, engine, tokenizer and meter."""
        made = copy.copy(self)
        made.model = second_model(self.model)
        made.meter, made.progress = Meter(), None
        made.prompts = self.options.prompts(made.model, copy.deepcopy(self._opened.tokenizer))
        made.tokenizer = made.prompts.tokenizer
        made.engine = made._engine()
        made.rows = TokenRows(made.prompts, made.engine.positions, self.options.max_new_tokens)
        return made

    def take(self, weights: Sequence[Tensor], version: int) -> None:
        """See `oneloop.core.protocols.Sampler`."""
        overwrite(self.model, weights)
        self.version = version
        self.engine.refresh()

    def save(self, folder: Path) -> None:
        """Writes a normal Hugging Face folder, of a model or of adapters."""
        save_weights(self._opened, folder)
        self._opened.tokenizer.save_pretrained(folder)

    def state_dict(self) -> dict[str, Any]:
        """State that is not in the saved weights: the version, and weights that only the reference has."""
        return {"version": self.version, "reference": self._reference.state_dict()}

    def restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Continues, to the bit, from the weights that `save` left in `folder`, and `state_dict`'s state."""
        load_weights(self.model, folder)
        self._reference.load_state_dict(state["reference"])
        self.version = state["version"]
        self.engine.refresh()

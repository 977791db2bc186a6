"""A language policy: any Hugging Face causal model whose actions are tokens.

    n rollouts   N actions (tokens)   a tokens of one micro-batch

Sampling is the engine's work; this file turns rollouts into requests and replies into actions, cuts actions
into micro-batches and recomputes their log-probs under newer weights.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import draws
from oneloop.core.memory import device_of
from oneloop.core.meter import Meter
from oneloop.core.part import Of, part
from oneloop.core.protocols import PromptRoom
from oneloop.core.rollouts import Rollouts
from oneloop.engines.hardware import prefers_bf16
from oneloop.engines.law import Law
from oneloop.engines.request import Request
from oneloop.engines.slots import SlotEngine
from oneloop.engines.turns import eos_ids
from oneloop.sample.policies.tokens.chains import by_rollout, chains, extend
from oneloop.sample.policies.tokens.forward import CausalForward
from oneloop.sample.policies.tokens.here import TokenHere
from oneloop.sample.policies.tokens.loading import load_weights, open_model, outline, save_weights
from oneloop.sample.policies.tokens.lora import Lora
from oneloop.sample.policies.tokens.memory import Counted
from oneloop.sample.policies.tokens.outline import LanguageOutline
from oneloop.sample.policies.tokens.packing import Packed, pack, shared_rows
from oneloop.sample.policies.tokens.prompts import Prompts
from oneloop.sample.policies.tokens.rows import TokenRows
from oneloop.sample.policies.tokens.spans import cut, token_spans
from oneloop.sample.policies.trees.token_trees import sample_trees
from oneloop.sample.policies.trees.tree_packing import pack_trees


@part(
    writes=(
        *("last", "status", "text", "actions.parent", "actions.version", "actions.logprob"),
        *("actions.token", "actions.span"),
    )
)
class Language:
    """Options of a language policy; `open()` loads it."""

    units: ClassVar[dict[str, str]] = {"logprob": "nats", "entropy": "discrete"}
    gives: ClassVar[tuple[str, ...]] = ("entropy", "proximal", "reference")

    model: Annotated[Any, Of("language_model", text=True)]
    """Hub name, folder, or a part of `models` such as {small_llama: {}}."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 256
    """Tokens a rollout may have, the end token included (`max_completion_length` elsewhere)."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Sampling temperature; 0 is greedy."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Sample from the k most likely tokens; 0: all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the most likely tokens that hold this much probability; 1: all."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Sample from tokens at least this likely, relative to the likeliest; 0: all."""
    stop: tuple[str, ...] = ()
    """Strings that end a rollout; judges see the text before them."""
    chat_template_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Variables of the model's chat template, such as {enable_thinking: false} of Qwen3."""
    precision: Literal["float32", "bf16_autocast", "bf16", "auto"] = "float32"
    """float32; fp32 weights with bf16 arithmetic; or bf16 weights with an fp32 master in the learner.
    auto: bf16_autocast on a GPU that multiplies bf16, else float32."""
    sampling_precision: Literal["same", "bf16", "auto"] = "same"
    """bf16: the engine keeps a bf16 copy of the weights (faster, not exactly the trained law).
    auto: bf16 where the learner computes in bf16 too, else same."""
    lora: Lora | None = None
    """LoRA options: train adapters instead of all weights; None: all weights."""
    slots: Annotated[int, Field(ge=1)] = 256
    """Sequences sampled at a time."""
    device: str = "auto"
    """Device of model and sampling, such as cuda:0; auto: a GPU when there is one."""

    def open(self) -> "LanguagePolicy":
        """Loads the model; raises ValueError when it cannot be."""
        return LanguagePolicy(self.settled())

    def outline(self) -> LanguageOutline:
        """The policy without weights. Raises ValueError: no such model or device, or one not supported."""
        own = self.settled()
        model, tokenizer = outline(own.model, own.dtype, own.lora)
        narrow = own.sampling_precision == "bf16"
        prompts = prompts_of(model, tokenizer, own.chat_template_kwargs)
        counted = Counted(model, prompts, own.device, own.precision, narrow, own.slots, own.max_new_tokens)
        ours = not isinstance(own.model, str) or (Path(own.model) / "loop").is_dir()  # a run's checkpoint
        try:
            return LanguageOutline(counted, may_chat=not ours)
        except ValueError as error:
            raise ValueError(f"policy.language.model: {error}") from error

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def settled(self) -> "Language":
        """The same options with "auto" replaced by what this machine does best."""
        device = device_of(self.device, "policy.language.device")
        precision, sampling = self.precision, self.sampling_precision
        if precision == "auto":
            precision = "bf16_autocast" if prefers_bf16(torch.device(device)) else "float32"
        if sampling == "auto":
            # beside a learner in fp32 a sampler in bf16 would be the only thing that is not exact
            sampling = "same" if precision == "float32" else "bf16"
        return dataclasses.replace(self, device=device, precision=precision, sampling_precision=sampling)


def prompts_of(model: Any, tokenizer: Any, template_options: Mapping[str, Any]) -> Prompts:
    """The prompt encoder for `model`."""
    embeddings = int(model.get_input_embeddings().weight.shape[0])
    return Prompts(tokenizer, eos_ids(model, tokenizer), template_options, embeddings)


class LanguagePolicy:
    """The model being trained, its engine, and its tokenizer."""

    units, gives = Language.units, Language.gives

    def __init__(self, options: Language):
        self._opened = open_model(options.model, options.dtype, options.lora)
        self.model, self.tokenizer = self._opened.model, self._opened.tokenizer
        self._reference: CausalForward | None = None
        self.model.to(options.device)
        self.model.eval()  # no dropout, ever: the law that is trained is the law that was sampled
        self.options, self.version = options, 0
        self.law = Law(options.temperature, options.top_k, options.top_p, options.min_p)
        self.prompts = prompts_of(self.model, self.tokenizer, options.chat_template_kwargs)
        self.eos = self.prompts.eos
        self.meter = Meter()
        try:
            self.engine = self._engine()
            self.forward = CausalForward(self.model, options.precision == "bf16_autocast", self.meter)
        except ValueError as error:
            raise ValueError(f"policy.language.model: {error}") from error
        self.rows = TokenRows(self.prompts, self.engine.positions, options.max_new_tokens)
        self.progress: Callable[[int, int], None] | None = None

    def _engine(self) -> SlotEngine:
        options = self.options
        dtype = torch.bfloat16 if options.sampling_precision == "bf16" else None
        return SlotEngine(
            self.model,
            eos=self.eos,
            law=self.law,
            stop=options.stop,
            decode=self.decode,
            slots=options.slots,
            dtype=dtype,
            meter=self.meter,
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
        prompt, budget = self.prompt_ids(asked, row), int(asked.budget[row])
        left = self.rows.room(prompt, f"data row {int(asked.key[row])}")
        limit = min(self.options.max_new_tokens if budget < 0 else budget, left)
        key = int(draws.mix(asked.facts["seed"], int(asked.id[row])))
        return Request(key, int(asked.group[row]), prompt, limit, tuple(int(token) for token in partial))

    def prompt_room(self, prompt: Any, example: Mapping[str, Any]) -> PromptRoom:
        """See `oneloop.core.protocols.Policy`."""
        tokens = len(self.prompts.encode(prompt, "a prompt that was lengthened", example))
        return PromptRoom(tokens, self.positions - tokens, self.options.max_new_tokens)

    def prompt_ids(self, rollouts: Rollouts, row: int) -> tuple[int, ...]:
        """Token ids of the prompt of one row."""
        things = rollouts.context[row]
        if len(things) != 1 or things[0][0] != 0:
            raise ValueError("a language policy takes a prompt at depth 0 and nothing later as context")
        example = rollouts.example[row] if "example" in rollouts else {}
        return self.prompts.encode(things[0][1], f"data row {int(rollouts.key[row])}", example)

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
        """Pieces of whole rollouts, at most `budget` tokens forwarded with padding (one rollout at least).

        Rollouts with one prompt go together, and packed rows of like length.
        """
        rows = rollouts.owner[wanted].unique()
        prompts = [self.prompt_ids(rollouts, row) for row in rows.tolist()]
        inputs = (rollouts.length[rows] - 1).tolist()
        longest = max(
            (len(prompt) + tokens for prompt, tokens in zip(prompts, inputs, strict=True)), default=0
        )
        shared = shared_rows(prompts, inputs, min(self.forward.packed_width(longest), budget))
        piece: list[int] = []
        height = widest = 0
        for members, tokens in sorted(shared, key=lambda row: -row[1]):
            if piece and (height + 1) * widest > budget:
                yield self._wanted_of(rollouts, wanted, rows[piece])
                piece, height = [], 0
            widest = widest if piece else tokens
            piece, height = [*piece, *members], height + 1
        if piece:
            yield self._wanted_of(rollouts, wanted, rows[piece])

    def _wanted_of(self, rollouts: Rollouts, wanted: Tensor, rows: Tensor) -> Tensor:
        mine = torch.zeros(len(rollouts), dtype=torch.bool)
        mine[rows] = True
        return (wanted & mine[rollouts.owner]).nonzero().squeeze(1)

    def at(self, rollouts: Rollouts, actions: Tensor) -> TokenHere:
        """`actions` [a] under the present weights; their rollouts are forwarded once, whole."""
        rows, sequence = rollouts.owner[actions].unique(return_inverse=True)
        pieces = rollouts.take(rows)
        completions = [[int(token) for token in tokens] for tokens in by_rollout(pieces, "token")]
        prompts = [self.prompt_ids(pieces, i) for i in range(len(pieces))]
        longest = max(len(prompt) + len(ids) for prompt, ids in zip(prompts, completions, strict=True))
        width = self.forward.packed_width(longest)
        if width and not pieces.structure.is_chain:  # what leaves of a tree share is forwarded once
            row, action = pieces.paths
            paths = [part.tolist() for part in action.split(row.bincount().tolist())]
            packed: Packed = pack_trees(prompts, completions, paths, width)
        else:
            packed = pack(prompts, completions, width)
        return TokenHere(self, packed, sequence, rollouts.depth[actions], rollouts.actions.token[actions])

    @torch.no_grad()
    def annotate(self, rollouts: Rollouts, columns: Sequence[str]) -> Rollouts:
        """Writes `entropy`, `proximal`, `reference` [N] for actions with share > 0, NaN elsewhere."""
        attribute = {"entropy": "entropy", "proximal": "logprob", "reference": "reference"}
        values = {name: torch.full((len(rollouts.actions),), float("nan")) for name in columns}
        for actions in self.batches(rollouts, rollouts.actions.share > 0, budget=16384):
            here = self.at(rollouts, actions)
            for name in columns:
                values[name][actions] = getattr(here, attribute[name]).float().cpu()
        return rollouts.put_actions(values)

    # reference, weights, disk

    def keep_reference(self) -> None:
        """From now on `reference` means the present weights, adapters included."""
        frozen = {id(weight): weight for weight in self.model.parameters() if not weight.requires_grad}
        kept = copy.deepcopy(self.model, frozen).eval().requires_grad_(False)
        self._reference = CausalForward(kept, self.options.precision == "bf16_autocast")

    @property
    def reference(self) -> CausalForward:
        """The forward pass of the reference; raises ValueError when none is kept."""
        if self._reference is None:
            raise ValueError(
                "this policy keeps no reference; a part that reads 'reference' must ask for one first"
            )
        return self._reference

    def updated(self) -> None:
        """Call after the weights have changed: counts a new version and refreshes the engine's weights."""
        self.version += 1
        self.engine.refresh()

    def save(self, folder: Path) -> None:
        """Writes a normal Hugging Face folder, of a model or of adapters."""
        save_weights(self._opened, folder)
        self.tokenizer.save_pretrained(folder)

    def state_dict(self) -> dict[str, Any]:
        """State that is not in the saved weights: the version, and weights that only the reference has."""
        return {"version": self.version, "reference": self._kept() if self._reference is not None else None}

    def _kept(self) -> dict[str, Tensor]:
        """The reference's weights by name, those it shares with the model left out."""
        assert self._reference is not None
        shared = {id(weight) for weight in self.model.parameters()}
        own = self._reference.model.named_parameters()
        return {name: weight.detach() for name, weight in own if id(weight) not in shared}

    def restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Continues, to the bit, from the weights that `save` left in `folder`, and `state_dict`'s state."""
        load_weights(self.model, folder)
        if state["reference"] is not None:
            self.keep_reference()
            with torch.no_grad():
                for name, weight in self._kept().items():
                    weight.copy_(state["reference"][name])
        self.version = state["version"]
        self.engine.refresh()

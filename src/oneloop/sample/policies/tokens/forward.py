"""One forward pass of a causal language model at chosen positions, and log-probs without full logits.

    a chosen actions   H hidden   V vocabulary

Sequences that share a prompt share its forward pass. On a CPU all are one row without padding (`flat`) if the
model takes its attention from there; else there are rows padded on the right (`packing`), and one that holds
a single sequence needs no mask: attention is causal, so padding cannot reach back.
The head runs only where an action was chosen. When a x V is over HELD, log-probs and entropy are computed in
chunks that are recomputed in the backward pass, so that no more fp32 logits than that ever exist at once.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from oneloop.core.meter import Meter
from oneloop.engines.features import together
from oneloop.engines.law import FORBIDDEN, Law
from oneloop.sample.policies.tokens.flat import Flat, flatten
from oneloop.sample.policies.tokens.flat_attention import attending
from oneloop.sample.policies.tokens.packing import WIDTH, Packed, Prompt, pack

HELD = 1 << 26
"""Logits that are kept for the backward pass (256 MiB in fp32); more are computed once more, in chunks."""
CHUNK = 1 << 24
"""Logits of a chunk."""
BLOCK = 1 << 20
"""Log-probs that a CPU's cache holds (4 MiB in fp32)."""


class CausalForward:
    """Hidden states and head of any Hugging Face causal model, PEFT-wrapped or not.

    The split is checked once, against the model's own logits, when this is made. Logits may be the head's
    times one number (Granite, Cohere), which is found there; a model that does more to them is refused with
    ValueError. never: token ids that the law gives no probability.
    """

    def __init__(
        self, model: nn.Module, autocast: bool, meter: Meter | None = None, never: Collection[int] = ()
    ):
        self.model, self.autocast = model, autocast
        self.meter = Meter()  # the check below is not part of a run, which may make it again when it resumes
        inner = base_model(model)
        self.backbone = inner.base_model
        self.output_layer = inner.get_output_embeddings()
        self.softcap = getattr(inner.config.get_text_config(), "final_logit_softcapping", None)
        self.scale = 1.0
        self.sharded = False
        self.never = torch.tensor([], dtype=torch.long)
        try:
            self.vocabulary = int(self.output_layer.weight.shape[0])
            self.width, self.flattens = self._check()
        except Exception as error:  # whatever a model does that was not made for this
            name = type(inner).__name__
            raise ValueError(f"{name} cannot be trained: {error}") from error
        self.never = torch.tensor(sorted(never), dtype=torch.long, device=self.device)
        self.meter = meter or Meter()

    def through(self, model: nn.Module, entry: Any) -> "CausalForward":
        """The same for `model`, a copy of this model, whose decoder is called as `entry`."""
        other = copy.copy(self)
        other.model, other.backbone = model, entry
        other.output_layer = base_model(model).get_output_embeddings()
        other.sharded = True
        return other

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def precision(self) -> AbstractContextManager[Any]:
        """A context of bf16 autocast, or one that does nothing."""
        if not self.autocast:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def hidden(self, packed: Packed | Flat, sequence: Tensor, depth: Tensor) -> Tensor:
        """[a, H]: the last hidden states that predict the tokens at (`sequence` [a], `depth` [a])."""
        device = self.device
        attention: AbstractContextManager[Any] = nullcontext()
        self.meter.add(packed.tokens)
        if isinstance(packed, Flat):
            options = {"position_ids": packed.positions.to(device)}
            attention = attending(self._config, packed.blocks)
        else:
            options = self._options(packed)
        self._embed_sparsely()
        with self.precision(), attention:
            states = self.backbone(
                input_ids=packed.ids.to(device), use_cache=False, **options
            ).last_hidden_state
        row, column = packed.place(sequence, depth)
        chosen: Tensor = states[row.to(device), column.to(device)]
        return chosen

    def _options(self, packed: Packed) -> dict[str, Tensor]:
        """What the backbone takes besides the ids of padded rows."""
        options, dtype, turned = dict[str, Tensor](), next(self.model.parameters()).dtype, packed.turned
        if packed.shares or turned is not None:
            mask = packed.mask(torch.bfloat16 if self.autocast else dtype)
            positions = packed.positions if turned is None else turned
            options = {"attention_mask": mask.to(self.device), "position_ids": positions.to(self.device)}
        shown = [features for features in packed.features if features is not None]
        return options | together(shown, self.device, dtype)

    @property
    def _config(self) -> Any:
        """The configuration of the layers of text."""
        return base_model(self.model).config.get_text_config()

    def _embed_sparsely(self) -> None:
        """Lets the gradient of an embedding be the rows that occur, where it is added to the head's.

        Else it is dense, [V, H] of zeros but for those rows, which takes 4 % of an update of SmolLM2.
        """
        embedding, head = base_model(self.model).get_input_embeddings(), self.output_layer
        if isinstance(embedding, nn.Embedding):
            embedding.sparse = embedding.weight is head.weight and not self.sharded

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [a, V] of hidden states [a, H]."""
        with self.precision():
            logits: Tensor = self.output_layer(hidden)
            logits = logits if self.scale == 1 else logits * self.scale
            logits = torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits
            return logits.index_fill(-1, self.never, FORBIDDEN) if len(self.never) else logits

    @torch.no_grad()
    def _check(self) -> tuple[int, bool]:
        """(Width of the packed rows this model can take, 0 when it must see each sequence alone; whether it
        can take all in one row).
        """
        prompt, completions = [0, 1, 2], [[1, 2, 1], [2, 1, 2]]
        ids = torch.tensor([prompt + completion[:-1] for completion in completions]).to(self.device)
        with self.precision():
            whole = self.model(input_ids=ids, use_cache=False).logits[:, 2:].flatten(0, 1).float()
        sequence, depth = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2] * 2)
        prompts = [Prompt((0, 1, 2))] * 2
        alone, together = (pack(prompts, completions, width) for width in (0, WIDTH))
        if not bool(whole.isfinite().all()):
            raise ValueError("its logits are not finite numbers")
        if not self._close(whole, alone, sequence, depth):
            self.scale = self._factor(ids, alone, sequence, depth)
            if self.softcap or not self._close(whole, alone, sequence, depth):
                raise ValueError("it does more to its logits than its output layer and one factor")
        width = WIDTH if self._close(whole, together, sequence, depth) else 0
        return width, width > 0 and self._takes_flat(whole, flatten(prompts, completions), sequence, depth)

    def _takes_flat(self, whole: Tensor, flat: Flat, sequence: Tensor, depth: Tensor) -> bool:
        """Whether every layer attends by the blocks of `flat`, and the logits are the model's."""
        # elsewhere torch has fused functions for dense rows
        if self.device.type != "cpu" or self._config._attn_implementation != "sdpa":
            return False
        try:
            with self.precision(), attending(self._config, flat.blocks) as attended:
                self.backbone(input_ids=flat.ids, position_ids=flat.positions, use_cache=False)
            every = len(attended) == self._config.num_hidden_layers
            return every and self._close(whole, flat, sequence, depth)
        except Exception:  # whatever a model does whose attention was not made for this
            return False

    def _factor(self, ids: Tensor, packed: Packed, sequence: Tensor, depth: Tensor) -> float:
        """The factor between the head's output and the logits, by least squares."""
        autocast, self.autocast = self.autocast, False
        whole = self.model(input_ids=ids, use_cache=False).logits[:, 2:].flatten(0, 1).double()
        split = self.head(self.hidden(packed, sequence, depth)).double()
        self.autocast = autocast
        return float((whole * split).sum() / (split * split).sum())

    def packed_width(self, longest: int) -> int:
        """Width of packed rows when the longest sequence has `longest` tokens.

        0, nothing is packed, where a sliding window would hide something: the mask of packed rows has none.
        """
        window = getattr(self._config, "sliding_window", None)
        return self.width if window is None or longest <= window else 0

    def flat(self, prompts: Sequence[Prompt], longest: int) -> bool:
        """Whether sequences of at most `longest` tokens that begin with `prompts` go in one row.

        Long ones do not: torch's function for whole rows is faster then.
        """
        plain = all(prompt.features is None for prompt in prompts)
        return self.flattens and plain and longest <= self.packed_width(longest)

    def _close(self, whole: Tensor, packed: Packed | Flat, sequence: Tensor, depth: Tensor) -> bool:
        tolerance = 1e-3 if whole.dtype == torch.float32 and not self.autocast else 5e-2
        split = self.head(self.hidden(packed, sequence, depth)).float()
        return torch.allclose(whole, split, rtol=tolerance, atol=tolerance)


def base_model(model: Any) -> Any:
    """The causal model inside PEFT's wrapper, if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def token_logprobs(
    hidden: Tensor, head: Callable[[Tensor], Tensor], tokens: Tensor, law: Law, vocabulary: int
) -> tuple[Tensor, Tensor]:
    """(logprob [a], entropy [a]) of `tokens` [a] under `law`.

    More than HELD logits are made in chunks, and once more in the backward pass.
    """
    if len(tokens) * vocabulary <= HELD:
        return chosen_logprob(head(hidden), tokens, law)
    width = max(1, CHUNK // vocabulary)

    def chunk(states: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        return chosen_logprob(head(states), chosen, law)

    pieces = [
        checkpoint(chunk, states, chosen, use_reentrant=False)
        for states, chosen in zip(hidden.split(width), tokens.split(width), strict=True)
    ]
    logprobs, entropies = zip(*pieces, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def chosen_logprob(logits: Tensor, tokens: Tensor, law: Law) -> tuple[Tensor, Tensor]:
    """(logprob [a], entropy [a]), in fp32 at least, of `tokens` [a] under `law`, given logits [a, V].

    Under top-k, top-p or min-p the weights may have moved since the token was drawn, so that it falls
    out of the kept set; it is put back: the law is renormalised over what is kept now and the token.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if law.temperature not in (0, 1):
        logits = logits / law.temperature
    if law.truncates:
        kept = law.kept(logits).scatter(1, tokens[:, None], True)
        logits = logits.masked_fill(~kept, float("-inf"))
    return _OfChosen.apply(logits, tokens)  # type: ignore[no-any-return]


class _OfChosen(torch.autograd.Function):
    """(logprob [a], entropy [a]) of `tokens` [a] under softmax of logits [a, V].

    In plain operations the same takes four more passes over [a, V], and twice the memory.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen tokens' log-probs, and entropies."""
        ctx.set_materialize_grads(False)
        logprobs, entropy = torch.empty_like(logits), logits.new_empty(len(logits))
        chosen = torch.empty_like(entropy)
        for rows in _blocks(logits):
            block = logprobs[rows]
            torch.log_softmax(logits[rows], dim=-1, out=block)
            chosen[rows] = block.gather(1, tokens[rows, None]).squeeze(1)
            block.clamp_(min=FORBIDDEN)  # finite, for a probability of 0 is multiplied by it
            entropy[rows] = block.exp().mul_(block).sum(-1).neg_()
        ctx.save_for_backward(logprobs, tokens, entropy)
        return chosen, entropy

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, logprob: Tensor | None, entropy: Tensor | None) -> tuple[Tensor | None, None]:
        """d logprob = 1[chosen] - p; d entropy = -p (log p + entropy)."""
        if logprob is None and entropy is None:
            return None, None
        logprobs, tokens, entropies = ctx.saved_tensors
        slope = torch.empty_like(logprobs)
        for rows in _blocks(logprobs):
            block = torch.exp(logprobs[rows], out=slope[rows])
            if entropy is not None:
                away = (logprobs[rows] + entropies[rows, None]).mul_(entropy[rows, None])
                block.mul_(away if logprob is None else away.add_(logprob[rows, None])).neg_()
            elif logprob is not None:
                block.mul_(-logprob[rows, None])
        if logprob is not None:
            slope.scatter_add_(1, tokens[:, None], logprob[:, None])
        return slope, None


def _blocks(logits: Tensor) -> Iterator[slice]:
    """Rows that stay in a CPU's cache from one operation to the next; elsewhere all of them."""
    rows = max(1, BLOCK // logits.shape[1]) if logits.device.type == "cpu" else max(1, len(logits))
    for start in range(0, len(logits), rows):
        yield slice(start, start + rows)

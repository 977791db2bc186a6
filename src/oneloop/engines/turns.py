"""The ends of a turn: the model's end tokens and the user's stop strings.

Not here: the length limit (request.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

TURN_ENDS = (
    "<|im_end|>",  # ChatML: Qwen, Yi, many others
    "<|end|>",  # Phi-3
    "<end_of_turn>",  # Gemma
    "<|eot_id|>",  # Llama 3
    "<|eom_id|>",  # Llama 3.1, a turn that ends in a tool call
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|return|>",  # gpt-oss
)


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> set[int]:
    """All token ids that end a turn: of generation config, model config, tokenizer and chat template.

    A turn-end token of a known template counts when the vocabulary has it as a special token. The pad token
    is in the set only if one of these sources names it as an end.
    """
    ends = _as_set(getattr(model.generation_config, "eos_token_id", None))
    ends |= _as_set(getattr(model.config, "eos_token_id", None))
    if tokenizer is not None:
        ends |= _as_set(tokenizer.eos_token_id)
        special = tokenizer.get_added_vocab()
        marked = set(tokenizer.all_special_tokens)
        marked |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        ends |= {special[text] for text in TURN_ENDS if text in special and text in marked} - {
            tokenizer.pad_token_id
        }
        ends |= _as_set(tokenizer.eos_token_id)
    return ends


def _as_set(ids: int | Sequence[int] | None) -> set[int]:
    if ids is None:
        return set()
    return {ids} if isinstance(ids, int) else set(ids)


class StopStrings:
    """Finds the first token after which the decoded completion contains a stop string.

    Only the last few tokens are decoded at each step; a hit is confirmed on the whole completion, because a
    tokenizer may decode the first token of a piece differently (dropped spaces, halves of a character).
    """

    def __init__(self, stop: Sequence[str], decode: Callable[[Sequence[int]], str] | None) -> None:
        if isinstance(stop, str) or any(not isinstance(text, str) or not text for text in stop):
            raise ValueError(f"stop: got {stop!r}, must be a list of non-empty strings")
        if stop and decode is None:
            raise ValueError(f"stop: got {list(stop)!r} but no decode function; pass decode=tokenizer.decode")
        self._stop = tuple(stop)
        self._decode = decode
        self._reach = max(map(len, self._stop), default=0)

    def __bool__(self) -> bool:
        return bool(self._stop)

    def ended(self, completion: Sequence[int]) -> bool:
        """Whether the completion (ids, newest last) contains a stop string that its prefixes did not."""
        assert self._decode is not None
        needed = (
            self._reach + len(self._decode(completion[-1:])) + 8
        )  # 8: room for a garbled start of the piece
        tokens = 2 * needed
        while True:
            text = self._decode(completion[-tokens:])
            if len(text) >= needed or tokens >= len(completion):
                break
            tokens *= 2
        if not any(stop in text for stop in self._stop):
            return False
        return tokens >= len(completion) or any(stop in self._decode(completion) for stop in self._stop)

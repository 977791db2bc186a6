"""A small Llama model with a character-level tokenizer, built locally: nothing is downloaded.

For demonstrations, tests and claims that must run in minutes on two cores. With the defaults it has 3.2 M
parameters and a vocabulary of about a hundred characters. The weights are random: warm-start it by a
supervised phase. Left out: grouped-query attention, tied embeddings, any sub-word vocabulary.
"""

import string
from typing import Annotated

from pydantic import Field
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from oneloop.core.part import part
from oneloop.models.seeded import Seed, seeded

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
ROLES = ("<system>", "<user>", "<assistant>")
SPECIAL = (PAD, BOS, EOS, *ROLES)

# one token opens a turn, EOS closes the assistant's: a conversation is a prefix of its continuation
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@part()
class SmallLlama:
    """A Llama of `layers` blocks of width `hidden_size`; `seed` fixes its initial weights."""

    hidden_size: Annotated[int, Field(ge=2)] = 256
    """Width of the residual stream, a multiple of 2 * heads (rotary embeddings turn pairs)."""
    layers: Annotated[int, Field(ge=1, le=1000)] = 4
    """Number of transformer blocks."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of each block."""
    alphabet: Annotated[str, Field(min_length=1)] = (
        string.ascii_letters + string.digits + string.punctuation + " \n"
    )
    """The characters it reads and writes, one token each; any other character in a prompt is an error."""
    max_positions: Annotated[int, Field(ge=2)] = 1024
    """Longest prompt and completion together, in characters."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.hidden_size % (step := 2 * self.heads):
            options = ", ".join(str(value) for value in nearest_multiples(self.hidden_size, step))
            raise ValueError(
                f"hidden_size must be a multiple of 2 * heads = {step}, got {self.hidden_size}; "
                f"nearest: {options}"
            )
        if repeated := sorted({c for c in self.alphabet if self.alphabet.count(c) > 1}):
            raise ValueError(f"alphabet has repeated characters: {repeated}")

    def build(self) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
        """(model in fp32 on the CPU, tokenizer). Does not change torch's global random state."""
        tokenizer = character_tokenizer(self.alphabet, self.max_positions)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            # the usual 8/3 of the width, rounded up to what a vector unit likes
            intermediate_size=-(-self.hidden_size * 8 // 3 // 16) * 16,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=self.max_positions,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        with seeded(self.seed):
            return LlamaForCausalLM(config), tokenizer


def character_tokenizer(alphabet: str, max_positions: int) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per character of `alphabet`, after the special tokens; it adds no BOS.

    There is no unknown token: a character outside the alphabet raises an error instead of vanishing.
    """
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(WordLevel(vocabulary))
    tokenizer.pre_tokenizer = Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens=list(ROLES),
        model_max_length=max_positions,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def nearest_multiples(value: int, step: int, count: int = 3) -> list[int]:
    """The `count` positive multiples of `step` nearest to `value`, ascending."""
    around = range(max(1, value // step - count), value // step + count + 1)
    return sorted(sorted((step * k for k in around), key=lambda multiple: abs(multiple - value))[:count])

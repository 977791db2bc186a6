"""turns.py: end tokens from every source, stop strings by a window equal to decoding everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from oneloop.engines.turns import StopStrings, eos_ids


def byte_tokenizer(special=(), **named):
    """A tokenizer of one token a byte, decoded through UTF-8 as byte-level BPE does."""
    alphabet = {letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=list(special), **named
    )


def test_all_sources_of_end_tokens_count():
    model = tiny("llama")
    assert eos_ids(model) == set()
    model.config.eos_token_id = 5
    model.generation_config.eos_token_id = [6, 7]
    assert eos_ids(model) == {5, 6, 7}
    tokenizer = byte_tokenizer(["<|im_end|>", "<|im_start|>"], eos_token="</s>", pad_token="<pad>")
    ends = {tokenizer.convert_tokens_to_ids(text) for text in ("<|im_end|>", "</s>")}
    assert eos_ids(model, tokenizer) == {5, 6, 7} | ends


@pytest.mark.parametrize("end", ["<|im_end|>", "<|end|>", "<end_of_turn>", "<|eot_id|>"])
def test_pad_is_an_end_only_where_it_is_named_as_one(end):
    model = tiny("llama")
    padded = byte_tokenizer([end], pad_token="<|endoftext|>")
    assert eos_ids(model, padded) == {padded.convert_tokens_to_ids(end)}
    both = byte_tokenizer([end], pad_token="<|endoftext|>", eos_token="<|endoftext|>")
    assert eos_ids(model, both) == {both.convert_tokens_to_ids(text) for text in (end, "<|endoftext|>")}


def test_ordinary_text_is_no_end_token():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<|im_end|>"])  # in the vocabulary, but not special
    assert eos_ids(tiny("llama"), tokenizer) == set()


@given(
    st.text("ab é日😀", max_size=40),
    st.lists(st.text("ab é日", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_the_window_finds_what_decoding_everything_finds(text, stop):
    tokenizer = byte_tokenizer()
    ids = tokenizer(text)["input_ids"]
    stops = StopStrings(stop, tokenizer.decode)
    for n in range(1, len(ids) + 1):
        whole = tokenizer.decode(ids[:n])
        found = any(string in whole for string in stop)
        assert stops.ended(ids[:n]) == found
        if found:
            break


def test_long_completions_are_decoded_by_their_tail():
    decoded = []

    def decode(ids):
        decoded.append(len(ids))
        return "".join(chr(ids_) for ids_ in ids)

    stops = StopStrings(["END"], decode)
    assert not stops.ended([97] * 5000) and max(decoded) < 100
    assert stops.ended([97] * 5000 + [ord(c) for c in "END"])


def test_bad_stop_strings_are_refused():
    for stop in ("END", [""], [3]):
        with pytest.raises(ValueError, match="must be a list of non-empty strings"):
            StopStrings(stop, str)
    with pytest.raises(ValueError, match="no decode function"):
        StopStrings(["END"], None)

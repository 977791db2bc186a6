"""Spans of sampled tokens: they follow the text for any tokenizer, without tokenising it again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import PreTrainedTokenizerFast

from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.spans import cut, token_spans

SMALL = SmallLlama(hidden_size=8, layers=1, heads=1)


def byte_level():
    """Every byte is a token; two merges make tokens of several bytes."""
    alphabet = sorted(ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, "ĊĊ", ".ĊĊ"])}
    tokenizer = Tokenizer(BPE(vocabulary, [("Ċ", "Ċ"), (".", "ĊĊ")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        ByteLevel(add_prefix_space=False, use_regex=False),
        ByteLevelDecoder(),
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def word_piece():
    """Its decoder cleans up: no space before a comma, none inside a word."""
    vocabulary = {word: i for i, word in enumerate(["so", ",", "##me", "one", "."])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="."))
    tokenizer.pre_tokenizer, tokenizer.decoder = Whitespace(), WordPieceDecoder()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


class Slow:
    """A tokenizer without a fast backend."""

    def __init__(self, fast):
        self.fast = fast

    def decode(self, ids, skip_special_tokens):
        return self.fast.decode(ids, skip_special_tokens=skip_special_tokens)


BYTES = byte_level()


def pieces(tokenizer, ids, silent=frozenset()):
    text, spans = token_spans(tokenizer, ids, silent)
    return [text[start:end] for start, end in spans]


def check(text, spans):
    """Spans are in order, cover the text, and overlap only where they are the same character."""
    reached = 0
    for start, end in spans:
        assert 0 <= start <= end <= len(text)
        assert start == reached or (spans and start <= reached == end)
        reached = end
    assert reached == (len(text) if spans else 0)


@pytest.mark.parametrize("wrap", [lambda tokenizer: tokenizer, Slow], ids=["fast", "slow"])
def test_end_tokens_are_empty_and_characters_are_one_each(wrap):
    _, tokenizer = SMALL.build()
    ids = tokenizer("3+4=7\n\n7")["input_ids"]
    end = tokenizer.eos_token_id
    text, spans = token_spans(wrap(tokenizer), [*ids[:3], end, *ids[3:], end], frozenset({end}))
    assert text == "3+4=7\n\n7"
    assert spans == [(0, 1), (1, 2), (2, 3), (3, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 8)]


@pytest.mark.parametrize("wrap", [lambda tokenizer: tokenizer, Slow], ids=["fast", "slow"])
def test_bytes_of_one_character_share_it_and_tokens_may_straddle(wrap):
    ids = BYTES("né.\n\n😀x")["input_ids"]
    assert pieces(wrap(BYTES), ids) == ["n", "é", "é", ".\n\n", *["😀"] * 4, "x"]


@pytest.mark.parametrize("wrap", [lambda tokenizer: tokenizer, Slow], ids=["fast", "slow"])
def test_a_decoder_that_cleans_up(wrap):
    tokenizer = word_piece()
    text, spans = token_spans(wrap(tokenizer), [0, 2, 1, 3, 4], frozenset())
    assert text == tokenizer.decode([0, 2, 1, 3, 4])
    check(text, spans)
    assert [text[start:end].strip() for start, end in spans] == ["so", "me", ",", "one", "."]


@given(st.lists(st.integers(0, len(BYTES) - 1), max_size=24), st.booleans())
def test_any_bytes_at_all(ids, slow):
    text, spans = token_spans(Slow(BYTES) if slow else BYTES, ids, frozenset())
    assert text == BYTES.decode(ids) and len(spans) == len(ids)
    check(text, spans)


def test_a_policy_writes_spans_of_what_it_sampled_and_of_demonstrations():
    policy = Language(model=SMALL, max_new_tokens=6).open()
    from oneloop.run.evaluation import held_out

    rows = [{"prompt": "1+1=", "completion": "two\n\n"}]
    asked = held_out(rows, 1, 3, 0)
    for sampled, _ in (policy.sample(asked), policy.demonstrate(asked)):
        row, action = sampled.paths
        for i, text in enumerate(sampled.text):
            spans = sampled.actions.span[action[row == i]].tolist()
            check(text, [tuple(span) for span in spans])
            own = sampled.actions.token[action[row == i]].tolist()
            spelled = [text[start:end] for start, end in spans]
            silent = {policy.tokenizer.eos_token_id, policy.tokenizer.pad_token_id}
            assert spelled == ["" if t in silent else policy.tokenizer.decode([t]) for t in own]


def test_special_tokens_are_written_and_only_silent_ones_are_not():
    _, tokenizer = SMALL.build()
    ids = tokenizer("<user>3<assistant>4<eos>")["input_ids"]
    text, spans = token_spans(tokenizer, ids, frozenset({tokenizer.eos_token_id}))
    assert text == "<user>3<assistant>4"
    assert spans == [(0, 6), (6, 7), (7, 18), (18, 19), (19, 19)]


def test_a_text_ends_before_the_first_stop_text():
    spans = [(0, 1), (1, 3), (3, 5), (5, 5)]
    assert cut("4##ab", spans, ()) == ("4##ab", spans)
    assert cut("4##ab", spans, ("#", "##a")) == ("4", [(0, 1), (1, 1), (1, 1), (1, 1)])
    assert cut("4##ab", spans, ("b", "#a")) == ("4#", [(0, 1), (1, 2), (2, 2), (2, 2)])


def test_judges_see_the_text_before_a_stop_text():
    from oneloop.run.evaluation import held_out

    policy = Language(model=SMALL, max_new_tokens=40, stop=("k", "7")).open()
    finished, _ = policy.sample(held_out([{"prompt": "1+1="}], 1, 8, 0))
    assert "stop" in finished.status
    for row, status in enumerate(finished.status):
        assert not {"k", "7"} & set(finished.text[row])
        if status == "stop":
            tokens = finished.actions.token[finished.paths[1][finished.paths[0] == row]]
            assert policy.decode([int(tokens[-1])]) in ("k", "7", "<eos>")

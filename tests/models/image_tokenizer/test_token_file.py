import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.models.image_tokenizer.packing import pack_tokens, packed_size, unpack_tokens
from oneloop.models.image_tokenizer.token_file import (
    HEADER,
    TokenFileError,
    from_bytes,
    read_tokens,
    to_bytes,
    token_file,
    write_tokens,
)
from tests.models.image_tokenizer.tiny import pictures, tiny

DIGEST = bytes(range(16))


def test_the_worked_examples():
    assert pack_tokens(torch.tensor([887, 3979, 349]), 12).hex() == "377f8b15d0"
    assert [packed_size(count, 12) for count in (1, 2, 8, 32, 256)] == [2, 3, 12, 48, 384]


@given(
    st.integers(1, 16).flatmap(lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1))))
)
def test_tokens_come_back_from_their_bits(given):
    bits, values = given
    packed = pack_tokens(torch.tensor(values, dtype=torch.long), bits)
    assert len(packed) == packed_size(len(values), bits)
    assert unpack_tokens(packed, bits, len(values)).tolist() == values


def test_bits_that_do_not_do():
    with pytest.raises(ValueError, match=re.escape("lies in 0..7, got 1 to 8")):
        pack_tokens(torch.tensor([1, 8]), 3)
    with pytest.raises(ValueError, match="1 to 16 bits, got 17"):
        pack_tokens(torch.tensor([1]), 17)
    with pytest.raises(ValueError, match="2 bytes hold 1 tokens of 12 bits, not 2"):
        unpack_tokens(b"ab", 12, 2)


def some(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 32, (length,), generator=generator) for length in lengths]


@pytest.mark.parametrize("lengths", [[7], [3, 3, 3], [1, 7, 4]])
def test_a_file_gives_back_what_was_written(lengths, tmp_path):
    tokens, config = some(lengths), tiny().config
    size = write_tokens(tmp_path / "a.1dp", token_file(tokens, config, DIGEST))
    table = 0 if len(set(lengths)) == 1 else 2 * len(lengths)
    assert size == HEADER + table + packed_size(sum(lengths), 5) == (tmp_path / "a.1dp").stat().st_size
    file = read_tokens(tmp_path / "a.1dp", DIGEST)
    assert [each.tolist() for each in file.tokens] == [each.tolist() for each in tokens]
    assert (file.height, file.width, file.bits, file.whole, file.lost) == (8, 8, 5, 7, 0)
    assert HEADER == 30


@pytest.mark.parametrize("lengths", [[7], [3, 3, 3], [1, 7, 4]])
def test_a_file_that_ends_early_gives_its_complete_tokens(lengths):
    tokens, config = some(lengths), tiny().config
    data = to_bytes(token_file(tokens, config, DIGEST))
    start = HEADER + (0 if len(set(lengths)) == 1 else 2 * len(lengths))
    for cut in range(start, len(data)):
        with pytest.raises(TokenFileError, match="ends early"):
            from_bytes(data[:cut], "a")
        file = from_bytes(data[:cut], "a", strict=False)
        there = sum(len(each) for each in file.tokens)
        assert there == (cut - start) * 8 // 5 and file.lost == sum(lengths) - there
        for found, whole in zip(file.tokens, tokens, strict=True):
            assert found.tolist() == whole[: len(found)].tolist()
        reached = [min(len(found), len(whole)) for found, whole in zip(file.tokens, tokens, strict=True)]
        open_ones = [have for have, whole in zip(reached, lengths, strict=True) if have < whole]
        assert not open_ones or max(open_ones) - min(open_ones) <= 1  # every image has a prefix
    for cut in range(HEADER):
        with pytest.raises(TokenFileError):
            from_bytes(data[:cut], "a", strict=False)


def test_every_flipped_bit_is_found():
    data = to_bytes(token_file(some([2, 3]), tiny().config, DIGEST))
    for place in range(len(data)):
        for bit in range(8):
            bad = bytearray(data)
            bad[place] ^= 1 << bit
            with pytest.raises(TokenFileError):
                from_bytes(bytes(bad), "a")


def test_a_file_of_another_tokenizer(tmp_path):
    write_tokens(tmp_path / "a", token_file(some([2]), tiny().config, DIGEST))
    with pytest.raises(TokenFileError, match="made by another tokenizer"):
        read_tokens(tmp_path / "a", bytes(16))
    with pytest.raises(TokenFileError, match="cannot read"):
        read_tokens(tmp_path / "nowhere")
    (tmp_path / "b").write_bytes(b"JFIF")
    with pytest.raises(TokenFileError, match="no file of tokens"):
        read_tokens(tmp_path / "b")


def test_images_of_no_tokens_are_not_written():
    with pytest.raises(ValueError, match="image 1 has 0 tokens; 1 to 7"):
        token_file(some([2, 0]), tiny().config, DIGEST)
    with pytest.raises(ValueError, match="at least one image"):
        token_file([], tiny().config, DIGEST)


def test_a_truncated_file_decodes_to_the_image_of_its_tokens():
    tokenizer = tiny()
    indices = tokenizer.encode(pictures(1))
    data = to_bytes(token_file(list(indices), tokenizer.config, tokenizer.digest()))
    file = from_bytes(data[:-2], "a", strict=False)  # 5 bytes of 35 bits: 3 are left, 24 bits
    assert len(file.tokens[0]) == 4
    assert torch.equal(tokenizer.decode(file.tokens[0]), tokenizer.decode(indices, 4))

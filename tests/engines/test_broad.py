"""Hundreds of rollouts of one prompt: into which chunks the engine cuts them is nothing."""

import warnings

import numpy as np
import pytest
import torch
from test_slots import agree
from tiny_models import VOCABULARY, tiny

from oneloop.core.draws import mix
from oneloop.engines.request import Request
from oneloop.engines.slots import SlotEngine

N = 320
PROMPT = (5, 17, 3, 44, 9, 9, 12)


def wide(n: int = N, limit: int = 9) -> list[Request]:
    return [Request(int(mix(4, copy)), 0, PROMPT, limit) for copy in range(n)]


def counted(engine: SlotEngine) -> list[int]:
    """Tokens of each forward from now on."""
    computed, forward = [], engine.forward
    engine.forward = lambda ids, *others: computed.append(len(ids)) or forward(ids, *others)
    return computed


@pytest.fixture(scope="module")
def whole():
    return SlotEngine(tiny("llama"), eos=(7, 20), slots=N).generate(wide())


@pytest.mark.parametrize("slots", [13, 64, 256])
def test_tokens_and_log_probs_do_not_depend_on_the_chunk(whole, slots):
    engine = SlotEngine(tiny("llama"), eos=(7, 20), slots=slots)
    computed = counted(engine)
    replies = engine.generate(wide())
    agree(tiny("llama"), wide(), whole, replies)
    fed_back = sum(len(reply.tokens) - 1 for reply in replies)
    assert sum(computed) == len(PROMPT) + fed_back, "one prefill for all chunks"
    assert max(computed) <= max(slots, len(PROMPT) + slots)


def test_rollouts_of_a_wide_group_differ_and_do_not_depend_on_its_width(whole):
    assert len({reply.tokens for reply in whole}) > 0.9 * N
    narrow = SlotEngine(tiny("llama"), eos=(7, 20)).generate(wide(16))
    assert [reply.tokens for reply in narrow] == [reply.tokens for reply in whole[:16]]
    first = np.bincount([reply.tokens[0] for reply in whole], minlength=VOCABULARY)
    assert (first > 0).sum() > 5


class Tight:
    """An engine's forward that has memory for so many rows."""

    def __init__(self, engine: SlotEngine, rows: int):
        self.forward, self.rows, self.failures = engine.forward, rows, 0

    def __call__(self, ids, step, last):
        if step.cache.slots > self.rows:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.forward(ids, step, last)


@pytest.mark.parametrize(("rows", "left", "failures"), [(200, 160, 1), (79, 40, 3), (N, 512, 0)])
def test_out_of_memory_samples_fewer_at_a_time_with_the_same_result(whole, rows, left, failures):
    engine = SlotEngine(tiny("llama"), eos=(7, 20), slots=512)
    engine.forward = tight = Tight(engine, rows)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        replies = engine.generate(wide())
    assert engine.slots == left and tight.failures == failures
    assert [reply.tokens for reply in replies] == [reply.tokens for reply in whole]
    assert len(said) == failures
    assert not said or f"{left} sequences at a time from now on" in str(said[-1].message)


def test_out_of_memory_for_one_sequence_is_an_error():
    engine = SlotEngine(tiny("llama"), eos=(7, 20), slots=4)
    engine.forward = Tight(engine, 0)
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(UserWarning, match="1 sequences at a time"):
        engine.generate(wide(4))


def test_stopping_early_survives_running_out_of_memory():
    requests = [Request(int(mix(4, copy)), copy % 2, PROMPT, 3 + 40 * (copy % 2)) for copy in range(40)]
    engine = SlotEngine(tiny("llama"), eos=(), slots=64)
    engine.forward = Tight(engine, 30)
    with pytest.warns(UserWarning, match="out of memory while sampling: 20 sequences"):
        replies = engine.generate(requests, enough=1)
    assert [reply.status for reply in replies[::2]] == ["length"] * 20

"""llama_few_rows.py: steps of few rows give what steps of many give, while rows come and go."""

from dataclasses import replace

import pytest
import torch
from test_slots import agree, agree_with_full_forwards, ragged
from tiny_models import tiny

from oneloop.engines import llama_few_rows, llama_forward
from oneloop.engines.law import Law
from oneloop.engines.slots import SlotEngine

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


@pytest.mark.parametrize("name", FAMILY)
def test_rows_that_leave_one_by_one_keep_their_log_probs(name):
    """From 20 rows, made elsewhere, down to one with an idle row beside it."""
    model = tiny(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)  # norms and biases that are not one and zero
    requests = [replace(request, limit=2 * n + 1) for n, request in enumerate(ragged(20))]
    agree_with_full_forwards(model, Law(), requests, SlotEngine(model, eos=()).generate(requests))


def test_rows_that_enter_a_running_batch_are_seen():
    """With three slots for nine requests; steps in which a prefix enters are made elsewhere."""
    model = tiny("llama")
    requests = [replace(request, limit=3 + n % 4) for n, request in enumerate(ragged(9))]
    few, all_at_once = SlotEngine(model, eos=(), slots=3), SlotEngine(model, eos=(), slots=9)
    agree(model, requests, few.generate(requests), all_at_once.generate(requests))


def test_steps_are_made_here_when_rows_are_few(monkeypatch):
    made = []
    whole = llama_few_rows.LlamaFewRows.__call__

    def counted(forward, ids, *others):
        made.append(len(ids))
        return whole(forward, ids, *others)

    monkeypatch.setattr(llama_few_rows.LlamaFewRows, "__call__", counted)
    engine = SlotEngine(tiny("llama"), eos=())
    made.clear()
    engine.generate(ragged(llama_forward.FEW, limit=4))
    engine.generate(ragged(llama_forward.FEW + 1, limit=4))
    assert made == [llama_forward.FEW] * 3


def test_only_small_models_in_fp32_have_their_weights_copied(monkeypatch):
    assert llama_few_rows.serves(tiny("llama"))
    assert not llama_few_rows.serves(tiny("llama").bfloat16())
    monkeypatch.setattr(llama_few_rows, "SMALL", 1000)
    assert not llama_few_rows.serves(tiny("llama"))
    assert SlotEngine(tiny("llama"), eos=()).forward.few is None

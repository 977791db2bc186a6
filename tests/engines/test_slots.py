"""slots.py: the engine against transformers' `generate` and full forwards, on every architecture."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from tests.support.rounding import Exact
from tiny_models import ARCHITECTURES, VOCABULARY, tiny
from transformers.models.phi3.modeling_phi3 import Phi3Attention

from oneloop.core.draws import mix
from oneloop.engines.law import Law
from oneloop.engines.request import Reply, Request
from oneloop.engines.slots import SlotEngine

LAWS = [
    Law(),
    Law(0.7),
    Law(top_k=5),
    Law(1.3, top_p=0.8),
    Law(0.9, min_p=0.05),
    Law(1.1, 20, 0.9, 0.02),
    Law(0),
]


def ragged(count: int, limit: int = 24, copies: int = 1, seed: int = 0) -> list[Request]:
    """`count` prompts of 1 to 17 tokens, `copies` requests each."""
    random = np.random.default_rng(seed)
    prompts = [tuple(random.integers(0, VOCABULARY, random.integers(1, 18)).tolist()) for _ in range(count)]
    return [
        Request(int(mix(seed, group, copy)), group, prompt, limit)
        for group, prompt in enumerate(prompts)
        for copy in range(copies)
    ]


def scored(
    requests: list[Request], replies: Sequence[Reply]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(tokens before, tokens sampled) of each reply."""
    both = zip(requests, replies, strict=True)
    return [((*request.prompt, *request.partial), reply.tokens) for request, reply in both]


def agree_with_full_forwards(model, law: Law, requests: list[Request], replies: Sequence[Reply]) -> None:
    """Raises AssertionError unless log-probs are those of forwards over whole sequences, by the model's own
    attention in float64, up to rounding."""
    rows = scored(requests, replies)
    for (exact, bound), reply in zip(Exact(model, law).each(rows), replies, strict=True):
        np.testing.assert_allclose(reply.logprobs, exact, atol=bound, rtol=0)


def agree(
    model, requests: list[Request], first: Sequence[Reply], second: Sequence[Reply], law: Law | None = None
) -> None:
    """Raises AssertionError unless both gave the same tokens, with log-probs equal up to rounding."""
    each = Exact(model, law).each(scored(requests, first))
    for (_, bound), one, other in zip(each, first, second, strict=True):
        assert one.tokens == other.tokens
        assert one.status == other.status
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=2 * bound, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_tokens_equal_generate(name):
    model, requests = tiny(name), ragged(5)
    replies = SlotEngine(model, eos=(), law=Law(0), slots=3).generate(requests)
    model.eval()
    for request, reply in zip(requests, replies, strict=True):
        prompt = torch.tensor([request.prompt])
        theirs = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False, pad_token_id=0
        )
        assert reply.tokens == tuple(theirs[0, prompt.shape[1] :].tolist())
        assert reply.status == "length"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logprobs_equal_a_full_forward(name):
    model, requests = tiny(name), ragged(3, limit=30, copies=2)
    for law in LAWS if name in ("llama", "gemma2") else LAWS[1:2]:
        replies = SlotEngine(model, eos=(), law=law).generate(requests)
        agree_with_full_forwards(model, law, requests, replies)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "mistral"])
def test_a_completion_does_not_depend_on_its_batch(name):
    model, requests = tiny(name), ragged(4, copies=3)
    together = SlotEngine(model, eos=(3,)).generate(requests)
    backwards = SlotEngine(model, eos=(3,), slots=5).generate(requests[::-1])[::-1]
    alone = [SlotEngine(model, eos=(3,)).generate([request])[0] for request in requests]
    agree(model, requests, together, backwards)
    agree(model, requests, together, alone)
    assert len({reply.tokens for reply in together}) == len(requests)  # copies of a prompt differ


def resumed(request: Request, reply) -> Request:
    return Request(request.key, request.group, request.prompt, request.limit, request.partial + reply.tokens)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 9))
def test_abort_and_resume_change_nothing(seed, schedule, slots):
    model = tiny("llama")
    engine = SlotEngine(model, eos=(3, 4, 5), slots=slots)
    requests = ragged(5, copies=2, seed=seed)
    whole = engine.generate(requests)
    left = dict(enumerate(requests))
    tokens, logprobs, status = dict.fromkeys(left, ()), {n: [] for n in left}, {}
    for enough in [*schedule, None]:
        places = list(left)
        groups = len({left[place].group for place in places})
        replies = engine.generate(list(left.values()), enough=enough and min(enough, groups))
        for place, reply in zip(places, replies, strict=True):
            tokens[place] += reply.tokens
            logprobs[place].extend(reply.logprobs)
            status[place] = reply.status
            left[place] = resumed(left[place], reply)
            if reply.status != "aborted":
                del left[place]
        if not left:
            break
    joined = [Reply(tokens[place], np.array(logprobs[place]), status[place]) for place in range(len(whole))]
    agree(model, requests, whole, joined)


def test_enough_stops_once_that_many_groups_are_complete():
    requests = ragged(4, limit=40, copies=2)
    requests = [Request(r.key, r.group, r.prompt, 5 if r.group == 2 else 40) for r in requests]
    seen = []
    engine = SlotEngine(tiny("llama"), eos=())
    replies = engine.generate(requests, enough=1, progress=lambda *counts: seen.append(counts))
    for request, reply in zip(requests, replies, strict=True):
        assert len(reply.tokens) == len(reply.logprobs) == 5
        assert reply.status == ("length" if request.group == 2 else "aborted")
    assert seen == [(8, 0), (16, 0), (24, 0), (32, 0), (40, 2)]
    with pytest.raises(ValueError, match="between 1 and the 4 groups"):
        engine.generate(requests, enough=5)


@pytest.mark.parametrize("slots", [1, 3, 256])
def test_a_shared_prefix_is_computed_once(slots):
    engine, requests = SlotEngine(tiny("llama"), eos=(), slots=slots), ragged(3, limit=4, copies=5)
    computed, forward = [], engine.forward
    engine.forward = lambda ids, *others: computed.append(len(ids)) or forward(ids, *others)
    engine.generate(requests)
    prompts = sum({request.group: len(request.prompt) for request in requests}.values())
    assert sum(computed) == prompts + len(requests) * 3  # the last token of a completion is never fed back
    if slots == 256:
        assert computed == [prompts, 15, 15, 15]


def test_the_end_token_is_kept_and_ends_the_turn():
    model, requests = tiny("llama"), ragged(6, copies=4)
    free = SlotEngine(model, eos=()).generate(requests)
    stopping = SlotEngine(model, eos=(7, 20)).generate(requests)
    stopped = 0
    for long, short in zip(free, stopping, strict=True):
        end = next((n for n, token in enumerate(long.tokens) if token in (7, 20)), None)
        assert short.tokens == long.tokens[: None if end is None else end + 1]
        assert short.status == ("length" if end is None else "stop")
        stopped += short.status == "stop"
    assert stopped > 3


def test_stop_strings_end_the_turn_at_the_first_token_that_completes_one():
    model, requests = tiny("llama"), ragged(6, limit=60, copies=4)

    def decode(ids):
        return "".join(chr(97 + token % 5) * (1 + token % 2) for token in ids)

    free = SlotEngine(model, eos=()).generate(requests)
    stopping = SlotEngine(model, eos=(), stop=["abb", "ddc"], decode=decode).generate(requests)
    stopped = 0
    for long, short in zip(free, stopping, strict=True):
        ends = [n for n in range(1, 61) if any(s in decode(long.tokens[:n]) for s in ("abb", "ddc"))]
        assert short.tokens == long.tokens[: ends[0] if ends else None]
        assert short.status == ("stop" if ends else "length")
        stopped += bool(ends)
    assert stopped > 3


def test_tokens_are_drawn_from_the_law():
    model, law = tiny("llama"), Law(0.8, top_k=12)
    count = 6000
    replies = SlotEngine(model, eos=(), law=law).generate(
        [Request(int(mix(9, n)), 0, (5, 17, 3), 1) for n in range(count)]
    )
    with torch.no_grad():
        expected = (
            law.logprobs(model.eval()(torch.tensor([[5, 17, 3]])).logits[0, -1]).exp().double().numpy()
            * count
        )
    observed = np.bincount([reply.tokens[0] for reply in replies], minlength=VOCABULARY)
    assert (observed[expected == 0] == 0).all() and (expected > 0).sum() == 12
    common = expected > 5
    chi_square = ((observed - expected)[common] ** 2 / expected[common]).sum()
    assert chi_square < 31.3  # 0.1 % quantile at 11 degrees of freedom


def test_the_training_model_is_left_alone_and_its_updates_are_seen():
    model, requests = tiny("qwen3"), ragged(2, copies=2)
    before = model.config._attn_implementation
    shared, copied = SlotEngine(model, eos=()), SlotEngine(model, eos=(), dtype=torch.float64)
    first = shared.generate(requests)
    assert model.training and model.config._attn_implementation == before
    assert all(a is b for a, b in zip(model.parameters(), shared.model.parameters(), strict=True))
    assert [r.tokens for r in copied.generate(requests)] == [r.tokens for r in first]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    assert [r.tokens for r in copied.generate(requests)] == [
        r.tokens for r in first
    ]  # a copy waits for refresh
    copied.refresh()
    changed = shared.generate(requests)
    assert [r.tokens for r in changed] != [r.tokens for r in first]
    assert [r.tokens for r in copied.generate(requests)] == [r.tokens for r in changed]
    agree_with_full_forwards(model, Law(), requests, changed)


def test_bf16_log_probs_are_near_the_exact_ones():
    model, requests = tiny("llama"), ragged(3, copies=2)
    for request, reply in zip(
        requests, SlotEngine(model, eos=(), dtype=torch.bfloat16).generate(requests), strict=True
    ):
        exact, _ = Exact(model).logprobs(request.prompt, reply.tokens)
        assert (torch.from_numpy(reply.logprobs) - exact).abs().mean() < 0.05


def test_a_lora_adapter_is_part_of_the_policy():
    model = tiny("llama")
    plain = SlotEngine(model, eos=(), law=Law(0)).generate(ragged(3))
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    requests = ragged(3)
    replies = SlotEngine(adapted, eos=(), law=Law(0)).generate(requests)
    assert [reply.tokens for reply in replies] != [reply.tokens for reply in plain]
    agree_with_full_forwards(adapted, Law(0), requests, replies)
    prompted = get_peft_model(tiny("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ValueError, match="virtual tokens"):
        SlotEngine(prompted, eos=())


def test_requests_that_cannot_be_sampled_are_refused_in_words():
    engine = SlotEngine(tiny("llama"), eos=(2,))
    assert engine.generate([]) == []
    for request, words in [
        (Request(0, 0, (), 4), r"requests\[1\].prompt: is empty"),
        (Request(0, 0, (1,), 0), "must be more than the 0 tokens"),
        (Request(0, 0, (1,), 2, (5, 6)), "must be more than the 2 tokens"),
        (Request(0, 0, (1,), 9, (5, 2)), "last token 2 is an end token"),
        (Request(0, 0, (1,) * 100, 29), "129 positions, but the model has 128; lower the limit to 28"),
    ]:
        with pytest.raises(ValueError, match=words):
            engine.generate([Request(0, 0, (1,), 1), request])
    with pytest.raises(ValueError, match="slots: got 0"):
        SlotEngine(tiny("llama"), eos=(), slots=0)


def test_a_model_whose_attention_differs_is_refused(monkeypatch):
    ordinary = Phi3Attention.forward

    def scaled_outside(self, *args, **kwargs):
        mixed, weights = ordinary(self, *args, **kwargs)
        return mixed * (1 if self.config._attn_implementation == "oneloop_slots" else 2), weights

    monkeypatch.setattr(Phi3Attention, "forward", scaled_outside)
    with pytest.raises(ValueError, match="Phi3ForCausalLM cannot be sampled .* logits are off by"):
        SlotEngine(tiny("phi3"), eos=())
    chunked = tiny("llama")
    chunked.config.layer_types = ["chunked_attention"] * 3
    with pytest.raises(ValueError, match="chunked_attention layers"):
        SlotEngine(chunked, eos=())

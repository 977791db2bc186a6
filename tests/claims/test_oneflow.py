"""claims/oneflow.py: its arms are plans of one step, in the memory they say."""

import pytest
from benchmarks.claims import oneflow


@pytest.fixture
def narrow(monkeypatch):
    """A Llama of width 16 and eight tokens."""
    sizes = oneflow.COMMON | oneflow.IDS | {"hidden_size": 16, "intermediate_size": 32, "vocab_size": 32}
    monkeypatch.setattr(oneflow, "ARCHITECTURES", (("LlamaConfig", "LlamaForCausalLM", sizes),))
    monkeypatch.setattr(oneflow, "LENGTH", 8)
    oneflow.plans.cache_clear()
    yield oneflow.plans(0)
    oneflow.plans.cache_clear()


def test_plans_by_hand_send_what_their_formulas_say(narrow):
    held = narrow["data parallel"]["work"]
    assert narrow["data parallel"]["bytes"] == 2 * 3 * held, "all-reduce: 2 (p - 1) times what is held"
    assert narrow["ZeRO-3"]["bytes"] == 3 * 3 * held and narrow["ZeRO-3"]["work"] == -(-held // 4)


def test_the_search_is_no_worse_with_more_memory_and_keeps_to_it(narrow):
    best = min(narrow["tensor parallel"]["bytes"], narrow["ZeRO-3"]["bytes"])
    assert narrow["planned"]["bytes"] <= narrow["planned, a quarter"]["bytes"]
    assert narrow["planned, a quarter"]["work"] <= narrow["data parallel"]["work"] / 3
    assert oneflow.headline(narrow) == (best, narrow["planned"]["bytes"])
    assert all(oneflow.train(arm.name, float("nan"), 0) == narrow[arm.name] for arm in oneflow.CLAIM.arms)

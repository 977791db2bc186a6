"""Subnets of Llamas: the corner of every weight, the network cut out, and what is refused."""

import pytest
import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from oneloop.models.supernet.llama import LlamaSize, LlamaSubnets
from tests.support.rounding import relative, reordered

SIZES = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
IDS = torch.arange(12)[None]
SMALL = LlamaSize(2, 2, 16)


def made(config=LlamaConfig, model=LlamaForCausalLM, **options):
    torch.manual_seed(0)
    return model(config(**SIZES | options)).eval()


def subnets(model):
    return LlamaSubnets(model, layers=(1, 2), heads=(2,), width=(16, 32))


@pytest.mark.parametrize(
    "model",
    [
        lambda: made(),
        lambda: made(tie_word_embeddings=True, attention_bias=True),
        lambda: made(Qwen2Config, Qwen2ForCausalLM),
        lambda: made(Qwen3Config, Qwen3ForCausalLM, head_dim=8),
        lambda: made(MistralConfig, MistralForCausalLM),
    ],
    ids=["llama", "tied, biased", "qwen2", "qwen3", "mistral"],
)
def test_a_subnet_its_view_and_the_folder_it_is_cut_to_compute_the_same(model, tmp_path):
    model = model()
    found = subnets(model)
    cut, view = found.cut(SMALL), found.view(SMALL)
    for name, weight in cut.named_parameters():
        whole = model.get_parameter(name)
        assert torch.equal(weight, whole[tuple(slice(length) for length in weight.shape)]), name
    cut.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    corners = {name.removeprefix("model."): weight for name, weight in found.corners(SMALL).items()}
    with torch.no_grad():
        logits = cut(IDS).logits
        hidden = functional_call(view.model, corners, kwargs={"input_ids": IDS}).last_hidden_state
        for other in (view(IDS).logits, loaded(IDS).logits, model.lm_head(hidden)):
            assert (logits - other).abs().max() <= 1e-6
        # the whole network is one of its subnets, to the bit
        assert torch.equal(found.view(found.largest)(IDS).logits, model(IDS).logits)
        model.model.layers[0].mlp.up_proj.weight.mul_(2)  # a view follows the weights, a cut network does not
        assert not torch.equal(view(IDS).logits, logits) and torch.equal(cut(IDS).logits, logits)
    assert type(loaded) is type(model) and loaded.config.num_key_value_heads == 1


def test_a_cost_is_what_the_counter_counts_and_a_budget_buys_the_costliest_that_fits():
    found = subnets(made())
    assert len(found.costs) == 3 * 2 * 3 and max(found.costs.values()) == found.costs[found.largest]
    for size in (SMALL, found.largest, LlamaSize(1, 4, 32)):
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            found.view(size)(IDS)
        scores = 4 * 12 * 12 * size.heads * 8 * size.layers  # a fused attention may or may not be counted
        assert counted.get_total_flops() - 12 * found.costs[size] in (0, scores)
    costs = list(found.costs.values())
    assert costs == sorted(costs)
    for size, cost in found.costs.items():
        assert found.costs[found.within(cost)] == cost
        assert found.costs[found.within(cost + 1)] in (cost, cost + 1)
        assert found.within(10**12) == found.largest and size <= found.largest
    with pytest.raises(
        ValueError, match=rf"at most 5 FLOPs a token; there are: {costs[0]} \(1 layers, 2 heads, wid"
    ):
        found.within(5)


def test_a_gradient_stays_in_the_corner_and_is_that_of_the_network_cut_out():
    model = made()
    found = subnets(model)
    view, cut = found.view(SMALL), found.cut(SMALL)
    corners = {name.removeprefix("model."): weight for name, weight in found.corners(SMALL).items()}
    hidden = functional_call(view.model, corners, kwargs={"input_ids": IDS}).last_hidden_state
    model.lm_head(hidden).logsumexp(-1).sum().backward()
    cut(IDS).logits.logsumexp(-1).sum().backward()
    for name, weight in model.named_parameters():
        if name.startswith("model.layers.2"):
            assert weight.grad is None, name  # a block that is left out
            continue
        own = cut.get_parameter(name).grad
        corner = weight.grad[tuple(slice(length) for length in own.shape)]
        assert relative(corner, own) <= reordered(model), name
        assert int(weight.grad.count_nonzero()) == int(corner.count_nonzero()), "nothing beyond the corner"


def test_sizes_that_the_model_cannot_have_are_refused_in_words():
    with pytest.raises(ValueError, match=r"heads: got 3, but 2 query heads share a key head.*such as 2"):
        LlamaSubnets(made(), heads=(3,))
    with pytest.raises(ValueError, match=r"layers: got 4, the model has 3"):
        LlamaSubnets(made(), layers=(4,))
    with pytest.raises(ValueError, match=r"Linear cannot be elastic; supported are LlamaForCausalLM"):
        LlamaSubnets(torch.nn.Linear(2, 2))

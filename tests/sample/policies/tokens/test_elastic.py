"""The option `elastic`: which subnets it names, from none but the whole model on, and what it refuses."""

import pytest

from oneloop.models.language.small_llama import SmallLlama
from oneloop.models.supernet.llama import LlamaSize
from oneloop.sample.policies.tokens.elastic import ElasticOptions


@pytest.fixture(scope="module")
def model():
    return SmallLlama(hidden_size=8, layers=2, heads=2, alphabet="01", max_positions=8).build()[0]


def test_every_combination_is_a_subnet_once_and_the_whole_model_is_always_one(model):
    assert list(ElasticOptions().subnets(model).costs) == [ElasticOptions().subnets(model).largest]
    whole = ElasticOptions().subnets(model).largest
    found = ElasticOptions(layers=(1, 2, 1), heads=(1,), width=(4, whole.width)).subnets(model)
    assert set(found.costs) == {
        LlamaSize(layers, heads, width) for layers in (1, 2) for heads in (1, 2) for width in (4, whole.width)
    }
    costs = list(found.costs.values())
    assert costs == sorted(costs) and found.within(costs[0]) == LlamaSize(1, 1, 4)
    # 2 FLOPs for each weight that a token meets: a unit of an MLP has three rows of the width of 8
    narrow, wide = (found.costs[LlamaSize(2, 2, width)] for width in (4, whole.width))
    assert wide - narrow == 2 * 2 * 3 * 8 * (whole.width - 4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"layers": (3,)}, r"policy\.language\.elastic: layers: got 3, the model has 2"),
        ({"heads": (1, 9)}, r"policy\.language\.elastic: heads: got 9, the model has 2"),
        ({"width": (4000,)}, r"policy\.language\.elastic: width: got 4000, the model has \d+"),
    ],
)
def test_what_the_model_does_not_have_is_refused_by_the_name_of_the_option(model, options, told):
    with pytest.raises(ValueError, match=told):
        ElasticOptions(**options).subnets(model)


@pytest.mark.parametrize("option", ["layers", "heads", "width"])
def test_a_subnet_of_nothing_is_no_subnet(option):
    with pytest.raises(ValueError, match=f"{option}.*\n.*greater than or equal to 1"):
        ElasticOptions(**{option: (0,)})

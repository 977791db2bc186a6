import itertools

import pytest
import torch
from torch.distributed.tensor._dtensor_spec import TensorMeta

from oneloop.parallel.placement.boxing import Boxing, fits, local_bytes
from oneloop.parallel.placement.link import Link, table
from oneloop.parallel.placement.meshes import planning_mesh
from oneloop.parallel.placement.notation import parsed

SQUARE = TensorMeta(torch.Size([1024, 1024]), (1024, 1), torch.float32)
T = 4 * 1024 * 1024


def sent(sizes, source, target, link=None, meta=SQUARE):
    link = link or Link.ring()
    return Boxing(planning_mesh(sizes), link).route(meta, parsed(source), parsed(target)).sent(link)


def test_the_worked_example():
    assert sent((4,), "S0", "R") == 12_582_912
    assert sent((4,), "S0", "S1") == 3_145_728
    assert sent((4,), "P", "S0") == 12_582_912
    assert sent((4,), "P", "R") == 25_165_824
    assert sent((4,), "R", "S1") == sent((4,), "R", "R") == sent((4,), "P", "P") == 0


def test_partial_sums_are_not_made():
    boxing = Boxing(planning_mesh((4,)), Link.ring())
    assert boxing.route(SQUARE, parsed("R"), parsed("P")) is None
    assert boxing.route(SQUARE, parsed("S0"), parsed("P")) is None


def test_profiles_differ_where_they_should():
    assert sent((4,), "S0", "S1", Link.dtensor_cpu()) == 3 * T
    assert sent((4,), "P", "S0", Link.gloo_wire()) == sent((4,), "P", "R", Link.gloo_wire()) == 6 * T


def test_packed_cuts_are_made_of_whole_tensors():
    """As DTensor runs them: gathered or reduced whole, then cut."""
    assert sent((4,), "S0/2", "R") == sent((4,), "S0/2", "S0") == sent((4,), "S1", "S0/2") == 3 * T
    assert sent((4,), "P", "S0/2") == 6 * T and sent((4,), "R", "S0/2") == 0


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_identities(ranks):
    assert table("reduce_scatter", 24, ranks) + table("all_gather", 24, ranks) == table(
        "all_reduce", 24, ranks
    )
    assert table("all_to_all", 24, ranks) * ranks == table("all_gather", 24, ranks)
    assert ranks > 1 or table("all_reduce", 24, ranks) == 0


def test_paths_of_two_axes_are_dtensors_own_or_cheaper():
    """Bytes over T on 2x2 ranks, as recorded from DTensor where its own path is the cheapest."""
    recorded = {
        ("S0,S0", "S0,R"): 1,
        ("S0,S0", "R,S0"): 3,
        ("R,S0", "S0,S0"): 2,
        ("S0,R", "R,S0"): 2,
        ("S0,S1", "R,R"): 3,
        ("P,P", "S0,S0"): 3,
        ("P,P", "S0,R"): 4,
    }
    for (source, target), times in recorded.items():
        assert sent((2, 2), source, target, Link.dtensor_cpu()) == times * T, (source, target)
    # DTensor reduces twice (8 T); scattering and gathering is what one reduction over four ranks would send.
    assert sent((2, 2), "P,P", "R,R", Link.dtensor_cpu()) == 6 * T


def test_costs_are_linear_in_the_tensor():
    small = TensorMeta(torch.Size([64, 64]), (64, 1), torch.float32)
    for source, target in itertools.product(("S0,R", "P,S1", "S1,S0"), ("R,R", "S0,S1")):
        factor = T // (4 * 64 * 64)
        assert sent((2, 2), source, target) == factor * sent((2, 2), source, target, meta=small)


def test_splits_must_be_even():
    assert fits((8, 6), parsed("S0,S0"), (2, 4)) and not fits((8, 6), parsed("S1,R"), (4, 2))
    assert not fits((0, 4), parsed("S0"), (2,)) and not fits((4,), parsed("S1"), (2,))
    assert fits((24,), parsed("S0/3"), (4,)) and not fits((20,), parsed("S0/2"), (4,))
    assert not fits((64,), parsed("S0/2,S0"), (2, 2)) and not fits((64,), parsed("S0,S0/2"), (2, 2))
    assert local_bytes(SQUARE, parsed("S0/2,S1"), (2, 4)) == T // 8
    assert local_bytes(SQUARE, parsed("S0,S1"), (2, 4)) == T // 8


def test_seconds_count_hops_and_bytes():
    link = Link(name="test", bandwidth=(1e6, 1e3), latency=(0.5,))
    # a ring of 4 makes 3 hops and sends 3/4 of T per rank
    assert link.seconds("all_gather", 4_000_000, 4, 0) == pytest.approx(1.5 + 3.0)
    assert link.seconds("all_reduce", 4_000, 2, 1) == pytest.approx(1.0 + 4.0)

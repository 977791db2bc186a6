import pytest
import torch
from torch.distributed.tensor import Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _MaskPartial, _StridedShard

from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.meshes import mesh_sizes, planning_mesh
from oneloop.parallel.placement.notation import parsed, plain, shown


def test_placements_read_back():
    where = (Shard(2), Replicate(), Partial())
    assert shown(where) == "S2,R,P"
    assert parsed("S2,R,P") == where
    assert parsed("S0/3,S0/12") == (_StridedShard(0, split_factor=3), _StridedShard(0, split_factor=12))
    assert shown(parsed("S0/3,R")) == "S0/3,R"


def test_a_masked_partial_sum_reads_back_and_is_shown_short():
    where = (_MaskPartial(offset_shape=torch.Size([128, 64]), offset_dim=0),)
    assert shown(where) == "P[128x64@0]"
    assert shown(parsed(shown(where))) == shown(where)
    assert plain(where) == "P"


@pytest.mark.parametrize("text", ["", "S", "X", "S0;R", "S-1", "S0/1", "S0/"])
def test_other_text_is_refused(text):
    with pytest.raises(PlacementError, match="must be R, P or S"):
        parsed(text)


def test_averages_have_no_letter():
    with pytest.raises(PlacementError, match="no letter"):
        shown((Partial("avg"),))


def test_meshes():
    assert mesh_sizes("2x4") == (2, 4)
    assert tuple(planning_mesh((2, 4)).shape) == (2, 4)
    for text in ("2x", "0x4", "four"):
        with pytest.raises(PlacementError, match="such as 4 or 2x4"):
            mesh_sizes(text)

"""Becoming a rank: one whose others never come says so after a while."""

import datetime
import socket

import pytest
import torch.distributed as dist

from oneloop.parallel.ranks import join
from oneloop.parallel.ranks.world import RankFailed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_waits_for_the_others_only_so_long(rank, monkeypatch):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    given = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(join, "MEETING", datetime.timedelta(seconds=1))
    with (
        pytest.raises(
            RankFailed, match=f"rank {rank} of 2 waited 1 s for the others at localhost:{port}, and"
        ),
        join.joined(),
    ):
        raise AssertionError("never joined")
    assert not dist.is_initialized()


def test_a_rank_whose_torchrun_is_gone_does_not_wait(monkeypatch):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in {**given, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RankFailed, match="rank 1 ends: torchrun, which started it, is gone"), join.joined():
        raise AssertionError("never joined")

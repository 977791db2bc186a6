"""A rank ends with `torchrun`, which would leave it behind when it is killed."""

import os
import signal
import time

import pytest
import torch.distributed as dist

from oneloop.parallel.ranks import watch


@pytest.fixture
def alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def heard(request):
    """The one signal that ends Python code here: in the background of a shell SIGINT is not heard."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(request.param, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("by", ["torchrun", "a shell"])
def test_a_rank_whose_parent_has_ended_is_interrupted_if_that_was_torchrun(
    by, alone, heard, monkeypatch, capsys
):
    ended = os.getppid() + 1
    monkeypatch.setattr(watch, "BEAT", 0.001)
    monkeypatch.setattr(watch, "GRACE", 0.02)
    monkeypatch.setattr(watch.os, "_exit", lambda code: None)
    if by == "torchrun":
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    interrupted = False
    try:
        with watch.watched():
            monkeypatch.setattr(watch.os, "getppid", lambda: ended)
            for _ in range(5000 if by == "torchrun" else 20):
                time.sleep(0.002)
    except KeyboardInterrupt:
        interrupted = True
    assert interrupted == (by == "torchrun")
    assert ("rank 0: torchrun is gone, so this one ends too" in capsys.readouterr().err) == interrupted

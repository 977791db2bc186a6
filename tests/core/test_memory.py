"""What a run can be placed on."""

import ctypes

import psutil
import pytest
import torch

from oneloop.core.memory import device_of, give_back
from oneloop.sample.policies.language import Language


def test_a_device_that_is_there_is_taken_as_it_is():
    assert device_of("cpu") == "cpu"
    assert device_of("auto") in ("cpu", "cuda")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", "xpu:7"])
def test_a_device_that_is_not_there_is_said_with_what_there_is(device):
    with pytest.raises(
        ValueError, match=f"^device: '{device}' is not to be had here .*; there is: auto, cpu"
    ):
        device_of(device)
    with pytest.raises(ValueError, match=rf"^policy\.language\.device: '{device}' is not"):
        Language(model="none", device=device).settled()


def test_of_what_torch_says_of_a_device_the_first_sentence_is_told(monkeypatch):
    def refuses(*_, **__):
        raise NotImplementedError("Could not run it. " + "This is long. " * 400)

    monkeypatch.setattr(torch, "empty", refuses)
    with pytest.raises(ValueError, match=r"'mps' is not to be had here \(Could not run it\); there is: auto"):
        device_of("mps")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not the C library of GNU")
def test_memory_between_things_that_are_kept_is_given_back():
    # of 64 MB in pieces of a kilobyte every hundredth is kept: the pages between them are free
    kept = [bytes(1024) for _ in range(65_536)][::100]
    before = psutil.Process().memory_info().rss
    give_back()
    assert before - psutil.Process().memory_info().rss > 32 * 2**20 and len(kept) == 656

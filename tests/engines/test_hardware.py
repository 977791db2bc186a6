"""hardware.py: what a machine computes well decides what "auto" means."""

import pytest
import torch

from oneloop.engines import hardware
from oneloop.sample.policies import language
from oneloop.sample.policies.language import Language

WITH_BF16, WITHOUT = {"avx512_bf16": True, "amx_bf16": True}, {"avx2": True, "avx512_bf16": False}


@pytest.mark.parametrize(
    "found, native",
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True, "avx512_bf16": False}, False),
    ],
)
def test_a_cpu_multiplies_bf16_when_it_has_an_instruction_for_it(monkeypatch, found, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert hardware.multiplies_bf16(torch.device("cpu")) is native


@pytest.mark.parametrize("found", [WITH_BF16, WITHOUT], ids=["with bf16", "without"])
def test_on_every_cpu_auto_is_fp32_on_both_sides(monkeypatch, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    settled = Language(model="x", precision="auto", sampling_precision="auto", device="cpu").settled()
    assert (settled.precision, settled.sampling_precision) == ("float32", "same")


@pytest.mark.parametrize("native, expected", [(True, "bf16_autocast"), (False, "float32")])
def test_on_a_gpu_auto_is_bf16_where_the_gpu_multiplies_it(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    monkeypatch.setattr(language, "device_of", lambda asked, field: asked)  # as if there were one
    settled = Language(model="x", precision="auto", device="cuda").settled()
    assert settled.precision == expected


@pytest.mark.parametrize(
    "device, precision, sampling",
    [
        ("cpu", "float32", "same"),
        ("cpu", "bf16_autocast", "same"),
        ("cpu", "bf16", "same"),
        ("cuda", "float32", "same"),
        ("cuda", "bf16_autocast", "bf16"),
        ("cuda", "bf16", "bf16"),
    ],
)
def test_the_sampler_computes_as_the_learner_does(monkeypatch, device, precision, sampling):
    monkeypatch.setattr(language, "device_of", lambda asked, field: asked)  # as if there were a GPU
    auto = Language(model="x", precision=precision, sampling_precision="auto", device=device)
    assert auto.settled().sampling_precision == sampling
    assert auto.settled().precision == precision


def test_what_is_chosen_stays(monkeypatch):
    monkeypatch.setattr(language, "prefers_bf16", lambda device: False)
    fixed = Language(model="x", precision="bf16", sampling_precision="same", device="cpu")
    assert fixed.settled() == fixed

"""hardware.py: what a machine computes well decides what "auto" means."""

import pytest
import torch

from oneloop.engines import hardware
from oneloop.sample.policies import language
from oneloop.sample.policies.language import Language


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


@pytest.mark.parametrize(
    "native, expected", [(True, ("bf16_autocast", "bf16")), (False, ("float32", "same"))]
)
def test_auto_is_settled_by_the_hardware_and_nothing_else_changes(monkeypatch, native, expected):
    monkeypatch.setattr(language, "multiplies_bf16", lambda device: native)
    auto = Language(model="x", precision="auto", sampling_precision="auto", device="cpu")
    settled = auto.settled()
    assert (settled.precision, settled.sampling_precision) == expected
    fixed = Language(model="x", precision="bf16", sampling_precision="same", device="cpu")
    assert fixed.settled() == fixed

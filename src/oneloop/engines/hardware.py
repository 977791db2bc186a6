"""What the machine computes well."""

import torch


def multiplies_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bf16 in hardware; a CPU that does not is many times slower than in fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))

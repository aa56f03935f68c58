"""Which number format the networks multiply in."""

import torch

from algorithms.generative.options import PRECISIONS


def choose_precision(precision: str, device: torch.device) -> str:
    """Return "bf16" or "fp32"; raises ValueError for a name that is not in `PRECISIONS`.

    "auto" is bf16 where the device multiplies it natively: AMX or AVX512-BF16 on a processor, Ampere or
    newer on a GPU. There an update takes about half as long (measured on AVX512-BF16). Elsewhere bf16 is
    emulated and slower, so "auto" is fp32. Weights, optimizer states and losses are always fp32.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which networks multiply in `precision`, "bf16" or "fp32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

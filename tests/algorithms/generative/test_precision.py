import pytest
import torch

from algorithms.generative.precision import choose_precision


def test_precision_asked_for_is_precision_used() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == "fp32"
    assert choose_precision("bf16", cpu) == "bf16"
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    assert choose_precision("auto", cpu) == ("bf16" if native else "fp32")
    with pytest.raises(ValueError, match="must be one of auto, bf16, fp32, got 'int8'"):
        choose_precision("int8", cpu)

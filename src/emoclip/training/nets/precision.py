"""Half floats where the processor multiplies them; elsewhere they are many times slower than fp32."""

from __future__ import annotations

import torch

from emoclip.model import processor


def half_floats(device: str = "cpu") -> torch.autocast:
    """Return an autocast to bf16; on a processor without instructions for it, one that does nothing."""
    return torch.autocast(device, torch.bfloat16, enabled=device != "cpu" or processor().bf16)

"""The training losses: one contrastive loss, hard or soft, for clips, frames and texts alike."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_LOGIT_SCALE = 100.0


class LogitScale(nn.Module):
    """The learned multiplier of the cosines, kept as its logarithm and clamped to 100 (CLIP, sec. 2.5)."""

    def __init__(self, initial: float = 1 / 0.07) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        """Return the multiplier, at most 100."""
        return self.log.clamp(max=math.log(MAX_LOGIT_SCALE)).exp()


def contrastive_loss(
    visual: Tensor, text: Tensor, logit_scale: Tensor, targets: Tensor | None = None
) -> Tensor:
    """Symmetric cross-entropy over a batch of (N, D) pairs, in nats.

    targets: (N, N) non-negative weights, row i saying how well each text fits visual i; rows (and, for the text
    side, columns) are scaled to sum to one.  None is the paper's diagonal.  Embeddings need not be normalised.
    Source: EmoCLIP sec. III-B; soft targets for texts that are alike, as in PyramidCLIP sec. 3.3.
    """
    logits = logit_scale * F.normalize(visual, dim=-1) @ F.normalize(text, dim=-1).T
    if targets is None:
        diagonal = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2
    rows = targets / targets.sum(1, keepdim=True).clamp(min=1e-6)
    columns = targets.T / targets.T.sum(1, keepdim=True).clamp(min=1e-6)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, columns)) / 2


def same_text_targets(ids: Tensor) -> Tensor:
    """Targets (N, N) that treat samples with the same text or class id as positives of each other."""
    return (ids[:, None] == ids[None, :]).float()

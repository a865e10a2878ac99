"""Face crops for making a tower 8 bits: those it is measured on, and those held back to judge it by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoclip.datasets import Clip, manifest
from emoclip.errors import ConfigError, InputError, counted
from emoclip.files import missing
from emoclip.training.crops import read_crops
from emoclip.video import is_picture, natural_order, read_picture

Crop = NDArray[np.uint8]

MOST_MEASURED, MOST_HELD = 256, 256
LEAST = 64  # crops in all; a range measured on fewer is left by the next face
_STRIDE, _PER_CLIP = 8, 4  # of a clip every eighth frame, four at most


@dataclass(frozen=True)
class Calibration:
    """measured, held: crops (h, w, 3) uint8 RGB from different pictures or clips."""

    measured: Sequence[Crop]
    held: Sequence[Crop]


def check_precision(precision: str, source: str | Path | None) -> None:
    """Raise ConfigError now where face crops are asked for and not given, or not used; InputError where none are."""
    if precision == "int8" and source is None:
        raise ConfigError(
            "--precision int8: needs --calibration, a folder or manifest of face crops like those it will see"
        )
    if precision != "int8" and source is not None:
        raise ConfigError(f"--calibration: belongs to --precision int8, not {precision}")
    if source is not None and not Path(source).exists():
        raise InputError(missing(Path(source), "no such folder or manifest of face crops"))


def read_calibration(source: Path, progress: Callable[[float], None] = lambda share: None) -> Calibration:
    """Read face crops from a folder of pictures, at any depth, or from a manifest of clips or pictures.

    Pictures that cannot be read are passed over.  Raises InputError if fewer than 64 crops are found.
    """
    if source.is_dir():
        found = natural_order(path for path in source.rglob("*") if is_picture(path))
        readers: list[Callable[[], list[Crop]]] = [lambda path=path: [read_picture(path)] for path in found]  # type: ignore[misc]
    else:
        clips = manifest.read(source).clips
        readers = [lambda clip=clip: _of_clip(clip) for clip in clips]  # type: ignore[misc]
    groups: list[list[Crop]] = []
    count = 0
    for at in np.random.default_rng(0).permutation(len(readers)):
        try:
            groups.append(readers[at]())
        except InputError:
            continue
        count += len(groups[-1])
        progress(min(1.0, count / (MOST_MEASURED + MOST_HELD)))
        if count >= MOST_MEASURED + MOST_HELD:
            break
    if count < LEAST:
        raise InputError(
            f"{source}: has {counted(count, 'face crop')} that can be read, calibration needs at least {LEAST}"
        )
    half = len(groups) // 2
    measured = [crop for group in groups[:half] for crop in group][:MOST_MEASURED]
    return Calibration(measured, [crop for group in groups[half:] for crop in group][:MOST_HELD])


def _of_clip(clip: Clip) -> list[Crop]:
    return read_crops(clip, _STRIDE)[:_PER_CLIP]

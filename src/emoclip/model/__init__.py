"""Model packages and how they run: found, verified, opened on the engine that suits this processor."""

from emoclip.model.cpu import cores, processor
from emoclip.model.execution import Precision, openvino_lack
from emoclip.model.package import Package, cache_folder
from emoclip.model.pixels import PixelSpec, prepare
from emoclip.model.rules import covering_windows, label_vectors, largest, paper_window, sampling_rate, unit
from emoclip.model.runtime import Runtime

__all__ = [
    "Package",
    "PixelSpec",
    "Precision",
    "Runtime",
    "cache_folder",
    "cores",
    "covering_windows",
    "label_vectors",
    "largest",
    "openvino_lack",
    "paper_window",
    "prepare",
    "processor",
    "sampling_rate",
    "unit",
]

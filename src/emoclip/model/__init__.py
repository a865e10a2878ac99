"""Model packages and how they run: found, verified, opened on the engine that suits this processor."""

from emoclip.model.cpu import cores, processor
from emoclip.model.execution import Precision, openvino_lack
from emoclip.model.fields import Fields, shown
from emoclip.model.hub import load
from emoclip.model.onnxfile import FLOAT, Value
from emoclip.model.package import Package, cache_folder, check_values
from emoclip.model.pixels import PixelSpec, prepare
from emoclip.model.rules import covering_windows, label_vectors, largest, paper_window, sampling_rate, unit
from emoclip.model.runtime import Runtime

__all__ = [
    "FLOAT",
    "Fields",
    "Package",
    "PixelSpec",
    "Precision",
    "Runtime",
    "Value",
    "cache_folder",
    "check_values",
    "cores",
    "covering_windows",
    "label_vectors",
    "largest",
    "load",
    "openvino_lack",
    "paper_window",
    "prepare",
    "processor",
    "sampling_rate",
    "shown",
    "unit",
]

"""Model packages and how they run: found, verified, opened on the engine that suits this processor."""

from emoclip.model.cpu import cores, processor
from emoclip.model.execution import Precision, openvino_lack
from emoclip.model.package import Package, cache_folder
from emoclip.model.pixels import PixelSpec, prepare
from emoclip.model.runtime import Runtime, unit

__all__ = [
    "Package",
    "PixelSpec",
    "Precision",
    "Runtime",
    "cache_folder",
    "cores",
    "openvino_lack",
    "prepare",
    "processor",
    "unit",
]

"""Model packages and how they run: found, verified, opened on the engine that suits this processor."""

from emoclip.model.cpu import cores, processor
from emoclip.model.execution import Precision, openvino_lack
from emoclip.model.fields import Fields
from emoclip.model.hub import load
from emoclip.model.labels import read_labels
from emoclip.model.onnxfile import FLOAT, Value
from emoclip.model.package import CARD, Package, cache_folder, check_values
from emoclip.model.pixels import PixelSpec, check_crops, prepare
from emoclip.model.rules import (
    check_vectors,
    covering_windows,
    denying_rows,
    label_scores,
    label_shares,
    label_vectors,
    largest,
    mean_frames,
    paper_window,
    sampling_rate,
    unit,
)
from emoclip.model.runtime import Runtime
from emoclip.model.writing import Description, add_to_card, check_target, new_package, seal

__all__ = [
    "CARD",
    "FLOAT",
    "Description",
    "Fields",
    "Package",
    "PixelSpec",
    "Precision",
    "Runtime",
    "Value",
    "add_to_card",
    "cache_folder",
    "check_crops",
    "check_target",
    "check_values",
    "check_vectors",
    "cores",
    "covering_windows",
    "denying_rows",
    "label_scores",
    "label_shares",
    "label_vectors",
    "largest",
    "load",
    "mean_frames",
    "new_package",
    "openvino_lack",
    "paper_window",
    "prepare",
    "processor",
    "read_labels",
    "sampling_rate",
    "seal",
    "unit",
]

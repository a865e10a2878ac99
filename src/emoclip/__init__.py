"""What a face in a video expresses, in your own words.

The output says how an expression reads to a viewer, not what a person feels.
"""

import os
from typing import TYPE_CHECKING, Any

# Nothing leaves the machine: ONNX Runtime looks up its maker's host, unless this stands before it is imported, and the
# hub's client names what runs it.  Here, since every module of ours and every worker passes here first.
os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"

if TYPE_CHECKING:
    from emoclip import metrics
    from emoclip.config import FaceConfig, SegmentConfig, WindowConfig
    from emoclip.engine import EmoCLIP
    from emoclip.errors import (
        ConfigError,
        EmoclipError,
        InputError,
        InputWarning,
        LabelWarning,
        OutputError,
        PackageError,
    )
    from emoclip.prompts import PromptSet, resolve
    from emoclip.recording import Recording, SeenFace, SeenFrame
    from emoclip.results import (
        Classification,
        FaceResult,
        LabelSummary,
        Peak,
        Segment,
        Timeline,
        Track,
        Window,
    )
    from emoclip.timeline import Baseline

_HOMES = {
    "emoclip.config": ("FaceConfig", "SegmentConfig", "WindowConfig"),
    "emoclip.engine": ("EmoCLIP",),
    "emoclip.errors": (
        "ConfigError",
        "EmoclipError",
        "InputError",
        "InputWarning",
        "LabelWarning",
        "OutputError",
        "PackageError",
    ),
    "emoclip.prompts": ("PromptSet", "resolve"),
    "emoclip.recording": ("Recording", "SeenFace", "SeenFrame"),
    "emoclip.results": (
        "Classification",
        "FaceResult",
        "LabelSummary",
        "Peak",
        "Segment",
        "Timeline",
        "Track",
        "Window",
    ),
    "emoclip.timeline": ("Baseline",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Baseline",
    "Classification",
    "ConfigError",
    "EmoCLIP",
    "EmoclipError",
    "FaceConfig",
    "FaceResult",
    "InputError",
    "InputWarning",
    "LabelSummary",
    "LabelWarning",
    "OutputError",
    "PackageError",
    "Peak",
    "PromptSet",
    "Recording",
    "SeenFace",
    "SeenFrame",
    "Segment",
    "SegmentConfig",
    "Timeline",
    "Track",
    "Window",
    "WindowConfig",
    "__version__",
    "metrics",
    "resolve",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import emoclip` costs nothing.
    from importlib import import_module

    if name == "metrics":
        return import_module("emoclip.metrics")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'emoclip' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""What a face in a video expresses, in your own words.

The output says how an expression reads to a viewer, not what a person feels.
"""

import os
from typing import TYPE_CHECKING, Any

# Nothing leaves the machine: ONNX Runtime looks up its maker's host, unless this stands before it is imported, and the
# hub's client names what runs it.  Here, since every module of ours and every worker passes here first.
os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
__all__ = ["Classification", "EmoCLIP", "EmoclipError", "Timeline", "__version__"]

if TYPE_CHECKING:
    from emoclip.engine import EmoCLIP
    from emoclip.errors import EmoclipError
    from emoclip.results import Classification, Timeline

_HOMES = {
    "Classification": "emoclip.results",
    "EmoCLIP": "emoclip.engine",
    "EmoclipError": "emoclip.errors",
    "Timeline": "emoclip.results",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import emoclip` costs nothing.
    if name not in _HOMES:
        raise AttributeError(f"module 'emoclip' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

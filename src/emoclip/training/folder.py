"""The folder of a run: what lies in it, and whether a run may begin there.  Known without torch, so before the wait."""

import os
from pathlib import Path

from emoclip.errors import ConfigError, OutputError
from emoclip.files import check_no_file, check_room
from emoclip.model import check_target

LAST, BEST, WHOLE, PACKAGE = "last.safetensors", "best.safetensors", "model.safetensors", "package"


def check_folder(out: Path, *, going_on: bool, force: bool) -> None:
    """Refuse what cannot be, before there is work and before anything is made.  Raises OutputError, ConfigError."""
    if going_on and force:
        raise ConfigError("--resume goes on with the run that --force drops; pass one of them")
    check_no_file(out)
    if (out / LAST).is_file() and not going_on and not force:
        raise OutputError(
            f"{out}: holds a run already; pass --resume to go on with it, or --force to start again"
        )
    if os.environ.get("RANK", "0") == "0":  # processes would take each other's trial folders away
        check_room(out)
        if (out / PACKAGE).exists():
            check_target(out / PACKAGE, force=True)

"""The one writer of model packages: whole or not at all, every file hashed, read back before it counts."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emoclip.errors import OutputError, PackageError, few
from emoclip.files import atomic_folder, check_no_file, check_room, sha256, write_text
from emoclip.model import package as packages
from emoclip.model.package import CARD
from emoclip.model.pixels import PixelSpec

CONFIG = "config.json"
LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # beside "._NAME"


@dataclass(frozen=True)
class Description:
    """What a package's config.json and card say of it.

    training_data: in words.  sample_fps: frames per second of video that are embedded.
    notes: paragraphs of Markdown for the card.
    """

    name: str
    licence: str
    source: str
    training_data: str
    pixels: PixelSpec
    frames_per_clip: int = 32
    sample_fps: float = 7.5
    notes: str = ""

    def config(
        self, *, width: int, logit_scale: float, temporal: str, precision: str, **facts: Any
    ) -> dict[str, Any]:
        """Return the content of config.json but for the hashes.  facts: what else there is to say."""
        return {
            "format": packages.FORMAT,
            "name": self.name,
            "licence": self.licence,
            "source": self.source,
            "training_data": self.training_data,
            "image": asdict(self.pixels),
            "frames_per_clip": self.frames_per_clip,
            "sample_fps": self.sample_fps,
            "width": width,
            "logit_scale": logit_scale,
            "temporal": temporal,
            "precision": precision,
            **facts,
        }


def check_target(folder: Path, *, force: bool = False) -> None:
    """Raise OutputError now for a place that `new_package` would refuse after the work is done."""
    check_no_file(folder)
    check_room(folder.parent)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / CONFIG).is_file():
        raise OutputError(f"{folder}: exists and is not a model package; name another folder")
    if not force:
        raise OutputError(f"{folder}: holds a model package already; pass --force to replace it")
    if others := _not_listed(folder):
        raise OutputError(
            f"{folder}: holds {few(others)}, which its {CONFIG} does not list and replacing it would delete; move that "
            "elsewhere, or name another folder"
        )


def _not_listed(folder: Path) -> list[str]:
    """Name what lies in a package's folder and is none of its files, nor what systems leave in any folder.

    Raises OutputError where nobody can tell.
    """
    try:
        listed = {CONFIG, *packages.read_config(folder).values["files"]}
    except PackageError as error:
        raise OutputError(f"{error}; until then, nobody can tell what else the folder holds") from None
    there = [path for path in folder.rglob("*") if not path.is_dir()]
    others = [path for path in there if path.name not in LITTER and not path.name.startswith("._")]
    return sorted({path.relative_to(folder).as_posix() for path in others} - listed)


@contextmanager
def new_package(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder to put graphs and tokenizer into and to `seal`; at the end it becomes the package.

    Raises OutputError for a folder that holds a package (unless `force`) or anything else (always, beside a package
    too), and where it cannot be written; PackageError if what was put there cannot be read back as a package.  Then
    nothing is left.
    """
    check_target(folder, force=force)
    with atomic_folder(folder, force=True, whole=True) as part:
        yield part
        try:
            packages.read(part)
        except PackageError as error:
            raise PackageError(f"{error} (nothing was written)") from None
        check_target(folder, force=force)  # one may have come meanwhile


def seal(folder: Path, config: Mapping[str, Any] | None = None, card: str | None = None) -> None:
    """Write the card and, last, config.json with the SHA-256 of every other file in the folder.

    config: None keeps what config.json says, but for the hashes.  card: None leaves README.md.  Raises OutputError.
    """
    if card is not None:
        write_text(folder / CARD, card, force=True)
    if config is None:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    hashes = {name: sha256(folder / name) for name in names if name != CONFIG}
    content = json.dumps({**config, "files": hashes}, indent=2, ensure_ascii=False)
    write_text(folder / CONFIG, content + "\n", force=True)


def add_to_card(folder: Path, text: str) -> None:
    """Add a section to a package's card, and seal it again.  Raises OutputError."""
    seal(folder, card=f"{(folder / CARD).read_text(encoding='utf-8').rstrip()}\n\n{text}\n")

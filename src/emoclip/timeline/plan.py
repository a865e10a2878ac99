"""What a run of many inputs is to make: its settings, and the names of the files that each input gives."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from emoclip.addresses import is_address
from emoclip.characters import is_encodable, percent, utf8
from emoclip.config import FaceConfig, Numbers, SegmentConfig, WindowConfig
from emoclip.errors import ConfigError, few
from emoclip.faces import settled
from emoclip.files import shorten, told
from emoclip.model import Precision
from emoclip.prompts import PromptSet, resolve
from emoclip.recording import is_recording
from emoclip.timeline.baseline import Baseline
from emoclip.timeline.formats import WRITERS, check_installed
from emoclip.video import OVERLAY, Found, called

# What --formats names: what follows the input's stem in the names of the files it makes.
SUFFIXES = {name: tuple(files) for name, files in WRITERS.items()} | {
    "html": (".html",),
    "overlay": (OVERLAY,),
    "npz": (".npz",),
}
DEFAULT_FORMATS = ("csv", "html")


@dataclass(frozen=True)
class Settings(Numbers):
    """What every input of a run shares; can be sent to another process.

    pictures: whether outputs may hold faces.  blur: none in pages, hidden ones in overlays.
    recordings: a folder in which recordings are looked for before a video is watched, and kept afterwards.
    watch_only: write recordings into it and nothing else; labels do not matter then.
    strict: stop if the model cannot tell labels apart.  raw_cells: leave CSV text as it is, formulas too.
    absolute_paths: tell whole paths in sidecars.  command: the arguments of the command line, for the sidecars.
    """

    out: Path
    prompts: PromptSet = field(default_factory=lambda: resolve("seven"))
    model: str = "mini"
    formats: tuple[str, ...] = DEFAULT_FORMATS
    faces: FaceConfig = field(default_factory=lambda: FaceConfig(mode="all"))
    windows: WindowConfig = field(default_factory=WindowConfig)
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    start_s: float = 0.0
    end_s: float | None = None
    fps: float = 25.0  # of folders of pictures and TIFF pages, which carry no times
    pictures: bool = True
    blur: bool = False
    scores: bool = False
    baseline: Baseline | None = None
    force: bool = False
    strict: bool = False
    raw_cells: bool = False
    absolute_paths: bool = False
    threads: int | None = None
    provider: str = "CPU"
    precision: Precision = "auto"
    command: tuple[str, ...] = ()
    recordings: Path | None = None
    watch_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.formats or ("",):
            if name not in SUFFIXES:
                raise ConfigError(f"formats: {name!r} is none of {', '.join(SUFFIXES)}")
        if "overlay" in self.formats and not self.pictures:
            raise ConfigError("formats: an overlay shows the faces; leave it out with --embeddings-only")
        if self.recordings and "npz" in self.formats and self.recordings.resolve() == self.out.resolve():
            raise ConfigError("formats: npz is what --recordings keeps, in the same folder; leave npz out")
        self.prompts.check_asked(scores=self.scores, baseline=self.baseline is not None)
        check_installed(self.formats)

    def choices(self, source: str | int) -> dict[str, Any]:
        """Return the settings that change an output of an input, as plain data, with the detector that is used."""
        names = {"formats", "faces", "windows", "segments", "start_s", "end_s", "fps", "pictures", "blur"}
        names |= {name for name in ("scores", "baseline", "raw_cells") if getattr(self, name)}
        chosen = {name: value for name, value in asdict(self).items() if name in names}
        return chosen if is_recording(source) else chosen | {"faces": asdict(settled(self.faces)[0])}


@dataclass(frozen=True)
class Input:
    """One input and the name that its outputs begin with."""

    source: str | int
    name: str


def plan(sources: Sequence[str | int | Found], settings: Settings) -> list[Input]:
    """Name every input's outputs, by that input alone.

    What was found in a folder is named by its way inside that folder, anything else by itself, without the ending.
    A part of more than 200 bytes is cut short and ends in a hash of itself; bytes that are no UTF-8 become %NN.
    Raises ConfigError if two outputs would have one name, or a format cannot be made of an input.
    """
    inputs = []
    for found in sources:
        source = found.source if isinstance(found, Found) else found
        if "overlay" in settings.formats and (
            source == "-" or isinstance(source, int) or is_recording(source)
        ):
            raise ConfigError(
                f"formats: an overlay needs a video to read again, which {source!r} is not; leave it out"
            )
        if "npz" in settings.formats and is_recording(source) and not settings.watch_only:
            extra = "npz" if settings.pictures else "--embeddings-only"
            raise ConfigError(f"formats: {called(source)} is an npz already; leave {extra} out")
        inputs.append(Input(source, _name(source, found.inside if isinstance(found, Found) else None)))
    inputs = list(dict.fromkeys(inputs))
    taken: dict[str, Input] = {}
    clashes: dict[tuple[Input, Input], Path] = {}  # and the first file that both would write
    for item in inputs:
        if settings.watch_only and is_recording(item.source):
            continue  # which gives no file
        for target in targets(item, settings):
            other = taken.setdefault(str(target).casefold(), item)
            if other is not item:
                clashes.setdefault((other, item), target)
    if clashes:
        raise _clash(clashes, settings)
    return inputs


def _clash(clashes: Mapping[tuple[Input, Input], Path], settings: Settings) -> ConfigError:
    (one, other), target = next(iter(clashes.items()))
    pairs = [f"{called(first.source)} and {called(second.source)}" for first, second in clashes]
    made = target.relative_to(settings.out).as_posix()
    beside = Path(str(one.source)).parent == Path(str(other.source)).parent
    remedy = "rename one, or " if beside else "name the folder that holds both, or "
    remedy = "" if is_address(str(one.source)) or is_address(str(other.source)) else remedy
    more = f"; so it is with {few(pairs[1:])}" if pairs[1:] else ""
    return ConfigError(f"{pairs[0]}: both would write {made}; {remedy}give each its own --out{more}")


def targets(item: Input, settings: Settings) -> list[Path]:
    """Every file that an input gives, the sidecar first, which a recording alone has not."""
    sidecar = [] if settings.watch_only else [".json"]
    suffixes = [*sidecar, *(suffix for name in settings.formats for suffix in SUFFIXES[name])]
    return [settings.out / f"{item.name}{suffix}" for suffix in suffixes]


def _name(source: str | int, inside: str | None) -> str:
    """What the outputs of an input begin with, with slashes between folders."""
    if isinstance(source, int):
        return f"camera-{source}"
    if source == "-":
        return "stdin"
    if is_address(source):
        host, _, inner = told(source).split("://", 1)[1].partition("/")
        inner = str(PurePosixPath(inner).with_suffix("")) if inner else ""
        parts = re.split(r'[\x00-\x1f<>:"/\\|?*]+', f"{host}/{inner}")
        return _writable("-".join(part for part in parts if part).rstrip(". ")) or "address"
    # Not through links: an input is called what its user calls it.
    path = Path(os.path.abspath(source))  # noqa: PTH100 (takes any length)
    way = Path(inside) if inside else Path(path.name)
    if not os.path.isdir(path):  # noqa: PTH112 (takes any length)
        way = way.parent / way.stem
    return "/".join(_writable(part) for part in way.parts) or "root"


def _writable(name: str) -> str:
    return shorten(name if is_encodable(utf8(name)) else percent(name))

"""Model packages: found by name or path, verified by hash, never executed.

A package may come from anybody.  So whatever an engine will open is looked at first: files of the folder alone, each
listed with its hash, plain graphs of the right sizes, numbers in their ranges.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from emoclip.errors import ConfigError, PackageError, out_of_memory, reason, shown
from emoclip.files import at_home, sha256, told
from emoclip.model import onnxfile
from emoclip.model.fields import Fields, read_json
from emoclip.model.onnxfile import Graph, Value
from emoclip.model.pixels import PixelSpec

FORMAT = 1
STORED = ("fp32", "fp16", "int8")  # how weights can be stored
QUANTISED_FORM = 1  # of the 8-bit image graph that lies beside image.onnx
# x86 without VNNI adds pairs of 8-bit products in 16 bits: 2 x 255 x 64 still fits, so every kernel computes the same.
GREATEST_WEIGHT = 64
MOST_BYTES = 4 << 30  # of one file; a ViT-L/14 has 1.7 GB
# From which a file is hashed again only where it was written since: of 350 MB it takes half as long as opening them.
LARGE_BYTES = 32 << 20
LOGIT_SCALES = (1e-6, 1e6)  # multipliers of cosines; far outside of any that was learned
BUNDLED = "mini"
CARD = "README.md"  # prose for people, who go on writing it: nothing is computed from it
_GRAPHS = {"transformer": ("image.onnx", "temporal.onnx", "text.onnx"), "mean": ("image.onnx", "text.onnx")}
# What a file in a package may be called, on any system: nothing hidden, nothing outside the folder, no device.
_PLAIN = re.compile(r"(?!.{200})[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class Package:
    """A verified model package.

    path: absolute.  digest: its identity, the SHA-256 of config.json, which holds the hashes of all its files.
    width: D, of frame, clip and text embeddings.  logit_scale: the multiplier of cosines, exp already applied.
    frames_per_clip: frames the temporal part sees.  sample_fps: frames per second of video that are embedded.
    precision: how the weights of image.onnx are stored.  config: the whole of config.json.
    graphs: what each graph of the package takes, gives and refers to, by file name.
    """

    path: Path
    digest: str
    name: str
    pixels: PixelSpec
    width: int
    logit_scale: float
    temporal: str
    frames_per_clip: int
    sample_fps: float
    precision: str
    config: Mapping[str, Any]
    graphs: Mapping[str, Graph]

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_again, (self.path, self.digest)

    def checked(self, name: str) -> Path:
        """Return where a listed file lies, which still is, with the weights beside it, what config.json says.

        For each opening: files are opened long after the package was read, and may have been changed in between.
        Raises PackageError.
        """
        for each in (name, *(self.graphs[name].files if name in self.graphs else ())):
            _verify_file(self, each)
        return self.path / name

    @property
    def seen_by(self) -> str:
        """Whose recordings it can be asked about: its digest, or that of the package which it is with a head added."""
        head = self.config.get("symptoms")
        source = head.get("seen_by") if isinstance(head, dict) else None
        return source if isinstance(source, str) else self.digest

    @property
    def precisions(self) -> tuple[str, ...]:
        """What its image tower can be run as; int8 only where this version knows the form of the 8-bit graph."""
        if self.precision == "int8":
            return ("int8",)
        quantisation = self.config.get("quantisation", {})
        readable = "graph" in quantisation and quantisation.get("form") == QUANTISED_FORM
        return ("fp32", "bf16", "int8") if readable else ("fp32", "bf16")

    @property
    def narrow(self) -> bool:
        """Whether its 8-bit weights are so small that no processor's fast kernels overflow."""
        greatest = self.config.get("quantisation", {}).get("greatest_weight")
        return isinstance(greatest, int) and 0 < greatest <= GREATEST_WEIGHT

    @property
    def rejection(self) -> float | None:
        """The cosine below which a clip fits no label, if the package has one."""
        threshold = self.config.get("rejection", {}).get("threshold")
        return None if threshold is None else float(threshold)

    @property
    def resting(self) -> NDArray[np.float32] | None:
        """(D,) the mean clip embedding of many people's neutral faces, if the package has it."""
        found = self.config.get("resting")
        return None if found is None else np.asarray(found, np.float32)

    @property
    def intensity(self) -> tuple[float, float] | None:
        """Slope and offset of a label's score from its cosine, if the package has them: 1 / (1 + exp(-(s * c + o)))."""
        found = self.config.get("intensity")
        return None if found is None else (float(found["slope"]), float(found["offset"]))

    @property
    def int8_graph(self) -> str:
        """The file of the 8-bit image tower."""
        return str(self.config["quantisation"]["graph"]) if self.precision != "int8" else "image.onnx"


def cache_folder() -> Path:
    """Return the folder in which fetched and locally made packages are found by name (EMOCLIP_CACHE overrides).

    Raises ConfigError where that is no folder.
    """
    if override := os.environ.get("EMOCLIP_CACHE"):
        place = str(at_home(override))
        if place.startswith("~") and not os.path.isdir(place):  # noqa: PTH112 (no error over rights)
            raise ConfigError(
                f"EMOCLIP_CACHE={told(override)}: there is no such home folder; set it to a whole path, or leave it out"
            )
        if os.path.exists(place) and not os.path.isdir(place):  # noqa: PTH110, PTH112 (no error over rights)
            raise ConfigError(f"EMOCLIP_CACHE={told(override)} is no folder; set it to one, or leave it out")
        return Path(place)
    nowhere = Path(os.devnull, "emoclip")  # which nobody can make, root neither
    try:
        folder = user_cache_path("emoclip", appauthor=False)
    except RuntimeError:  # without a home folder; so nothing is kept
        return nowhere
    # Older versions return `~/...` then, which would be made where one stands.
    return folder if folder.is_absolute() else nowhere


def bundled_folder() -> Path:
    """Return the folder of the packages that are installed with emoclip."""
    return Path(str(files("emoclip"))) / "packages"


def read(folder: Path) -> Package:
    """Read and verify the package in a folder.  Raises PackageError that says what is wrong with it."""
    config = read_config(folder)
    try:
        package = _package(folder, config)
    except ValueError as error:
        raise PackageError(f"{folder}/config.json: {error}; export the package again") from None
    _verify(package)
    for graph in config.values["files"]:
        if graph.endswith(".onnx"):
            _check_graph(package, graph)
    return package


def read_config(folder: Path) -> Fields:
    """Read a package's config.json.  Raises PackageError for one that is missing, foreign or of another format."""
    path = folder / "config.json"
    try:
        config = read_json(path)
    except FileNotFoundError:
        raise PackageError(
            f"{folder}: is not a model package (no config.json); name a package's folder"
        ) from None
    except (OSError, ValueError) as error:
        raise PackageError(
            f"{path}: cannot be read ({reason(error)}); fetch or export the package again"
        ) from None
    if not config.has("format") or not isinstance(config.values.get("files"), dict):
        raise PackageError(f"{path}: is not the config of an emoclip model package (no format or files)")
    if config.values["format"] != FORMAT:
        raise PackageError(
            f"{path}: has package format {shown(config.values['format'])}, this version reads format {FORMAT}; "
            "update emoclip or export the package again"
        )
    return config


def is_plain(name: str) -> bool:
    """Say whether a file's name, parts divided by slashes, leads nowhere outside a folder on any system."""
    return _PLAIN.fullmatch(name) is not None


def check_values(place: Path, values: Mapping[str, Value], expected: Mapping[str, Value], does: str) -> None:
    """Raise PackageError unless a graph's inputs or outputs are what the config says.

    place: the graph.  does: takes or gives.  What a graph leaves open passes: engines find it out.
    """
    if values.keys() != expected.keys():
        raise PackageError(
            f"{place}: {does} {shown(', '.join(values) or 'nothing')} where {', '.join(expected)} belongs; "
            "export the package again"
        )
    for name, value in values.items():
        wanted = expected[name]
        if value.kind not in (0, wanted.kind):
            raise PackageError(
                f"{place}: {does} {name} of type {value.kind} where {wanted.kind} belongs (types of ONNX); "
                "export the package again"
            )
        if value.dims is not None and not _fits(value.dims, wanted.dims or ()):
            raise PackageError(
                f"{place}: {does} {name} of size {_sizes(value.dims)} where {_sizes(wanted.dims or ())} belongs; "
                "export the package again"
            )


def _package(folder: Path, config: Fields) -> Package:
    for key in ("licence", "source", "training_data"):
        if config.has(key):
            config.text(key)
    if "rejection" in config.values and config.inner("rejection").has("threshold"):
        config.inner("rejection").number("threshold", -1, 1)
    if "intensity" in config.values:
        config.inner("intensity").number("slope", 0, 1e6)
        config.inner("intensity").number("offset", -1e6, 1e6)
    if "resting" in config.values and len(config.numbers("resting", -1, 1)) != config.whole(
        "width", 1, 65_536
    ):
        raise ValueError("resting must have as many numbers as width says")
    if "quantisation" in config.values:
        _check_quantisation(config.inner("quantisation"))
    files = config.inner("files")
    for name in files.values:
        files.text(name)
    return Package(
        path=folder.absolute(),  # files are opened later, from whatever folder is then the current one
        digest=sha256(folder / "config.json"),
        name=config.text("name"),
        pixels=PixelSpec.from_config(config.inner("image")),
        width=config.whole("width", 1, 65_536),
        logit_scale=config.number("logit_scale", *LOGIT_SCALES),
        temporal=config.text("temporal", tuple(_GRAPHS)),
        frames_per_clip=config.whole("frames_per_clip", 1, 65_536),
        sample_fps=config.number("sample_fps", 1e-3, 1e3),
        precision=config.text("precision", STORED),
        config=config.values,
        graphs={},
    )


def _check_quantisation(info: Fields) -> None:
    if info.has("graph") and not info.text("graph").endswith(".onnx"):
        raise ValueError(f"quantisation.graph={shown(info.values['graph'])} must be an .onnx file")
    if info.has("form"):
        info.whole("form", 0, 1_000_000)
    for engine in info.inner("engines").values if "engines" in info.values else ():
        for figure in ("centred_cosine", "label_agreement"):
            info.inner("engines").inner(engine).number(figure, -1, 1)


def _verify(package: Package) -> None:
    listed: Mapping[str, str] = package.config["files"]
    for needed in (*_GRAPHS[package.temporal], "tokenizer.json"):
        if needed not in listed:
            raise PackageError(f"{package.path}: config.json lists no {needed}; export the package again")
    if package.config.get("quantisation", {}).get("graph", "image.onnx") not in listed:
        raise PackageError(
            f"{package.path}: config.json lists no graph for its quantisation; export the package again"
        )
    if strange := [name for name in listed if not is_plain(name) or name == "config.json"]:
        raise PackageError(
            f"{package.path}: config.json lists {shown(strange[0])}, no plain name of a file: outside the package or "
            "not for every system; do not trust it"
        )
    for name in listed:
        if name != CARD:
            _verify_file(package, name)
        elif os.path.lexists(package.path / name):
            _check_regular(package.path, name)


def _verify_file(package: Package, name: str) -> None:
    path = package.path / name
    found = _check_regular(package.path, name)
    stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    try:
        digest = _large_sha256(path, stamp) if found.st_size >= LARGE_BYTES else sha256(path)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({reason(error)}); fetch or export it again") from None
    if digest != package.config["files"].get(name):
        raise PackageError(
            f"{path}: is damaged or was changed (its SHA-256 is not the one in config.json); "
            "fetch, export or install the package again"
        )


@lru_cache
def _large_sha256(path: Path, stamp: tuple[int, ...]) -> str:
    """The SHA-256 of a file; stamp: what changes with its content."""
    return sha256(path)


def _read_again(path: Path, digest: str) -> Package:
    """Read a package that was pickled.  Raises PackageError, also where another has taken its place."""
    package = read(path)
    if package.digest != digest:
        raise PackageError(f"{path}: is another package than when its model was pickled; load the model anew")
    return package


def _check_regular(folder: Path, name: str) -> os.stat_result:
    """Refuse links, pipes and devices, by which a name inside the folder leads outside."""
    path = folder
    for part in name.split("/"):
        path = path / part
        try:
            found = os.lstat(path)
        except OSError:
            raise PackageError(
                f"{folder / name}: is missing from the package; fetch or export it again"
            ) from None
        mode = found.st_mode
        if not (stat.S_ISREG(mode) if path == folder / name else stat.S_ISDIR(mode)):
            kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
            raise PackageError(f"{path}: is {kind}; copy the file itself into the package")
    if found.st_size > MOST_BYTES:
        raise PackageError(
            f"{path}: is larger than {MOST_BYTES >> 30} GiB, as no package's file is; do not trust it"
        )
    return found


def _check_graph(package: Package, name: str) -> None:
    """Refuse a graph that is not plain, leads to files that are not listed, or does not fit the config."""
    path = package.path / name
    try:
        graph = onnxfile.read(path)
    except (OSError, ValueError) as error:
        if out_of_memory(error):
            raise MemoryError(f"{path}: {reason(error)}") from None
        raise PackageError(
            f"{path}: {reason(error)}; export the package again, as a plain ONNX graph"
        ) from None
    for file, end in graph.files.items():
        if file not in package.config["files"]:
            raise PackageError(
                f"{path}: refers to {shown(file)}, which config.json does not list; do not trust it"
            )
        if file == CARD:
            raise PackageError(f"{path}: refers to {CARD}, which anybody may change; do not trust it")
        if (package.path / file).stat().st_size < end:
            raise PackageError(f"{package.path / file}: ends too early; fetch or export the package again")
    expected = _expected(package, name)
    if expected:
        check_values(path, graph.inputs, expected[0], "takes")
        check_values(path, graph.outputs, expected[1], "gives")
    package.graphs[name] = graph  # type: ignore[index]


def _expected(package: Package, name: str) -> tuple[dict[str, Value], dict[str, Value]] | None:
    """What the graphs that this module knows take and give."""
    pixels, width = package.pixels, package.width
    takes = {
        "temporal.onnx": {"frames": Value(onnxfile.FLOAT, (None, None, width))},
        "text.onnx": {"tokens": Value(onnxfile.INT64, (None, None))},
    }
    for graph in {"image.onnx", package.config.get("quantisation", {}).get("graph", "image.onnx")}:
        takes[graph] = {"pixels": Value(onnxfile.FLOAT, (None, len(pixels.mean), pixels.size, pixels.size))}
    return (takes[name], {"embedding": Value(onnxfile.FLOAT, (None, width))}) if name in takes else None


def _fits(dims: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    # How many there are at once must be free; any other free size may turn out to be right.
    return (
        len(dims) == len(wanted)
        and (dims[0] is None or wanted[0] is not None)
        and all(None in (have, want) or have == want for have, want in zip(dims, wanted, strict=True))
    )


def _sizes(dims: tuple[int | None, ...]) -> str:
    return " x ".join("any" if size is None else str(size) for size in dims)

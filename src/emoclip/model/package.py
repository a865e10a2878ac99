"""Model packages: found by name or path, verified by hash, never executed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from emoclip.errors import PackageError
from emoclip.files import sha256
from emoclip.model.pixels import PixelSpec

FORMAT = 1
QUANTISED_FORM = 1  # of the 8-bit image graph that lies beside image.onnx
BUNDLED = "mini"
HUB = "hub:"  # before a name that the Hugging Face hub may be asked for
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_GRAPHS = {"transformer": ("image.onnx", "temporal.onnx", "text.onnx"), "mean": ("image.onnx", "text.onnx")}


@dataclass(frozen=True)
class Package:
    """A verified model package.

    width: D, of frame, clip and text embeddings.  logit_scale: the multiplier of cosines, exp already applied.
    frames_per_clip: frames the temporal part sees.  sample_fps: frames per second of video that are embedded.
    precision: how the weights of image.onnx are stored.  config: the whole of config.json.
    """

    path: Path
    name: str
    pixels: PixelSpec
    width: int
    logit_scale: float
    temporal: str
    frames_per_clip: int
    sample_fps: float
    precision: str
    config: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Its identity: the SHA-256 of config.json, which holds the hashes of all its files."""
        return sha256(self.path / "config.json")

    @property
    def precisions(self) -> tuple[str, ...]:
        """What its image tower can be run as; int8 only where this version knows the form of the 8-bit graph."""
        if self.precision == "int8":
            return ("int8",)
        quantisation = self.config.get("quantisation", {})
        readable = "graph" in quantisation and quantisation.get("form") == QUANTISED_FORM
        return ("fp32", "bf16", "int8") if readable else ("fp32", "bf16")

    @property
    def rejection(self) -> float | None:
        """The cosine below which a clip fits no label, if the package has one."""
        threshold = self.config.get("rejection", {}).get("threshold")
        return None if threshold is None else float(threshold)

    @property
    def int8_graph(self) -> str:
        """The file of the 8-bit image tower."""
        return str(self.config["quantisation"]["graph"]) if self.precision != "int8" else "image.onnx"


def cache_folder() -> Path:
    """Return the folder in which fetched and locally made packages are found by name (EMOCLIP_CACHE overrides)."""
    import os

    override = os.environ.get("EMOCLIP_CACHE")
    return Path(override) if override else user_cache_path("emoclip", appauthor=False)


def bundled_folder() -> Path:
    """Return the folder of the packages that are installed with emoclip."""
    return Path(str(files("emoclip"))) / "packages"


def find(name: str) -> Path:
    """Return a package's folder by bundled name, name in the cache (`org/name` too), path, or `hub:org/name`.

    Only the last asks the hub, where it is not in the cache.  Raises PackageError that says where it looked.
    """
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    plain = Path(name).name == name
    if plain:
        for home in (bundled_folder(), cache_folder()):
            if (home / name / "config.json").is_file():
                return home / name
    elif _HUB_NAME.fullmatch(hub_name := name.removeprefix(HUB)):
        if (cache_folder() / hub_name / "config.json").is_file():
            return cache_folder() / hub_name
        if name == hub_name:
            raise PackageError(
                f"{name}: no such folder, and no model fetched under this name; "
                f"one on the Hugging Face hub is {HUB}{name}, or `emoclip models fetch {name}` once"
            )
        from emoclip.model.hub import fetch

        return fetch(hub_name)
    raise PackageError(
        f"{name}: no model package of this name (bundled, or in {cache_folder()}) and no such folder; "
        "`emoclip models list` shows what there is"
    )


def load(name: str) -> Package:
    """Find a package and verify it.  Raises PackageError that says what is wrong with it."""
    folder = find(name)
    config = _read_config(folder)
    try:
        package = Package(
            path=folder,
            name=str(config["name"]),
            pixels=PixelSpec.from_config(config["image"]),
            width=int(config["width"]),
            logit_scale=float(config["logit_scale"]),
            temporal=str(config["temporal"]),
            frames_per_clip=int(config["frames_per_clip"]),
            sample_fps=float(config["sample_fps"]),
            precision=str(config["precision"]),
            config=config,
        )
    except KeyError as error:
        raise PackageError(
            f"{folder}/config.json: has no {error.args[0]!r}; export the package again"
        ) from None
    except (TypeError, ValueError) as error:
        raise PackageError(f"{folder}/config.json: {error}; export the package again") from None
    _check_ranges(package)
    _verify(package)
    return package


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(
            f"{folder}: is not a model package (no config.json); name a package's folder"
        ) from None
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: cannot be read ({error}); fetch or export the package again") from None
    if not isinstance(config, dict) or "format" not in config or not isinstance(config.get("files"), dict):
        raise PackageError(f"{path}: is not the config of an emoclip model package (no format or files)")
    if config["format"] != FORMAT:
        raise PackageError(
            f"{path}: has package format {config['format']}, this version reads format {FORMAT}; "
            "update emoclip or export the package again"
        )
    return config


def _check_ranges(package: Package) -> None:
    path = package.path / "config.json"
    if package.temporal not in _GRAPHS:
        raise PackageError(f"{path}: temporal={package.temporal!r} must be transformer or mean")
    if min(package.width, package.frames_per_clip) < 1 or package.sample_fps <= 0 or package.logit_scale <= 0:
        raise PackageError(f"{path}: width, frames_per_clip, sample_fps and logit_scale must be positive")


def _verify(package: Package) -> None:
    listed: Mapping[str, str] = package.config["files"]
    for needed in (*_GRAPHS[package.temporal], "tokenizer.json"):
        if needed not in listed:
            raise PackageError(f"{package.path}: config.json lists no {needed}; export the package again")
    quantisation = package.config.get("quantisation", {})
    if not isinstance(quantisation, dict) or not {quantisation.get("graph")} <= {None, *listed}:
        raise PackageError(
            f"{package.path}: config.json lists no graph for its quantisation; export the package again"
        )
    for name, expected in listed.items():
        path = package.path / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise PackageError(
                f"{package.path}: config.json lists {name!r}, outside the package; do not trust it"
            )
        if not path.is_file():
            raise PackageError(f"{path}: is missing from the package; fetch or export it again")
        if sha256(path) != expected:
            raise PackageError(
                f"{path}: is damaged or was changed (its SHA-256 is not the one in config.json); "
                "fetch, export or install the package again"
            )

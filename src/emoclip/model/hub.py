"""Models by name: where each lies or comes from, under which licence, and fetching what can be fetched."""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from emoclip.errors import PackageError, reason, shown
from emoclip.files import sha256
from emoclip.model import package as packages
from emoclip.model.package import Package

HUB = "hub:"  # before a name that the Hugging Face hub may be asked for
TRIES, PATIENCE_S, CHUNK_BYTES = 6, 10, 1 << 20  # of a download whose connection breaks
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class KnownModel:
    """A model that `emoclip models` knows.

    size_mb: of the package, fp32.  weights_repository, weights_file: on the Hugging Face hub, what it is made from;
    a model with a file but no repository is made from a file that the user downloads.
    openai_file: the same weights as OpenAI published them.  backbone: open_clip's name of the architecture.
    """

    name: str
    about: str
    licence: str
    size_mb: int
    source: str
    weights_file: str = ""
    weights_repository: str = ""
    openai_file: str = ""
    backbone: str = ""


_CLIP = "CLIP's image and text towers, mean of unit frame embeddings: the paper's CLIP row"
KNOWN = {
    model.name: model
    for model in (
        KnownModel("mini", "the bundled model", "Apache-2.0", 15, "comes with emoclip"),
        KnownModel(
            "clip-vit-b-32",
            f"{_CLIP} (ViT-B/32)",
            "MIT",
            607,
            "OpenAI, github.com/openai/CLIP",
            "open_clip_model.safetensors",
            "timm/vit_base_patch32_clip_224.openai",
            "ViT-B-32.pt",
            "ViT-B-32-quickgelu",
        ),
        KnownModel(
            "clip-vit-b-16",
            f"{_CLIP}, at ViT-B/16",
            "MIT",
            600,
            "OpenAI, github.com/openai/CLIP",
            "open_clip_model.safetensors",
            "timm/vit_base_patch16_clip_224.openai",
            "ViT-B-16.pt",
            "ViT-B-16-quickgelu",
        ),
        KnownModel(
            "clip-vit-l-14",
            f"{_CLIP}, at ViT-L/14",
            "MIT",
            1712,
            "OpenAI, github.com/openai/CLIP",
            "open_clip_model.safetensors",
            "timm/vit_large_patch14_clip_224.openai",
            "ViT-L-14.pt",
            "ViT-L-14-quickgelu",
        ),
        KnownModel(
            "emoclip-mafw",
            "the authors' EmoCLIP, trained on MAFW captions",
            "code Apache-2.0; no licence stated for the weights, MAFW itself is for research",
            648,
            "Foteinopoulou & Patras, github.com/NickyFot/EmoCLIP (README, Downstream task weights)",
            "emoclip-mafw.pth",
        ),
    )
}


def find(name: str) -> Path:
    """Return a package's folder by bundled name, name in the cache (`org/name` too), path, or `hub:org/name`.

    Only the last asks the hub, where it is not in the cache.  Raises PackageError that says where it looked.
    """
    if not isinstance(name, str):
        raise PackageError(f"a model is named by text or a path, not by {shown(name)}")
    if not name:
        raise PackageError("a model without a name; is a variable of the shell not set?")
    is_file, is_there = os.path.isfile, os.path.exists  # take any length
    plain = Path(name).name == name
    # A folder that happens to be named like a bundled model is not meant; `./mini` is.
    if plain and is_file(packages.bundled_folder() / name / "config.json"):
        return packages.bundled_folder() / name
    if os.path.isdir(folder := os.path.expanduser(name)):  # noqa: PTH111, PTH112 (takes any name)
        return Path(folder)
    if is_file(folder) and not is_there(packages.cache_folder() / name / "config.json"):
        raise _file(name)
    if plain:
        if is_there(packages.cache_folder() / name / "config.json"):
            return packages.cache_folder() / name
    elif _HUB_NAME.fullmatch(hub_name := name.removeprefix(HUB)):
        if is_there(packages.cache_folder() / hub_name / "config.json"):
            return packages.cache_folder() / hub_name
        if name == hub_name:
            raise PackageError(
                f"{name}: no such folder, and no model fetched under this name; "
                f"one on the Hugging Face hub is {HUB}{name}, or `emoclip models fetch {name}` once"
            )
        return fetch(hub_name)
    if name.startswith(HUB):
        raise PackageError(
            f"{shown(name)}: no such folder, and a name on the hub is {HUB}ORGANISATION/NAME; check it"
        )
    if name == packages.BUNDLED:
        raise PackageError(
            f"{name}: comes with emoclip, but its files are not there; install it anew, unpacked"
        )
    if name in KNOWN:
        raise PackageError(f"{name}: is not fetched yet; `emoclip models fetch {name}` does so, once")
    raise PackageError(
        f"{name}: no model package of this name (bundled, or in {packages.cache_folder()}) and no such folder; "
        "`emoclip models list` shows what there is"
    )


def load(name: str | os.PathLike[str]) -> Package:
    """Find a package and verify it.  name: as in `find`; a `Path` is a folder.

    Raises PackageError that says where it looked, or what is wrong with it.
    """
    if not isinstance(name, os.PathLike):
        return packages.read(find(name))
    if os.path.isfile(name):  # noqa: PTH113 (takes any length)
        raise _file(name)
    return packages.read(Path(os.fsdecode(name)))


def _file(name: str | os.PathLike[str]) -> PackageError:
    return PackageError(f"{os.fsdecode(name)}: is a file; name the package's folder")


def weights_folder() -> Path:
    """Return the folder where weights that were downloaded by hand are looked for."""
    return packages.cache_folder() / "weights"


def fetch(name: str) -> Path:
    """Fetch a package from the Hugging Face hub into the cache and verify it.  name: `org/name`.  Returns its folder.

    An interrupted fetch goes on where it stopped; the folder appears only once every hash is right.
    Raises PackageError; without a connection it says what to put where.
    """
    if not packages.is_plain(name):
        raise PackageError(f"{shown(name)}: is no name on the hub, which are ORGANISATION/NAME; check it")
    folder = packages.cache_folder() / name
    if (folder / "config.json").is_file():
        return folder
    part = folder.with_name(f".{folder.name}.part")
    with _hub_errors(name, f"copy the package's files to {folder}"):
        from huggingface_hub.errors import RemoteEntryNotFoundError

        _download(name, "config.json", part / "config.json", fresh=True)
        for file in _listed(name, part):
            if not (part / file).is_file():
                with suppress(RemoteEntryNotFoundError) if file == packages.CARD else nullcontext():
                    _download(name, file, part / file)
        try:
            packages.read(part)
        except PackageError:
            # Damaged files would be taken for finished ones the next time.
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(folder)
    return folder


def fetch_weights(name: str) -> Path:
    """Return the weights file that a known model is made from, fetched from the hub if it is not there.

    Looked for first in `weights_folder()`, as NAME.safetensors, NAME.pth or OpenAI's file, then in the hub's cache.
    Raises PackageError; without a connection, or for weights that no hub has, it says what to put where.
    """
    model = KNOWN[name]
    places = [
        weights_folder() / place
        for place in (f"{name}.safetensors", f"{name}.pth", model.openai_file)
        if place
    ]
    if found := next((place for place in places if place.is_file()), None):
        return found
    if not model.weights_repository:
        raise PackageError(
            f"{name}: its weights are for you to download from {model.source}; "
            f"save the file as {weights_folder() / model.weights_file} and run this again"
        )
    by_hand = (
        f"on a connected machine download {model.weights_file} from {model.weights_repository} and save it as "
        f"{places[0]}, or OpenAI's {model.openai_file} as {places[-1]}"
    )
    with _hub_errors(name, by_hand):
        from huggingface_hub import try_to_load_from_cache

        if isinstance(cached := try_to_load_from_cache(model.weights_repository, model.weights_file), str):
            return Path(cached)
        _download(model.weights_repository, model.weights_file, places[0])
    return places[0]


def _listed(name: str, folder: Path) -> list[str]:
    try:
        names = list(packages.read_config(folder).values["files"])
    except PackageError:
        raise PackageError(
            f"{name}: its config.json is not that of an emoclip package; check the name"
        ) from None
    if strange := [file for file in names if not packages.is_plain(file)]:
        raise PackageError(f"{name}: lists {shown(strange[0])}, which is no plain file name; do not trust it")
    return names


def _download(repository: str, file: str, target: Path, *, fresh: bool = False) -> None:
    """Download one file of the hub: on from where it stopped, verified, in place only when it is whole.

    By hand, since `hf_hub_download` starts a file again in a new process, which hurts with weights of a gigabyte.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repository, file)
    # One question without the client's patience of half a minute: is there a hub, and the file?
    published = get_hf_file_metadata(url)
    part = target.with_name(f".{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    if fresh:
        part.unlink(missing_ok=True)
    with open(part, "ab") as content:
        if shutil.disk_usage(part.parent).free < (published.size or 0) - content.tell():
            raise OSError(errno.ENOSPC, "No space left on device", str(part))
        _continue(url, content, file, published.size)
    # The hub tags a large file with its SHA-256.
    if len(published.etag or "") == 64 and sha256(part) != published.etag:
        part.unlink()
        raise PackageError(f"{repository}: {file} arrived damaged and was removed; run this again")
    part.replace(target)


def _continue(url: str, content: BinaryIO, name: str, size: int | None) -> None:
    """Append what is missing of a file of the hub, and try again where a connection breaks."""
    from huggingface_hub import get_session, get_token, hf_raise_for_status
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    headers = {"Accept-Encoding": "identity"}  # a range of packed bytes would be of no use
    if token := get_token():
        headers["Authorization"] = f"Bearer {token}"
    tries = TRIES
    about: dict[str, Any] = {"total": size, "initial": content.tell(), "desc": name, "unit": "B"}
    with tqdm(**about, unit_scale=True, disable=None) as bar:  # type: ignore[no-untyped-call]
        while (here := content.tell()) != size:
            wanted = headers | ({"Range": f"bytes={here}-"} if here else {})
            try:
                with get_session().stream("GET", url, headers=wanted, timeout=PATIENCE_S) as answer:
                    hf_raise_for_status(answer)
                    if here and answer.status_code == 200:  # it sends all of the file again
                        content.truncate(0)
                        bar.update(-here)
                    for chunk in answer.iter_bytes(CHUNK_BYTES):
                        content.write(chunk)
                        bar.update(len(chunk))
                        tries = TRIES
                if size is None:
                    return
            except OSError:  # the disk, or what the hub itself answers
                raise
            except Exception:
                tries -= 1
                if not tries:
                    raise
                time.sleep(1)


@contextmanager
def _hub_errors(name: str, by_hand: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into one line with a remedy."""
    try:
        from huggingface_hub import errors
    except ImportError:
        raise PackageError(
            f"{name}: what asks the hub is not installed; pip install huggingface-hub, or {by_hand}"
        ) from None
    try:
        yield
    except PackageError:
        raise
    except errors.GatedRepoError:
        raise PackageError(
            f"{name}: asks for a login on the hub; run `hf auth login` and try again"
        ) from None
    except errors.RepositoryNotFoundError:
        raise PackageError(f"{name}: is not on the hub, or is private; check the name") from None
    except errors.RemoteEntryNotFoundError:
        raise PackageError(
            f"{name}: is on the hub, but lacks a file that makes an emoclip model; check the name"
        ) from None
    except errors.HFValidationError:
        raise PackageError(f"{name}: is no name on the hub, which are ORGANISATION/NAME; check it") from None
    except Exception as error:  # three clients below the hub's, each with kinds of its own
        if isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EACCES,
            errno.EROFS,
        ):
            raise PackageError(
                f"{name}: cannot be stored ({error.strerror}: {error.filename}); "
                "make room, or set EMOCLIP_CACHE to a folder on another disk"
            ) from None
        raise PackageError(f"{name}: the hub cannot be reached ({reason(error)}); {by_hand}") from None

"""Sentences' embeddings kept on disk, so that the text tower of a large model need not even be loaded again."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoclip.config import switch
from emoclip.errors import OutputError
from emoclip.files import atomic_path
from emoclip.model.package import Package, cache_folder

FOLDER = "text"
KEPT = 1000  # files, the oldest go first: a hundred kilobytes each with forty sentences of 512 numbers
HEADER_BYTES = 1024  # more than the header of an array file takes
SWITCH = "EMOCLIP_TEXT_CACHE"  # set to 0 to keep nothing


def embedded(
    package: Package,
    sentences: Sequence[str],
    embed: Callable[[Sequence[str]], NDArray[np.float32]],
    width: int,
) -> NDArray[np.float32]:
    """Return `embed(sentences)`, (N, width) float32, from disk if this package has embedded just these before.

    A file is named by the hash of package and sentences and holds numbers alone: no word can be read from it.
    Nothing that goes wrong with the disk is an error: the sentences are then embedded as if there were no cache.
    Raises ConfigError for a variable of the environment that is set to what it cannot be.
    """
    if not switch(SWITCH):
        return embed(sentences)
    identity = json.dumps([width, dict(package.config["files"]), list(sentences)], sort_keys=True)
    path = cache_folder() / FOLDER / f"{hashlib.sha256(identity.encode()).hexdigest()}.npy"
    kept = _kept(path, (len(sentences), width))
    if kept is not None:
        return kept
    vectors = embed(sentences)
    with contextlib.suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, force=True) as temporary:
            np.save(temporary, vectors, allow_pickle=False)
        files = sorted(path.parent.glob("*.npy"), key=lambda file: file.stat().st_mtime)
        for file in files[:-KEPT]:
            file.unlink(missing_ok=True)
    return vectors


def _kept(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The array of `shape` in a file; None for a file that is absent, spoilt or anything else."""
    with contextlib.suppress(Exception):  # a spoilt header raises all kinds, from SyntaxError to MemoryError
        if path.is_file() and path.stat().st_size <= 4 * shape[0] * shape[1] + HEADER_BYTES:
            with open(path, "rb") as file:
                kept = np.lib.format.read_array(file, allow_pickle=False)
            if kept.shape == shape and kept.dtype == np.float32 and np.isfinite(kept).all():
                return np.asarray(kept)
    return None

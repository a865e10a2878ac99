"""Sentences' embeddings kept on disk, so that the text tower of a large model need not even be loaded again."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import OutputError
from emoclip.files import atomic_path
from emoclip.model.package import Package, cache_folder

FOLDER = "text"
KEPT = 1000  # files, the oldest go first: a hundred kilobytes each with forty sentences of 512 numbers
OFF = "EMOCLIP_TEXT_CACHE"  # set to 0 to keep nothing


def embedded(
    package: Package, sentences: Sequence[str], embed: Callable[[Sequence[str]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return `embed(sentences)`, (N, D) float32, from disk if this package has embedded just these before.

    A file is named by the hash of package and sentences and holds numbers alone: no word can be read from it.
    Nothing that goes wrong with the disk is an error: the sentences are then embedded as if there were no cache.
    """
    if os.environ.get(OFF, "") == "0":
        return embed(sentences)
    identity = json.dumps([dict(package.config["files"]), list(sentences)], sort_keys=True)
    path = cache_folder() / FOLDER / f"{hashlib.sha256(identity.encode()).hexdigest()}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        kept = np.load(path, allow_pickle=False)
        if (
            kept.shape == (len(sentences), package.width)
            and kept.dtype == np.float32
            and np.isfinite(kept).all()
        ):
            return np.asarray(kept)
    vectors = embed(sentences)
    with contextlib.suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, force=True) as temporary:
            np.save(temporary, vectors, allow_pickle=False)
        files = sorted(path.parent.glob("*.npy"), key=lambda file: file.stat().st_mtime)
        for file in files[:-KEPT]:
            file.unlink(missing_ok=True)
    return vectors

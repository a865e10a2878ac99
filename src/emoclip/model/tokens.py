"""Sentences to token ids, by a package's tokenizer.json."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import PackageError, reason

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_TOKENS = 4096  # of a sentence; CLIP takes 77

Found = TypeVar("Found")


def open_tokenizer(path: Path) -> "Tokenizer":
    """Open a tokenizer, which must pad and truncate.  Raises PackageError for one that cannot be used."""
    from tokenizers import Tokenizer  # not loaded where sentences are known

    tokenizer = _guarded(path, lambda: Tokenizer.from_buffer(path.read_bytes()))
    for key, lengths in (("padding", ("length", "pad_to_multiple_of")), ("truncation", ("max_length",))):
        settings = getattr(tokenizer, key)
        if settings is None:
            raise PackageError(f"{path}: has no {key}; export the package again")
        for length in lengths:
            if (settings.get(length) or 0) > MOST_TOKENS:
                raise PackageError(
                    f"{path}: {key}.{length}={settings[length]} must be at most {MOST_TOKENS}; "
                    "export the package again"
                )
    return tokenizer


Flags = NDArray[np.bool_]


def encoded(
    tokenizer: "Tokenizer", sentences: Sequence[str], path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64], Flags, Flags]:
    """Return token ids (N, L), padded and truncated, and of each sentence (N,) what they say.

    lengths: how many of its ids are no padding, at least 1.  unknown: the tokenizer knows no word of it.
    cut: it was truncated.  path: of the tokenizer.  Raises PackageError if it fails.
    """

    def step() -> tuple[NDArray[np.int64], NDArray[np.int64], Flags, Flags]:
        found = tokenizer.encode_batch(list(sentences))
        if len({len(one.ids) for one in found}) > 1:
            raise ValueError("it gives sentences of different lengths")
        stranger = getattr(tokenizer.model, "unk_token", None)
        words = [
            {token for token, special in zip(one.tokens, one.special_tokens_mask, strict=True) if not special}
            for one in found
        ]
        return (
            np.array([one.ids for one in found], np.int64),
            np.array([max(1, sum(one.attention_mask)) for one in found], np.int64),
            np.array([not known - {stranger} for known in words], bool),
            np.array([bool(one.overflowing) for one in found], bool),
        )

    return _guarded(path, step)


def _guarded(path: Path, step: Callable[[], Found]) -> Found:
    try:
        return step()
    except BaseException as error:
        # The library's own failures, Rust's panics, are not among Python's Exceptions.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise PackageError(
            f"{path}: the tokenizer cannot be used ({reason(error)}); export the package again"
        ) from None

"""Rules that every use of a package shares: a clip's windows, the largest face, a label's vector, share and score."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import InputError, kind_of

Name = TypeVar("Name")


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale vectors (..., D) to length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def check_vectors(name: str, given: Any, widths: Sequence[int], source: str, *, table: bool = False) -> None:
    """Raise InputError unless `given` holds finite vectors (..., D), D one of `widths`.

    source: what returns such.  table: it must be (N, D), N at least 1.
    """
    if not isinstance(given, np.ndarray):
        found = kind_of(given)
    elif given.dtype.kind not in "fiu":
        found = f"an array of {given.dtype}"
    elif not given.ndim or given.shape[-1] not in widths or (table and (given.ndim != 2 or not len(given))):
        found = f"shape {given.shape}, where D is {widths[0]}"
    elif not np.isfinite(given).all():
        found = "numbers that are infinite or undefined"
    else:
        return
    raise InputError(f"{name}: {found}; give what {source} returns")


def covering_windows(count: int, length: int) -> NDArray[np.int64]:
    """Return the windows (S, length) in which a temporal part of `length` frames sees a clip of `count` frames.

    A shorter clip is stretched by repeating frames evenly; a longer one is covered by the fewest evenly placed
    windows.  No chance in it.
    """
    if count <= length:
        return ((np.arange(length) * count) // length)[None]
    starts = np.linspace(0, count - length, math.ceil(count / length)).round().astype(int)
    windows: NDArray[np.int64] = starts[:, None] + np.arange(length)
    return windows


def paper_window(count: int, length: int, start: int) -> NDArray[np.int64]:
    """Return which `length` of `count` kept frames a clip is in the official code, from `start` on.

    Consecutive, wrapping around at the end once; still shorter: reflected.  Source: EmoCLIP's official code.
    """
    window = np.arange(start, min(start + length, count))
    wrapped = np.arange(min(start + length - count, count)) if start + length > count else window[:0]
    window = np.concatenate([window, wrapped])
    return np.pad(window, (0, length - len(window)), "reflect")


def sampling_rate(sample_fps: float, frames_per_clip: int, span_s: float) -> float:
    """Return how many frames a second are embedded: a short span is sampled more densely, so that it fills a clip."""
    return max(sample_fps, frames_per_clip / max(span_s, 1e-3))


def largest(areas: Mapping[Name, float]) -> Name:
    """Return the most prominent face: whose boxes' areas, summed over the frames it is seen in, are largest.

    areas: track -> that sum; the first of equals wins.
    """
    return max(areas, key=lambda key: areas[key])


def label_vectors(
    parts: Sequence[Sequence[Sequence[str]]], vectors: Mapping[str, NDArray[np.float32]], width: int
) -> NDArray[np.float32]:
    """Return labels as (K, D) unit rows, D = width.

    parts: per label its parts, each a list of sentences.  vectors: sentence -> its unit embedding (D,).
    A label is the mean over its parts (compound emotions, EmoCLIP sec. III-C) of the unit mean over their sentences.
    A label without parts has the zero row.
    """
    rows = [
        np.mean([unit(np.mean([vectors[s] for s in part], axis=0)) for part in label], axis=0)
        if label
        else np.zeros(width)
        for label in parts
    ]
    return unit(np.asarray(rows, np.float32))


def denying_rows(
    text: NDArray[np.float32], denied: NDArray[np.bool_], half: float, scale: float, rejection: float | None
) -> NDArray[np.float32]:
    """Return labels as rows (K, D + 1) of weights and a constant that give their logits, some of them denied.

    text: (K, D) unit rows, of a denied label the opposite of what it denies; a zero row is `none of these`.
    half: the cosine at which half of the people would say the label.  A label is denied by mirroring its cosine about
    it, so that X and `not X` are as likely there.
    """
    constants = np.where(denied, 2 * half, 0)
    constants[~text.any(axis=1)] = rejection
    return np.asarray(scale * np.concatenate([text, constants[:, None]], axis=1), np.float32)


def mean_frames(clips: Sequence[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    """Unit means (N, D) of the unit embeddings of each clip's frames.  clips: N arrays (T, D)."""
    means = [unit(frames).mean(axis=0) for frames in clips]
    return unit(np.reshape(means, (len(clips), width)).astype(np.float32))


def label_shares(
    clips: NDArray[np.float32], text: NDArray[np.float32], scale: float, rejection: float | None
) -> NDArray[np.float64]:
    """Return the probabilities (..., K) of labels among themselves: the softmax of scaled cosines.

    clips: (..., D) unit.  text: (K, D) unit rows; a zero row is a label whose cosine is always `rejection`.
    With a denied label text is (K, D + 1), see `denying_rows`; of taught ones it is (K, 2 D + 1) and clips are
    (..., 2 D): weights and a constant that give the logits.
    """
    if text.shape[1] == clips.shape[-1] + 1:
        logits = clips.astype(np.float64) @ text[:, :-1].T.astype(np.float64) + text[:, -1]
    else:
        cosines = clips.astype(np.float64) @ text.T.astype(np.float64)
        cosines[..., ~text.any(axis=1)] = rejection
        logits = scale * cosines
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def label_scores(
    clips: NDArray[np.float32], text: NDArray[np.float32], slope: float, offset: float, scale: float
) -> NDArray[np.float64]:
    """Return how strongly each label shows by itself, (..., K) in [0, 1]: a logistic curve of its cosine.

    clips: (..., D) unit.  text: (K, D) unit rows, or with a denied label (K, D + 1) that give logits, which are `scale`
    times the cosines; a row of zeros, but for the constant, has no score, NaN.
    """
    width = clips.shape[-1]
    weights = text[:, :width].astype(np.float64)
    cosines = clips.astype(np.float64) @ weights.T
    if text.shape[1] > width:
        cosines = (cosines + text[:, width]) / scale
    scores: NDArray[np.float64] = 1 / (1 + np.exp(-(slope * cosines + offset)))
    scores[..., ~weights.any(axis=1)] = np.nan
    return scores

"""Labels that a model cannot tell apart, or does not understand, named before anybody reads their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import InputError, LabelWarning, counted, few, warn_caller

# How far apart two labels' logits can be for any face at all: the logit scale times the distance of their vectors.
# Measured on 840 training crops of FER-2013 with the bundled model and two labels at a time (docs/predict.md).
SAME = 0.38  # no crop leaves 47.0 to 53.0 %, whatever it shows (a cosine of .999 in the bundled model)
CLOSE = 1.45  # no crop leaves 42.0 to 62.0 % (.97)
OVERLOOKED = 0.9  # cosine of a label with itself without its negation: of "not happy" .97, of "no smile" .42
_ROWS = 256  # compared with all others at once: 5,000 labels take 5 MB instead of 100
_NAMED = 4  # labels of a group, and groups, that a sentence names


@dataclass(frozen=True)
class Doubts:
    """What is doubtful about a set of labels.

    same: groups of labels that the model cannot tell apart.  unknown: labels with a sentence in which it knows no word.
    cut: labels with a sentence longer than it reads.  close: groups of near synonyms, which is no fault, of labels that
    are neither in `same` nor in `unknown`.
    overlooked: labels whose negation makes no difference to it ("no anger"), which is a hint only.  denying: sentences
    of a prompt file of which the same is true.
    worded: `none of these` where a sentence makes it a label like the others, a hint as well.
    file: the name of the prompt file that they are from.
    """

    same: tuple[tuple[str, ...], ...] = ()
    unknown: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    close: tuple[tuple[str, ...], ...] = ()
    overlooked: tuple[str, ...] = ()
    denying: tuple[str, ...] = ()
    worded: tuple[str, ...] = ()
    file: str = ""

    def faults(self) -> list[str]:
        """Return a line per fault; with `--strict` they are errors."""
        told: list[tuple[Sequence[str] | Sequence[tuple[str, ...]], str, str]] = [
            (self.same, "the model cannot tell apart", "use other words, or one of them"),
            (self.unknown, "the model knows no word of", "say it in words that it knows, as English ones"),
            (self.cut, "the model reads only the beginning of", "shorten it"),
        ]
        return [self._line(f"{what} {_names(labels)}; {remedy}") for labels, what, remedy in told if labels]

    def hints(self) -> list[str]:
        """Return a line on near synonyms and such on words that do not mean what they seem to, if there are any."""
        told: list[tuple[Sequence[str] | Sequence[tuple[str, ...]], str]] = [
            (
                self.close,
                "{} are near synonyms to the model and split the probability; add theirs up, or leave some out",
            ),
            (
                self.overlooked,
                "the model overlooks the negation in {}; say what the face shows instead, or make 'not ...' a whole "
                "label, which is worked out where a model has calibrated scores",
            ),
            (
                self.denying,
                "the model overlooks the negation in the sentences under them: {}; say what the face shows instead",
            ),
            (
                self.worded,
                "{} has a sentence, so it is a label like the others and does not take the faces that fit none; give "
                "labels as words for that",
            ),
        ]
        return [self._line(what.format(_names(labels))) for labels, what in told if labels]

    def tell(self, *, strict: bool = False, model: str = "") -> None:
        """Issue a LabelWarning per line.  Raises InputError with all faults if `strict`.

        model: the name of the one that doubts, where there may be several.
        """
        called = f"{model}: " if model else ""
        if strict and self.faults():
            raise InputError(called + "; ".join(self.faults()))
        for line in self.lines():
            warn_caller(called + line, LabelWarning)

    def lines(self) -> list[str]:
        """Return faults and hints, as results carry them."""
        return [*self.faults(), *self.hints()]

    def _line(self, words: str) -> str:
        return f"{self.file}: labels: {words}" if self.file else f"labels: {words}"


def doubts(
    labels: Sequence[str],
    vectors: NDArray[np.float32],
    scale: float,
    unknown: Sequence[bool],
    cut: Sequence[bool],
    overlooked: Sequence[bool],
) -> Doubts:
    """Judge K labels.  vectors: (K, D) unit rows, zero for `none of these`.  scale: the model's logit scale."""
    same = _groups(vectors, scale, SAME)
    # What has a fault would be told to go and to be added up at once.
    faulty = np.asarray(unknown, bool)
    faulty[[place for group in same for place in group]] = True
    close = _groups(np.where(faulty[:, None], 0, vectors), scale, CLOSE)
    return Doubts(
        same=tuple(tuple(labels[place] for place in group) for group in same),
        unknown=tuple(label for label, true in zip(labels, unknown, strict=True) if true),
        cut=tuple(label for label, true in zip(labels, cut, strict=True) if true),
        close=tuple(tuple(labels[place] for place in group) for group in close),
        overlooked=tuple(label for label, true in zip(labels, overlooked, strict=True) if true),
    )


def _groups(vectors: NDArray[np.float32], scale: float, limit: float) -> list[list[int]]:
    """Return the places of labels nearer than `limit` to the first of their group, each in one group alone.

    A label all of whose neighbours are in groups before joins that of the first of them.
    """
    least_cosine = 1 - (limit / scale) ** 2 / 2
    groups: list[list[int]] = []
    worded: NDArray[np.bool_] = np.asarray(vectors.any(axis=1))
    taken = ~worded
    for at in range(0, len(vectors), _ROWS):
        near = worded & (vectors[at : at + _ROWS] @ vectors.T >= least_cosine)
        for place, row in enumerate(near, at):
            if taken[place] or row.sum() < 2:
                continue
            new = np.flatnonzero(row & ~taken).tolist()
            if len(new) > 1:
                groups.append(new)
            else:
                first = np.flatnonzero(row & taken)[0]
                next(group for group in groups if first in group).append(place)
            taken |= row
    return groups


def _names(labels: Sequence[str] | Sequence[tuple[str, ...]]) -> str:
    """'a', 'b'; or 'a' and 'b'; 'c' and 'd' for groups; the first few of them."""
    groups = [
        _listed([repr(one) for one in label], " and ") for label in labels if not isinstance(label, str)
    ]
    if not groups:
        return few([repr(label) for label in labels], _NAMED)
    more = len(groups) - _NAMED
    return "; ".join(groups[:_NAMED]) + (f"; and {counted(more, 'more group')}" if more > 0 else "")


def _listed(names: list[str], last: str) -> str:
    if len(names) > _NAMED:
        return few(names, _NAMED)
    return ", ".join(names[:-1]) + last + names[-1]

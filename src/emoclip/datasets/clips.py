"""What every reader returns: the clips of a data set, and what was understood of its folder."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emoclip.errors import InputError, counted


@dataclass(frozen=True)
class Clip:
    """One row of a list: a clip in one fold and split.  A five-fold set has the same clip in five of them.

    id: its path relative to the data set's root, in forward slashes; what predictions.csv calls `path`.
    path: a video, a folder of frames or a picture; it need not exist.
    label: one of the data set's classes.  caption: English.  further: other captions of the same clip.
    fold: 1 to 5.  split: train, val or test.
    frames: how many frames the list says the clip has.  image: an encoded picture that stands for the file.
    """

    id: str
    path: Path
    label: str | None = None
    caption: str | None = None
    fold: int | None = None
    split: str | None = None
    subject: str | None = None
    frames: int | None = None
    image: bytes | None = field(default=None, repr=False)
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """The clips of a data set and what the reader makes of its folder.

    layout: which of the known layouts this is, in words.  classes: declared classes, in the set's own order.
    cropped: the frames are face crops already.  compound: a class may be joined of several, `anger_disgust`.
    test_split: the split that scores are reported on.  published: split (or `all`) -> published number of clips.
    notes: what was assumed or found on the way, one line each.  published_folds: the folds that the set should have.
    """

    name: str
    root: Path
    layout: str
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    cropped: bool = True
    compound: bool = False
    test_split: str | None = "test"
    published: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    published_folds: tuple[int, ...] = ()

    @property
    def called(self) -> str:
        """What people call it: a manifest is its file's name."""
        return self.root.name if self.name == "manifest" else self.name

    @property
    def splits(self) -> list[str]:
        """The splits that occur, in order of appearance."""
        return list(dict.fromkeys(clip.split for clip in self.clips if clip.split is not None))

    @property
    def folds(self) -> list[int]:
        """The folds that occur, sorted."""
        return sorted({clip.fold for clip in self.clips if clip.fold is not None})

    @property
    def tested_split(self) -> str | None:
        """The split that a run which trains on `train` is tested on, or None."""
        return next((name for name in (self.test_split, "test", "val") if name in self.splits), None)

    def left_over(self, fold: int | None = None) -> str:
        """Say how many clips of a fold are neither trained nor tested on for their split, by split; "" if none are."""
        if not self.splits:  # all are trained on
            return ""
        used = {"train", self.tested_split or "train"}
        clips = [clip for clip in self.clips if fold in (None, clip.fold) and clip.split not in used]
        counts = Counter(clip.split or "without a split" for clip in clips)
        told = ", ".join(f"{split} ({count})" for split, count in counts.items())
        named = "train" if self.tested_split is None else f"train or {self.tested_split}"
        return (
            f"{counted(len(clips), 'clip')} not of the split {named}, so not used by a run: {told}"
            if clips
            else ""
        )

    def parts(self, name: str) -> list[str]:
        """Return the classes that a compound class is joined of: by `_` in MAFW's set, by `+` in a manifest."""
        return name.split("_") if self.compound else [part.strip() for part in name.split("+")]

    def empty(self, split: str) -> list[int]:
        """Return the folds that have no clip in a split: their list is empty, or not there."""
        filled = {clip.fold for clip in self.clips if clip.split == split}
        return [fold for fold in self.published_folds or self.folds if fold not in filled]

    @property
    def unscorable(self) -> str | None:
        """Why no model can be scored on its classes, or None."""
        if len(self.classes) == 1:
            return f"has one class only, {self.classes[0]}; there is nothing to tell apart"
        same = differing_in_case(self.classes)
        return f"has the classes {', '.join(same)}; give a class one name" if same else None

    def select(self, split: str | None = None, fold: int | None = None) -> list[Clip]:
        """Return the clips of one split and fold; None means all.  Raises InputError if there are none."""
        if split is not None and split not in self.splits:
            has = f"has {', '.join(self.splits)}" if self.splits else "has no splits"
            raise InputError(f"{self.root}: no split {split!r}; {self.name} {has}")
        if fold is not None and fold not in self.folds:
            has = f"has {', '.join(map(str, self.folds))}" if self.folds else "has no folds"
            raise InputError(f"{self.root}: no fold {fold}; {self.name} {has} here")
        chosen = [clip for clip in self.clips if split in (None, clip.split) and fold in (None, clip.fold)]
        if not chosen:
            raise InputError(f"{self.root}: no clip in split {split!r} of fold {fold}; check the lists")
        return chosen


def differing_in_case(names: Sequence[str]) -> list[str]:
    """Return the names that are another but for capitals."""
    counts = Counter(name.casefold() for name in names)
    return [name for name in names if counts[name.casefold()] > 1]

"""AFEW: 773 clips to train and 383 to validate, on which results are reported; 7 classes.

Source: Dhall et al., IEEE MultiMedia 2012, as used in EmotiW.
"""

from collections.abc import Sequence
from pathlib import Path

from emoclip.datasets import rows
from emoclip.datasets.clips import Clip, Dataset
from emoclip.datasets.rows import SEVEN
from emoclip.errors import ConfigError, InputError
from emoclip.prompts import canonical
from emoclip.video import VIDEO_SUFFIXES

_OFFICIAL = {"train": "Train_AFEW", "val": "Val_AFEW"}
_EMOCLIP = {"train": "AFEW_Face/train", "val": "AFEW_Face/validation"}


def layouts(root: Path) -> list[str]:
    """Return the layouts recognised under `root`: official, emoclip."""
    found = []
    for name, folders in (("official", _OFFICIAL), ("emoclip", _EMOCLIP)):
        if any((root / folder).is_dir() for folder in folders.values()):
            found.append(name)
    return found


def read(
    root: Path,
    *,
    layout: str | None = None,
    frames: str | None = None,
    class_order: Sequence[str] | None = None,
) -> Dataset:
    """Read AFEW's class folders.  frames: `aligned` or `video` where the official set has both.  Raises InputError."""
    if class_order is not None:
        raise ConfigError("--class-order: AFEW names its classes by folders, there are no indices")
    looked_for = {"official": "Val_AFEW/Angry/*.avi", "emoclip": "AFEW_Face/validation/Anger/*/*.png"}
    chosen, notes = rows.choose_layout(root, "AFEW", layouts(root), layout, looked_for)
    if chosen == "emoclip":
        clips = [
            Clip(rows.clip_id(path, root), path, label, split=split)
            for split, folder in _EMOCLIP.items()
            for label, path in _by_class(root / folder)
            if path.is_dir()
        ]
        return _dataset(root, "EmoCLIP's AFEW_Face", clips, True, notes)
    if frames not in (None, "aligned", "video"):
        raise InputError(f"{root}: --frames {frames}: AFEW has aligned (face crops) or video (whole scenes)")
    clips, aligned = _official(root, wanted=frames)
    notes.append(
        "clips are read from the aligned faces"
        if aligned
        else "clips are read from the .avi videos, whole scenes: faces are found with --faces largest"
    )
    return _dataset(root, "official distribution", clips, aligned, notes)


def _official(root: Path, wanted: str | None) -> tuple[list[Clip], bool]:
    videos = [
        (split, label, path)
        for split, folder in _OFFICIAL.items()
        for label, path in _by_class(root / folder)
        if path.suffix.lower() in VIDEO_SUFFIXES
    ]
    faces = {
        (split, path.name): path
        for split, folder in _OFFICIAL.items()
        for path in sorted((root / folder).glob("Aligned*/**/*"))
        if path.is_dir()
    }
    there = any((split, path.stem) in faces for split, _, path in videos)
    if wanted == "aligned" and not there:
        raise InputError(
            f"{root}: --frames aligned: there are no folders of aligned faces in Train_AFEW or Val_AFEW"
        )
    if wanted == "video" or not there:
        return [
            Clip(rows.clip_id(path, root), path, label, split=split) for split, label, path in videos
        ], False
    clips = []
    for split, label, video in videos:
        # A clip without aligned faces keeps its row, so that it is counted as missing.
        path = faces.get((split, video.stem), root / _OFFICIAL[split] / "AlignedFaces" / video.stem)
        clips.append(Clip(rows.clip_id(path, root), path, label, split=split))
    return clips, True


def _by_class(folder: Path) -> list[tuple[str, Path]]:
    """(class, clip) of every entry of the class folders; folders of faces and points beside them are passed over."""
    found = []
    for class_folder in sorted(folder.iterdir() if folder.is_dir() else []):
        if not class_folder.is_dir() or class_folder.name.lower().startswith(
            ("aligned", "points", ".", "lbp")
        ):
            continue
        if canonical(class_folder.name) not in SEVEN:
            raise InputError(
                f"{class_folder}: is not one of AFEW's classes: {', '.join(SEVEN)}; move it elsewhere"
            )
        entries = sorted(path for path in class_folder.iterdir() if not path.name.startswith("."))
        found += [(canonical(class_folder.name), path) for path in entries]
    return found


def _dataset(root: Path, layout: str, clips: list[Clip], cropped: bool, notes: list[str]) -> Dataset:
    if not clips:
        raise InputError(f"{root}: AFEW's class folders are empty; extract the archives")
    return Dataset(
        name="afew",
        root=root,
        layout=layout,
        classes=SEVEN,
        clips=tuple(clips),
        cropped=cropped,
        test_split="val",
        published={"train": 773, "val": 383},
        notes=tuple(notes),
    )

"""FERV39k: 38,935 clips of 22 scenes, 7 classes, 31,088 to train and 7,847 to test.  Source: Wang et al., CVPR 2022."""

from collections.abc import Sequence
from pathlib import Path

from emoclip.datasets import rows
from emoclip.datasets.clips import Dataset
from emoclip.datasets.rows import SEVEN, ListRow
from emoclip.errors import InputError
from emoclip.prompts import canonical

_LISTS = {
    "emoclip": r"(?P<split>train|test)_image\.txt",
    "dferclip": r"FERV39K_(?P<split>train|test)\.txt",
}
_OFFICIAL = "4_setups/All_scenes"
_FRAMES = (
    ("2_ClipsforFaceCrop", "{}"),
    ("data/2_ClipsforFaceCrop", "{}"),
    (".", "{}"),
    ("0_7_LabelClips", "{}.mp4"),
)


def layouts(root: Path) -> list[str]:
    """Return the layouts recognised under `root`: official, emoclip, dferclip."""
    found = ["official"] if (root / _OFFICIAL).is_dir() else []
    return found + [name for name, pattern in _LISTS.items() if rows.find_lists(root, pattern)]


def read(
    root: Path,
    *,
    layout: str | None = None,
    frames: str | None = None,
    class_order: Sequence[str] | None = None,
) -> Dataset:
    """Read FERV39k's lists.  A clip's folder names its class, so an index that says another is an InputError."""
    looked_for = {
        "official": f"{_OFFICIAL}/test_All.csv",
        "emoclip": "test_image.txt",
        "dferclip": "FERV39K_test.txt",
    }
    chosen, notes = rows.choose_layout(root, "FERV39k", layouts(root), layout, looked_for)
    order = rows.check_order(class_order, SEVEN)
    if chosen == "official":
        lists, labels = _official(root)
    else:
        lists = {name: rows.list_rows(path) for name, path in rows.find_lists(root, _LISTS[chosen]).items()}
        labels, note = _labels(lists, order)
        notes.append(note)
    keys = [rows.tail(row.folder, 3) for listed in lists.values() for row in listed]
    located = rows.locate(root, keys, _FRAMES, frames)
    clips = rows.listed_clips(root, lists, labels, located, depth=3)
    return Dataset(
        name="ferv39k",
        root=root,
        layout={
            "official": "official distribution",
            "emoclip": "EmoCLIP's lists",
            "dferclip": "DFER-CLIP's lists",
        }[chosen],
        classes=SEVEN,
        clips=tuple(clips),
        cropped=not located.template.endswith(".mp4"),
        published={"train": 31088, "test": 7847},
        notes=(*notes, located.note),
    )


def _official(root: Path) -> tuple[dict[tuple[int | None, str], list[ListRow]], dict[str, str]]:
    lists: dict[tuple[int | None, str], list[ListRow]] = {}
    labels = {}
    for split in ("train", "test"):
        path = root / _OFFICIAL / f"{split}_All.csv"
        if not path.is_file():
            continue
        lists[None, split] = []
        for place, line in rows.lines(path):
            fields = line.replace(",", " ").split()
            if len(fields) != 2 or fields[0].count("/") != 2:
                raise InputError(
                    f"{place}: {line.strip()[:60]!r} is not 'Scene/Emotion/clip Emotion'; fetch it again"
                )
            labels[place] = rows.class_name(fields[1], SEVEN, place)
            _agree(place, fields[0], labels[place])
            lists[None, split].append(ListRow(place, fields[0], None, 0))
    if not lists:
        rows.unrecognised(root, "FERV39k's lists", [f"{_OFFICIAL}/test_All.csv"])
    return lists, labels


def _labels(
    lists: dict[tuple[int | None, str], list[ListRow]], order: Sequence[str]
) -> tuple[dict[str, str], str]:
    listed = [row for rows_ in lists.values() for row in rows_]
    base, note = rows.index_base([(row.place, row.index) for row in listed], order, usual=0)
    labels = {row.place: order[row.index - base] for row in listed}
    for row in listed:
        _agree(row.place, rows.tail(row.folder, 3), labels[row.place])
    return labels, f"{note}, which every clip's folder confirms"


def _agree(place: str, folder: str, label: str) -> None:
    named = canonical(folder.split("/")[-2])
    if named != label:
        raise InputError(
            f"{place}: the folder {folder} says {named}, the label says {label}: the list is in another class order; "
            "pass --class-order, or fetch the list again"
        )

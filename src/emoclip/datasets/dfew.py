"""DFEW: 11,697 single-labelled clips, 7 classes, 5 folds.  Source: Jiang et al., ACM MM 2020."""

import re
from collections.abc import Sequence
from pathlib import Path

from emoclip.datasets import rows
from emoclip.datasets.clips import Clip, Dataset
from emoclip.datasets.rows import SEVEN, ListRow
from emoclip.errors import InputError

_LIST = r"DFEW_set_(?P<fold>[1-5])_(?P<split>train|test)\.txt"
_OFFICIAL = "EmoLabel_DataSplit"
_FRAMES = (
    *(("Clip/clip_224x224", "{:05d}"), ("DFEW_Frame_Face", "{:05d}"), ("clip_224x224", "{:05d}")),
    *(("Clip/clip_224x224_avi", "{:05d}.avi"), ("Clip/clip_224x224_16f", "{:05d}")),
    *(("Clip/original", "{}.mp4"), ("Clip/original", "{:05d}.mp4")),
)


def layouts(root: Path) -> list[str]:
    """Return the layouts recognised under `root`: official, dferclip (which EmoCLIP uses as well)."""
    found = ["official"] if (root / _OFFICIAL).is_dir() else []
    return found + (["dferclip"] if rows.find_lists(root, _LIST) else [])


def read(
    root: Path,
    *,
    layout: str | None = None,
    frames: str | None = None,
    class_order: Sequence[str] | None = None,
) -> Dataset:
    """Read DFEW's lists.  Raises InputError."""
    looked_for = {"official": f"{_OFFICIAL}/test(single-labeled)/set_1.csv"}
    looked_for |= dict.fromkeys(("emoclip", "dferclip"), "DFEW_set_1_test.txt")
    found = ["emoclip" if (name, layout) == ("dferclip", "emoclip") else name for name in layouts(root)]
    chosen, notes = rows.choose_layout(root, "DFEW", found, layout, looked_for)
    order = rows.check_order(class_order, SEVEN)
    lists = _official(root) if chosen == "official" else _listed(root)
    listed = [row for rows_ in lists.values() for row in rows_]
    base, note = rows.index_base(
        [(row.place, row.index) for row in listed], order, usual=1 if chosen == "official" else 0
    )
    labels = {row.place: order[row.index - base] for row in listed}
    located = rows.locate(root, [int(row.folder) for row in listed], _FRAMES, frames)
    clips = []
    for (fold, split), rows_ in lists.items():
        for row in rows_:
            path = located.path(int(row.folder))
            clips.append(
                Clip(
                    rows.clip_id(path, root),
                    path,
                    labels[row.place],
                    fold=fold,
                    split=split,
                    frames=row.frames,
                )
            )
    cropped = "original" not in located.base.name
    scenes = (
        [] if cropped else ["these are whole scenes, not face crops: faces are found with --faces largest"]
    )
    if located.base.name.endswith("_16f"):
        scenes = ["these are DFEW's 16 resampled frames, not the whole clips that published numbers use"]
    return Dataset(
        name="dfew",
        root=root,
        layout="official distribution" if chosen == "official" else "EmoCLIP / DFER-CLIP lists",
        classes=SEVEN,
        clips=tuple(clips),
        cropped=cropped,
        published={"all": 11697},
        published_folds=(1, 2, 3, 4, 5),
        notes=(*notes, note, located.note, *scenes),
    )


def _official(root: Path) -> dict[tuple[int | None, str], list[ListRow]]:
    lists: dict[tuple[int | None, str], list[ListRow]] = {}
    for fold in range(1, 6):
        for split in ("train", "test"):
            path = root / _OFFICIAL / f"{split}(single-labeled)" / f"set_{fold}.csv"
            if path.is_file():
                lists[fold, split] = _csv_rows(path)
    if not lists:
        rows.unrecognised(root, "DFEW's lists", [f"{_OFFICIAL}/test(single-labeled)/set_1.csv"])
    return lists


def _csv_rows(path: Path) -> list[ListRow]:
    found = []
    for number, (place, line) in enumerate(rows.lines(path)):
        fields = [field.strip().strip('"') for field in re.split("[,;\t]", line)]  # as spreadsheets save them
        if number == 0 and not any(map(str.isdecimal, fields)):
            continue  # names of columns, in whatever language
        if len(fields) < 2 or not (fields[0].isdecimal() and fields[1].isdecimal()):
            raise InputError(f"{place}: {line[:60]!r} is not 'video_name,label'; fetch the list again")
        found.append(ListRow(place, fields[0], None, int(fields[1])))
    return found


def _listed(root: Path) -> dict[tuple[int | None, str], list[ListRow]]:
    lists = {}
    for name, path in rows.find_lists(root, _LIST).items():
        lists[name] = [
            ListRow(row.place, rows.tail(row.folder, 1), row.frames, row.index)
            for row in rows.list_rows(path)
        ]
        for row in lists[name]:
            if not row.folder.isdecimal():
                raise InputError(
                    f"{row.place}: {row.folder!r} is no clip of DFEW, they are numbered 00001 to 16372"
                )
    return lists

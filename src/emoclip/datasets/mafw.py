"""MAFW: 10,045 clips, 11 single classes, 32 compound ones, captions in Chinese and English, 5 folds.

Source: Liu et al., ACM MM 2022.  Splits and protocol as in EmoCLIP's code: train on the lists with captions, test on
those without.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emoclip.datasets import rows
from emoclip.datasets.clips import Clip, Dataset
from emoclip.datasets.rows import Located
from emoclip.errors import ConfigError, InputError

CLASSES = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)
DFERCLIP_ORDER = (
    *("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)
# layout -> its folder of splits, and the folders with and without captions in it
_SPLITS = {
    "official": ("Train & Test Set", "with_caption", "no_caption"),
    "emoclip": ("Train_Test_Set", "with_caption_new", "no_caption_new"),
}
_LIST = r"MAFW_set_(?P<fold>[1-5])_(?P<split>train|test)\.txt"
_FRAMES = (
    *(("data/faces", "{}"), ("faces", "{}"), ("data/frames", "{}"), ("frames", "{}")),
    *(("clips", "{}.mp4"), ("data/clips", "{}.mp4")),
)


@dataclass(frozen=True)
class _Row:
    place: str
    key: str
    label: str
    caption: str | None


def layouts(root: Path) -> list[str]:
    """Return the layouts recognised under `root`: official, emoclip, dferclip."""
    found = [name for name, (folder, _, _) in _SPLITS.items() if (root / folder).is_dir()]
    return found + (["dferclip"] if rows.find_lists(root, _LIST) else [])


def read(
    root: Path,
    *,
    compound: bool = False,
    layout: str | None = None,
    frames: str | None = None,
    class_order: Sequence[str] | None = None,
) -> Dataset:
    """Read MAFW's lists.  compound: the set of joined classes instead of the single ones.  Raises InputError."""
    looked_for = {
        **{name: f"{folder}/.../set_1/train.txt" for name, (folder, _, _) in _SPLITS.items()},
        "dferclip": "MAFW_set_1_train.txt",
    }
    chosen, notes = rows.choose_layout(root, "MAFW", layouts(root), layout, looked_for)
    if chosen == "dferclip":
        return _read_indexed(root, compound, frames, class_order, notes)
    if class_order is not None:
        raise ConfigError(
            "--class-order: this layout of MAFW names its classes; the order is for DFER-CLIP lists"
        )
    folder, with_caption, no_caption = _SPLITS[chosen]
    kind = "compound" if compound else "single"
    base = root / folder / kind
    lists: dict[tuple[int, str], list[_Row]] = {}
    for fold in range(1, 6):
        for split in ("train", "test"):
            order = (with_caption, no_caption) if split == "train" else (no_caption, with_caption)
            paths = [base / captions / f"set_{fold}" / f"{split}.txt" for captions in order]
            if path := next((path for path in paths if path.is_file()), None):
                lists[fold, split] = _read_rows(path, compound)
                if path is paths[1] and fold == 1:
                    notes.append(f"{split} is read from {order[1]}, there is no {order[0]}")
    if not lists:
        rows.unrecognised(root, f"MAFW's {kind} lists", [f"{folder}/{kind}/{no_caption}/set_1/test.txt"])
    captions = _captions(root, [row for listed in lists.values() for row in listed])
    located = _locate(root, [row.key for listed in lists.values() for row in listed], frames)
    clips = [
        Clip(
            id=rows.clip_id(located.path(row.key), root),
            path=located.path(row.key),
            label=row.label,
            caption=row.caption or captions.get(row.key),
            fold=fold,
            split=split,
        )
        for (fold, split), listed in lists.items()
        for row in listed
    ]
    words = "official distribution" if chosen == "official" else "EmoCLIP's Train_Test_Set"
    return _dataset(root, f"{words}, {kind} labels", clips, compound, located, notes)


def _read_rows(path: Path, compound: bool) -> list[_Row]:
    found = []
    for place, line in rows.lines(path):
        fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split(None, 1))]
        if len(fields) < 2 or not fields[0]:
            raise InputError(
                f"{place}: {line.strip()[:60]!r} is not 'clip<TAB>label<TAB>captions'; fetch it again"
            )
        # The English caption comes last, after the Chinese one.
        caption = fields[3] if len(fields) > 3 else fields[2] if len(fields) > 2 else ""
        label = _label(fields[1], compound, place)
        found.append(
            _Row(place, fields[0].rsplit(".", 1)[0], label, None if caption in ("", "-") else caption)
        )
    return found


def _label(text: str, compound: bool, place: str) -> str:
    names = [rows.class_name(part, CLASSES, place) for part in text.split("_")]
    if len(names) > 1 and not compound:
        raise InputError(f"{place}: label {text!r} is compound, in a list of single labels; pass --compound")
    return "_".join(sorted(set(names), key=CLASSES.index))


def _captions(root: Path, listed: list[_Row]) -> dict[str, str]:
    """English captions of all clips that have one anywhere, by key."""
    for name in ("single_label.txt", "multi_label.txt"):
        path = root / "caption-label" / name
        if path.is_file():
            listed = [*listed, *_read_rows(path, compound=True)]
    return {row.key: row.caption for row in listed if row.caption}


def _read_indexed(
    root: Path, compound: bool, frames: str | None, class_order: Sequence[str] | None, notes: list[str]
) -> Dataset:
    if compound:
        raise InputError(f"{root}: DFER-CLIP's lists of MAFW have single classes only; drop --compound")
    lists = {name: rows.list_rows(path) for name, path in rows.find_lists(root, _LIST).items()}
    listed = [row for found in lists.values() for row in found]
    order, note = _order(root, listed, class_order)
    base, base_note = rows.index_base([(row.place, row.index) for row in listed], order, usual=0)
    labels = {row.place: order[row.index - base] for row in listed}
    located = _locate(root, [rows.tail(row.folder, 1) for row in listed], frames)
    captions = _captions(root, [])
    clips = [
        replace(clip, caption=captions.get(clip.path.stem))
        for clip in rows.listed_clips(root, lists, labels, located, depth=1)
    ]
    return _dataset(root, "DFER-CLIP lists, single labels", clips, False, located, [*notes, note, base_note])


def _order(
    root: Path, listed: Sequence[rows.ListRow], wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], str]:
    """Two orders go round: DFER-CLIP's (happiness = 0) and EmoCLIP's (anger = 0).  The label file tells which."""
    if wanted is not None:
        order = rows.check_order(wanted, CLASSES)
        return order, f"class order as given: 0 = {order[0]}"
    names = root / "caption-label" / "single_label.txt"
    truth = {row.key: row.label for row in _read_rows(names, compound=True)} if names.is_file() else {}
    known = [(row, truth[rows.tail(row.folder, 1)]) for row in listed if rows.tail(row.folder, 1) in truth]
    if not known:
        return DFERCLIP_ORDER, (
            "class order taken as DFER-CLIP's, 0 = happiness (EmoCLIP's has 0 = anger); "
            "caption-label/single_label.txt would prove it, --class-order overrides"
        )
    for words, order in (("DFER-CLIP's, 0 = happiness", DFERCLIP_ORDER), ("EmoCLIP's, 0 = anger", CLASSES)):
        wrong = [row for row, label in known if not (row.index < 11 and order[row.index] == label)]
        if not wrong:
            return (
                order,
                f"class order is {words}: {len(known)} clips agree with caption-label/single_label.txt",
            )
    raise InputError(
        f"{listed[0].place}: the class indices agree with caption-label/single_label.txt in neither DFER-CLIP's nor "
        "EmoCLIP's class order; pass --class-order, or fetch the lists again"
    )


def _locate(root: Path, keys: Sequence[str], frames: str | None) -> Located:
    return rows.locate(root, keys, _FRAMES, frames)


def _dataset(
    root: Path, layout: str, clips: list[Clip], compound: bool, located: Located, notes: list[str]
) -> Dataset:
    labels = {clip.label for clip in clips if clip.label}
    joined = sorted(label for label in labels if "_" in label)
    cropped = not located.template.endswith(".mp4")
    scenes = (
        [] if cropped else ["these are whole scenes, not face crops: faces are found with --faces largest"]
    )
    return Dataset(
        name="mafw",
        root=root,
        layout=layout,
        classes=(*CLASSES, *joined) if compound else CLASSES,
        clips=tuple(clips),
        cropped=cropped,
        compound=compound,
        notes=(*notes, located.note, *scenes),
        published_folds=(1, 2, 3, 4, 5),
    )

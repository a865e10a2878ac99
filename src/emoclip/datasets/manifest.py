"""The neutral manifest, CSV or Parquet: `path[,label][,caption][,fold][,split][,subject]`, paths relative to the file.

A path names a video, a folder of frames or a picture; it has a label, a caption or both.  Rows of one clip that differ
in the caption alone are its captions.  A Parquet manifest may carry the pictures themselves, encoded,
in a column `image` (bytes, or the {bytes, path} of Hugging Face data sets).
"""

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from emoclip.characters import utf8
from emoclip.datasets.clips import Clip, Dataset, differing_in_case
from emoclip.errors import ConfigError, InputError, few, reason
from emoclip.files import atomic_path, missing, untold
from emoclip.prompts import canonical
from emoclip.tables import as_asked, check_columns, is_missing, not_used, read_rows, spelt_alike

_ODD = re.compile(r"(^|/)\.(/|$)|//|/$")  # parts that say nothing: ./a, a//b, a/

COLUMNS = ("path", "label", "caption", "fold", "split", "subject")
USUAL = "a manifest's first line is path,label[,caption][,fold][,split][,subject], or path,caption and so on"


def read(path: Path) -> Dataset:
    """Read a manifest.  Its classes are the labels that occur in the whole file, sorted, under their own names.

    Raises InputError that names the line: for a clip that is twice in one split and no other caption, a path that is
    absolute or leaves the manifest's folder, a missing column or one that is there twice, or a fold that is no number.
    """
    if not path.is_file():
        raise InputError(
            missing(path, "no such manifest; name a .csv or .parquet file with columns path,label")
        )
    parquet = path.suffix.lower() == ".parquet"
    names, found = _parquet_rows(path) if parquet else _csv_rows(path)
    clips: list[Clip] = []
    folder = str(path.parent)
    seen: dict[tuple[str, str | None, int | None], tuple[int, str]] = {}  # where the clip is, and its row
    for place, row in found:
        clip = _clip(folder, place, row)
        key = (clip.id, clip.split, clip.fold)
        if key in seen:
            number, first = seen[key]
            if not (told := _told_further(clips[number], clip)):
                raise InputError(
                    f"{place}: {clip.id} is there twice, first in {first}; remove one of them, "
                    "or let them differ in the caption alone"
                )
            clips[number] = told
            continue
        if clips and (clip.fold is None) != (clips[0].fold is None):
            empty = place if clip.fold is None else seen[clips[0].id, clips[0].split, clips[0].fold][1]
            raise InputError(f"{empty}: has no fold, while other rows have one; number every row, or none")
        seen[key] = len(clips), place
        clips.append(clip)
    if not clips:
        raise InputError(f"{path}: the manifest has no rows; list at least one clip")
    classes = sorted({clip.label for clip in clips if clip.label}, key=lambda name: (name.casefold(), name))
    splits = {clip.split for clip in clips if clip.split}
    pictures = clips[0].image is not None
    notes = ["pictures are read from the manifest's image column"] if pictures else []
    used = {*COLUMNS, *(["image"] if parquet else [])}
    notes += not_used([name for name in names if name not in used], used.difference(names))
    alike = [name for name in classes if [canonical(other) for other in classes].count(canonical(name)) > 1]
    if alike:
        notes.append(
            f"{', '.join(alike)} are read as different classes, and `train` refuses them; give a class one name"
        )
    if same := differing_in_case(sorted(splits)):
        notes.append(f"{', '.join(same)} are read as different splits; give a split one name")
    if people := spelt_alike(clip.subject for clip in clips if clip.subject):
        listed = few([", ".join(names) for names in people])
        notes.append(f"{listed} are read as different subjects; write a person's name one way")
    return Dataset(
        name="manifest",
        root=path,
        layout="Parquet manifest" if parquet else "CSV manifest",
        classes=tuple(classes),
        clips=tuple(clips),
        test_split="test" if "test" in splits else None,
        notes=tuple(notes),
    )


def write(clips: Iterable[Clip], target: Path, *, compound: bool = False, force: bool = False) -> None:
    """Write clips as a manifest, CSV or Parquet by the name's ending.  Raises OutputError, InputError.

    compound: as the data set is; what it joins by `_`, a manifest joins by `+`.
    Paths are relative to the target's folder, so the target must lie in or above the folder of the clips.
    """
    records: list[dict[str, Any]] = []
    for clip in clips:
        if clip.image is not None:
            raise InputError(f"{clip.id}: is a picture inside a Parquet manifest, it has no file to list")
        record = {"path": path_in(target, clip.path)} | {name: getattr(clip, name) for name in COLUMNS[1:]}
        if compound and clip.label:
            record["label"] = clip.label.replace("_", "+")
        records += [{**record, "caption": caption} for caption in (clip.caption, *clip.further)]
    with atomic_path(target, force=force) as temporary:
        if target.suffix.lower() == ".parquet":
            pyarrow = _pyarrow(target)
            with temporary.open("wb") as content:  # the library takes no name that is not UTF-8
                pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), content)
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)


def path_in(target: Path, path: Path) -> str:
    """Return the path of a clip as a manifest `target` has it.  Raises InputError for one that is elsewhere."""
    folder, path = target.parent.resolve(), path.resolve()
    if not path.is_relative_to(folder):
        raise InputError(f"{target}: must lie in or above the folder of the clips; {path} is elsewhere")
    return _one_line(str(path), "path", utf8(path.relative_to(folder).as_posix()))


def listed_path(place: str, written: str) -> str:
    """Return a path of a table in its plain form.  Raises InputError, from `place` on, for one that leads away."""
    written = _one_line(place, "path", written.replace("\\", "/"))
    if not written:
        raise InputError(f"{place}: has no path; name a video, a folder of frames or a picture")
    if written.startswith("/") or re.match(r"[A-Za-z]:", written):
        raise InputError(f"{place}: the path {written} is absolute; write it relative to the manifest")
    if _ODD.search(written):
        written = PurePosixPath(written).as_posix()
    if written == ".." or written.startswith("../") or "/../" in written or written.endswith("/.."):
        raise InputError(
            f"{place}: the path {written} leaves the manifest's folder; move the manifest above the clips"
        )
    return written


def _one_line(place: str, name: str, value: str) -> str:
    if re.search(r"[\x00\r\n]", value):
        raise InputError(f"{place}: its {name} has a line break or zero byte in it; is a quote not closed?")
    return value


def _told_further(first: Clip, again: Clip) -> Clip | None:
    """Return a clip with the caption of a second row of it; None where that row is no other caption."""
    known = (first.caption, *first.further)
    alike = replace(again, caption=first.caption, further=first.further) == first
    if not alike or not first.caption or not again.caption or again.caption in known:
        return None
    return replace(first, further=(*first.further, again.caption))


def _check_names(path: Path, names: Collection[str]) -> None:
    if "path" in names and not {"label", "caption"} & {*names}:
        raise InputError(f"{path}: has neither a column label nor caption, only {', '.join(names)}; {USUAL}")


def _csv_rows(path: Path) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    rows = read_rows(path, COLUMNS[:1], USUAL, COLUMNS)
    names = list(rows[0][1]) if rows else []
    _check_names(path, names)
    return names, rows


def _parquet_rows(path: Path) -> tuple[list[str], Iterator[tuple[str, dict[str, Any]]]]:
    pyarrow = _pyarrow(path)
    try:
        # Not read_table(), which imports pandas where it is installed.
        with path.open("rb") as content, pyarrow.parquet.ParquetFile(content) as file:
            used, written = (*COLUMNS, "image"), file.schema_arrow.names
            names = as_asked(written, used)
            check_columns(path, names, COLUMNS[:1], USUAL)
            _check_names(path, names)
            columns = {name: own for name, own in zip(names, written, strict=True) if name in used}
            table = file.read(columns=list(columns.values())).select(list(columns.values()))
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: is no readable Parquet file ({reason(error)})") from None
    rows = table.rename_columns(list(columns)).to_pylist()
    return names, ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))


def _clip(folder: str, place: str, row: Mapping[str, Any]) -> Clip:
    values = {name: _text(row.get(name)) for name in COLUMNS}
    for name, value in values.items():
        if name not in ("path", "caption"):
            _one_line(place, name, value or "")
    written = listed_path(place, values["path"] or "")
    fold = values["fold"]
    if fold is not None and not re.fullmatch(r"0*[1-9]\d*(\.0)?", fold):
        raise InputError(f"{place}: fold {fold!r} is no number; folds are 1, 2, ...")
    image = row.get("image")
    if isinstance(image, dict):
        image = image.get("bytes")
    if image is not None and not isinstance(image, bytes):
        raise InputError(
            f"{place}: the image column holds no encoded pictures; drop it, or store JPEG or PNG bytes"
        )
    return Clip(
        id=written,
        path=Path(f"{folder}/{untold(written, folder)}"),
        label=values["label"],
        caption=values["caption"],
        fold=int(float(fold)) if fold else None,
        split=values["split"],
        subject=None if is_missing(values["subject"] or "") else values["subject"],
        image=image,
    )


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(f"{path}: Parquet needs pyarrow: pip install 'emoclip[eval]', or use CSV") from None
    return pyarrow

"""Face-mesh points to the 22 measures that descriptions are made from, for anybody's own faces.

Works on the 478 points of MediaPipe's refined face mesh (`mediapipe==0.10.21` carries the model in its wheel, but needs
numpy < 2, so give it an environment of its own), or of any mesh with the same numbering.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import InputError, reason, shown
from emoclip.tables import as_asked, read_rows
from emoclip.training.describe import Population, describe
from emoclip.training.mini.faces import MEASURES
from emoclip.video import read_picture

# FER-2013's train split: what a web face looks like, in the order of MEASURES.
WEB_FACES = Population(
    middle=np.array(
        [0.0427, 0.5506, 0.0162, 0.0171, 0.1597, 0.1516, 0.332, 0.3299, 0.2281, 0.2305, 0.2445, 0.2465, 0.3331, 0.5006,
         0.3905, 0.6917, -0.3605, -0.6205, -0.0047, 0.4024, 0.4739, 0.5284], np.float32),
    spread=np.array(
        [0.0989, 0.1067, 0.0486, 0.0483, 0.0458, 0.0388, 0.0982, 0.0984, 0.0439, 0.0455, 0.0538, 0.0538, 0.0275, 0.0699,
         0.0384, 0.1187, 0.0436, 8.5237, 0.2928, 0.0653, 0.0845, 0.0911], np.float32),
)  # fmt: skip


def measures_of(
    points: NDArray[np.floating[Any]], numbers: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Return the 22 measures of one face, in the order of `faces.MEASURES`.

    points: (P, 2) positions, x right and y down, any unit.  numbers: the mesh number of each; None means all of them in
    order.  Lengths come out in outer-eye distances with the eyes levelled; up is positive; left and right are the
    subject's own; the head's roll is in degrees.
    """
    row = {number: index for index, number in enumerate(range(len(points)) if numbers is None else numbers)}
    raw = {number: np.asarray(points[index], np.float64) for number, index in row.items()}
    across = raw[263] - raw[33]
    length = float(np.hypot(*across))
    cos, sin = across / length
    level = np.array([[cos, sin], [-sin, cos]]) / length
    centre = (raw[33] + raw[263]) / 2
    p = {number: level @ (point - centre) for number, point in raw.items()}

    def gap(a: int, b: int) -> float:
        return float(np.linalg.norm(p[a] - p[b]))

    def down(a: int, b: int) -> float:
        return float(p[b][1] - p[a][1])

    mouth = (p[13][1] + p[14][1]) / 2
    to_right, to_left = gap(1, 234), gap(454, 1)
    values = {
        "mouth_open": gap(13, 14),
        "mouth_width": gap(61, 291),
        "lip_corner_raise_right": mouth - p[61][1],
        "lip_corner_raise_left": mouth - p[291][1],
        "upper_lip_raise": down(2, 0),
        "lip_thickness": gap(0, 13) + gap(14, 17),
        "eye_open_right": gap(159, 145) / gap(33, 133),
        "eye_open_left": gap(386, 374) / gap(263, 362),
        "brow_outer_raise_right": -p[63][1],
        "brow_outer_raise_left": -p[293][1],
        "brow_inner_raise_right": down(107, 133),
        "brow_inner_raise_left": down(336, 362),
        "brow_gap": gap(107, 336),
        "nose_wing_height": (p[98][1] + p[327][1]) / 2,
        "nose_width": gap(98, 327),
        "jaw_drop": down(2, 152),
        "cheek_raise": -(p[50][1] + p[280][1]) / 2,
        "head_roll_deg": float(np.degrees(np.arctan2(across[1], across[0]))),
        "head_yaw_proxy": (to_right - to_left) / (to_right + to_left),
        "head_pitch_proxy": down(168, 1) / down(168, 152),
        "gaze_right": float((p[468] - p[33])[0] / (p[133] - p[33])[0]),
        "gaze_left": float((p[473] - p[362])[0] / (p[263] - p[362])[0]),
    }
    return np.array([values[name] for name in MEASURES], np.float32)


def describe_pictures(paths: Sequence[Path], count: int = 1, seed: int = 0) -> dict[Path, list[str]]:
    """Describe the largest face of every picture; an empty list where no face mesh is found.

    Raises InputError where mediapipe is not installed or a picture cannot be read.
    """
    try:
        from mediapipe.python.solutions.face_mesh import FaceMesh
    except ImportError:
        raise InputError(
            "describing pictures needs a face mesh: pip install mediapipe==0.10.21 (in an environment with numpy < 2), "
            "or measure the faces elsewhere and pass the table"
        ) from None
    described: dict[Path, list[str]] = {}
    with FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True) as mesh:
        for path in paths:
            picture = read_picture(path)
            found = mesh.process(picture).multi_face_landmarks
            height, width = picture.shape[:2]
            if not found:
                described[path] = []
                continue
            measures = measures_of(np.array([(q.x * width, q.y * height) for q in found[0].landmark]))
            described[path] = describe(measures, WEB_FACES, count, _own(seed, path.name))
    return described


def describe_table(path: Path, count: int = 1, seed: int = 0) -> list[tuple[str, str, list[str]]]:
    """Describe every row of a table of measures: Parquet or CSV with a column `path` and the 22 of `faces.MEASURES`.

    Returns (`file:line`, path, sentences) per row; no sentence where a measure is missing or not finite.  A population
    of 200 rows or more is compared with itself, a smaller one with web faces.  Raises InputError, for a row without a
    path and a measure that is no number with its line.
    """
    places, names, measures = read_measures(path)
    population = population_of(measures)
    return [
        (place, name, describe(row, population, count, _own(seed, name)))
        for place, name, row in zip(places, names, measures, strict=True)
    ]


def read_measures(path: Path) -> tuple[list[str], list[str], NDArray[np.float32]]:
    """Read a table of measures: where each row is, its path, and the measures (N, 22).

    What is missing is NaN.  Raises InputError, as `describe_table`.
    """
    places, columns = _read_columns(path)
    if not places:
        raise InputError(f"{path}: has no rows; give each face's measures a row")
    missing = [name for name in ("path", *MEASURES) if name not in columns]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}; it needs path and {', '.join(MEASURES)}")
    names = [str(name or "").strip() for name in columns["path"]]
    if "" in names:
        raise InputError(f"{places[names.index('')]}: has no path; name the face's picture or clip")
    numbers = [
        [_number(place, name, value) for place, value in zip(places, columns[name], strict=True)]
        for name in MEASURES
    ]
    with np.errstate(over="ignore"):  # what no float holds is infinite
        measures = np.array(numbers, np.float64).T.astype(np.float32)
    return places, names, measures


def _own(seed: int, name: str) -> int:
    """A face's own seed, so that its phrasing depends on no other face and on no order."""
    return seed + zlib.crc32(name.encode(errors="surrogatepass"))


def population_of(measures: NDArray[np.float32]) -> Population:
    """What faces are compared with, measures (N, 22): themselves, or web faces where fewer than 200 are whole."""
    whole = np.isfinite(measures).all(axis=1)
    return Population.of(measures[whole]) if whole.sum() >= 200 else WEB_FACES


def _number(place: str, name: str, value: Any) -> float:
    """Return a cell of a table; NaN for an empty one."""
    try:
        return float("nan" if value in (None, "") else value)
    except (TypeError, ValueError):
        raise InputError(
            f"{place}: its {name} is {shown(value)}, no number; leave what was not measured empty"
        ) from None


def _read_columns(path: Path) -> tuple[list[str], dict[str, list[Any]]]:
    """Where each row is, and the columns `path` and the measures, as far as the table has them."""
    if not path.is_file():
        raise InputError(f"{path}: no such table of measures; check the path")
    wanted = {"path", *MEASURES}
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            with path.open("rb") as content:
                table = pq.read_table(content)
            names = as_asked(table.column_names, wanted)
            columns = {name: table.column(at).to_pylist() for at, name in enumerate(names) if name in wanted}
            return [f"{path}, row {number}" for number in range(1, len(table) + 1)], columns
        rows = read_rows(path, known=wanted)
        names = [name for name in (rows[0][1] if rows else ()) if name in wanted]
        return [place for place, _ in rows], {name: [row[name] for _, row in rows] for name in names}
    except ImportError:
        raise InputError(f"{path}: Parquet needs pyarrow: pip install 'emoclip[eval]', or use CSV") from None
    except (ValueError, OSError) as error:  # pyarrow's own errors are ValueErrors
        raise InputError(f"{path}: is not a readable table of measures ({reason(error)})") from None

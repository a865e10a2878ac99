"""Results convert in one call, and what a notebook shows of them is safe."""

import importlib
import json
import math
import pickle
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser

import numpy as np
import pytest

from emoclip import Classification, ConfigError, FaceResult, LabelSummary, Peak, Timeline, Window

FACE = FaceResult(0, 0.0, 1.5, 30, 0.75, {"smiling": 0.9, "a<b": 0.1}, "smiling")
READ = Classification("a&b.mp4", "mini", ["smiling", "a<b"], "ok", duration_s=1.5, faces=[FACE])
WINDOWS = [
    Window(0, 0.0, 1.0, "ok", 1.0, 0.9, "smiling", {"smiling": 0.8, "a<b": 0.2}),
    Window(-1, 1.0, 2.0, "no_face", 0.0, math.nan, "", {"smiling": math.nan, "a<b": math.nan}),
]
TIMELINE = Timeline(
    "a&b.mp4",
    "mini",
    ["smiling", "a<b"],
    2.0,
    WINDOWS,
    [],
    [],
    [LabelSummary(0, "smiling", 1.0, 1, 1.0, 0.0, 0.8)],
    [Peak(0, "smiling", 0.5, 0.8, b"\xff\xd8")],
)


class Texts(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.texts = []
        self.feed(page)

    def handle_data(self, data):
        self.texts.append(data)


def test_a_repr_fits_a_line_and_says_what_matters():
    assert repr(READ) == "<Classification of a&b.mp4: face 0: smiling 0.90>"
    assert repr(Classification("x.jpg", "mini", ["a"], "no_face")) == "<Classification of x.jpg: no face>"
    assert repr(TIMELINE) == "<Timeline of a&b.mp4, 2.0 s: 0 faces, 2 windows, 0 segments>"
    assert "1 window, " in repr(replace(TIMELINE, windows=WINDOWS[:1]))


def test_to_dict_is_plain_data():
    record = READ.to_dict()
    assert json.loads(json.dumps(record)) == record
    keys = ["track_id", "start_s", "end_s", "frames", "coverage", "probs", "top", "seen_at_s", "box"]
    assert list(record["faces"][0]) == keys
    told = TIMELINE.to_dict()
    assert told["peaks"] == [{"track_id": 0, "label": "smiling", "time_s": 0.5, "prob": 0.8}]
    assert told["windows"][0]["probs"] == {"smiling": 0.8, "a<b": 0.2}


def test_to_dataframe_has_a_row_per_face_or_window():
    pytest.importorskip("pandas")
    faces = READ.to_dataframe()
    assert faces.shape == (1, 10)
    assert faces.loc[0, "prob:smiling"] == 0.9
    windows = TIMELINE.to_dataframe()
    assert windows["status"].tolist() == ["ok", "no_face"]
    assert list(windows.columns) == TIMELINE.columns()


def test_scores_that_were_asked_for_are_in_the_table_and_the_notebook():
    face = replace(FACE, scores={"smiling": 0.8, "a<b": None})
    scored = replace(READ, faces=[face], scored=True)
    assert scored.columns()[-2:] == ["score:smiling", "score:a<b"]
    (row,) = scored.rows()
    assert (len(row), row[-2]) == (len(scored.columns()), 0.8)
    assert math.isnan(row[-1])
    texts = Texts(scored._repr_html_()).texts
    assert [text for text in texts if text in ("score", "0.80", "-")] == ["score", "0.80", "-"]
    assert "score" not in Texts(READ._repr_html_()).texts
    assert list(scored.to_dict()) == list(READ.to_dict())


@pytest.mark.parametrize("status", ["no_face", "error"])
def test_an_input_without_a_face_keeps_a_row_in_a_table_of_many(status):
    pandas = pytest.importorskip("pandas")
    bare = Classification("b.mp4", "mini", READ.labels, status, scored=True)
    scored = replace(READ, faces=[replace(FACE, scores={"smiling": 0.8, "a<b": 0.1})], scored=True)
    table = pandas.concat([bare.to_dataframe(), scored.to_dataframe()], ignore_index=True)
    assert table["status"].tolist() == [status, "ok"]
    assert table["track_id"].tolist() == [-1, 0]
    assert table["frames"].tolist() == [0, 30]
    numbers = ["start_s", "end_s", "prob:smiling", "score:a<b"]
    assert table.loc[0, numbers].isna().all()
    assert table.loc[1, numbers].notna().all()


def test_what_a_timeline_does_not_know_is_null_in_strict_json():
    told = TIMELINE.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["windows"][1]["probs"] == {"smiling": None, "a<b": None}
    assert told["windows"][1]["quality"]["yaw"] is None


def test_without_pandas_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        READ.to_dataframe()


def test_a_notebook_sees_the_words_and_no_markup_of_theirs():
    for result in (READ, TIMELINE):
        page = result._repr_html_()
        assert "a<b" not in page
        assert "a&b.mp4" in " ".join(Texts(page).texts)
    assert "a<b" in Texts(READ._repr_html_()).texts


def test_results_go_to_other_processes():
    for result in (READ, TIMELINE):
        assert repr(pickle.loads(pickle.dumps(result))) == repr(result)


def holders() -> list[type]:
    """The public dataclasses that hold arrays."""
    homes = [
        importlib.import_module(f"emoclip{room}") for room in ("", ".codings", ".evaluation", ".symptoms")
    ]
    public = {getattr(home, name) for home in homes for name in home.__all__}
    found = (each for each in public if isinstance(each, type) and is_dataclass(each))
    arrays = ("NDArray", "Floats", "Ints", "Indices", "Look", "ndarray")
    return sorted(
        (each for each in found if any(word in str(part.type) for part in fields(each) for word in arrays)),
        key=lambda each: each.__name__,
    )


def test_the_holders_of_arrays_are_found():
    assert {"Agreement", "Embeddings", "Recording", "SeenFace"} <= {each.__name__ for each in holders()}


@pytest.mark.parametrize("kind", holders(), ids=lambda kind: kind.__name__)
def test_what_holds_arrays_is_equal_to_its_copy_and_to_nothing_else(kind: type):
    one = kind.__new__(kind)
    for part in fields(kind):
        object.__setattr__(one, part.name, [(0.5, {"a": np.array([1.0, np.nan])}), np.nan])
    same, other = deepcopy(one), deepcopy(one)
    last = [part.name for part in fields(kind) if part.compare][-1]
    getattr(other, last)[0][1]["a"][0] = 2.0
    assert one == same
    assert one != other
    assert one != "another thing"

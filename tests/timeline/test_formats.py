"""Every format is read back by a reader that is not ours."""

import csv
import io
import json
import math
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoclip.config import SegmentConfig
from emoclip.errors import ConfigError
from emoclip.results import NO_TRACK, Quality, Timeline, Window
from emoclip.timeline.formats import BORIS_COLUMNS, WRITERS, check_installed
from emoclip.timeline.segments import find_segments, summarise

NASTY = 'a, "b"\tc\nd <e> & f\'s; -->'
QUALITY = ["size", "sharpness", "exposure", "yaw", "pitch", "roll"]
LABELS = ["smiling", NASTY, "безрадостный 😐"]

SEEN = Quality(118.0, 0.25, 0.75, -12.5, 3.0, math.nan)


def make(labels=LABELS):
    shares = [(0, 0.8), (0, 0.7), (1, 0.9), (1, 0.8), (2, 0.6)]
    rows = [Window(NO_TRACK, 0.0, 1.96, "no_face", 0.0, math.nan, "", dict.fromkeys(labels, math.nan))]
    for track in (0, 3):
        for at, (best, share) in enumerate(shares):
            probs = {label: share if place == best else (1 - share) / 2 for place, label in enumerate(labels)}
            start = 0.5 * at + 1 / 3 + track
            rows.append(Window(track, start, start + 1.96, "ok", 1.0, 0.875, labels[best], probs, None, SEEN))
    rows.append(Window(3, 8.0, 9.96, "low_coverage", 0.25, 0.5, "", dict.fromkeys(labels, math.nan)))
    segments = find_segments(rows, labels, SegmentConfig())
    tracks, summary = summarise(rows, segments, labels)
    return Timeline("clips/inter view.mp4", "mini", list(labels), 10.0, rows, segments, tracks, summary)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a format and gives the path of one of its files."""

    def write(name, timeline=None, suffix=None):
        timeline = timeline or make()
        for ending, writer in WRITERS[name].items():
            writer(timeline, tmp_path / f"x{ending}")
        return tmp_path / f"x{suffix or next(iter(WRITERS[name]))}"

    return write


def expected_frame(timeline):
    return pd.DataFrame(list(timeline.rows()), columns=timeline.columns())


def test_csv_has_the_documented_columns_and_comes_back_equal(written):
    table = pd.read_csv(
        written("csv"),
        keep_default_na=False,
        na_values={key: ["NaN"] for key in ("score", *QUALITY, *(f"prob:{x}" for x in LABELS))},
    )
    assert list(table.columns) == [
        "input",
        "track_id",
        "start_s",
        "end_s",
        "status",
        "coverage",
        "score",
        *QUALITY,
        "top",
    ] + [f"prob:{label}" for label in LABELS]
    pd.testing.assert_frame_equal(table, expected_frame(make()))
    # Unreadable windows keep their rows, with NaN.
    assert list(table["status"]).count("ok") == 10
    assert table.loc[table["status"] != "ok", f"prob:{NASTY}"].isna().all()
    assert len(table) == 12


@pytest.mark.parametrize("name", ["csv", "parquet", "jsonl"])
def test_scores_have_columns_of_their_own_where_asked(written, name):
    timeline = make()
    unread = dict.fromkeys(LABELS, math.nan)
    windows = [
        replace(row, scores=dict.fromkeys(LABELS, 0.125) if row.status == "ok" else unread)
        for row in timeline.windows
    ]
    path = written(name, replace(timeline, windows=windows, scored=True))
    if name == "jsonl":
        rows = [json.loads(line)["scores"] for line in path.read_text(encoding="utf-8").splitlines()]
        assert rows[0] == dict.fromkeys(LABELS)
        assert rows[1] == dict.fromkeys(LABELS, 0.125)
        return
    table = pd.read_parquet(path) if name == "parquet" else pd.read_csv(path)
    assert list(table.columns)[-3:] == [f"score:{label}" for label in LABELS]
    assert table[f"score:{LABELS[0]}"].isna().tolist() == [row.status != "ok" for row in windows]
    assert not any("scores" in json.loads(line) for line in written("jsonl").read_text("utf-8").splitlines())


def test_parquet_comes_back_equal(written):
    table = pd.read_parquet(written("parquet"))
    pd.testing.assert_frame_equal(table, expected_frame(make()), check_dtype=False)


def test_jsonl_is_strict_json_with_null_for_what_was_not_read(written):
    def refuse(constant):
        raise AssertionError(constant)

    records = [
        json.loads(line, parse_constant=refuse)
        for line in written("jsonl").read_text("utf-8").split("\n")[:-1]
    ]
    assert len(records) == 12
    assert records[0]["probs"] == dict.fromkeys(LABELS)
    assert (records[0]["score"], records[0]["top"], records[0]["status"]) == (None, None, "no_face")
    assert records[3]["top"] == NASTY
    assert sum(records[3]["probs"].values()) == pytest.approx(1)


def test_elan_has_a_tier_per_track_with_its_segments(written):
    from pympi.Elan import Eaf

    timeline = make()
    document = Eaf(written("eaf", timeline))
    assert list(document.get_tier_names()) == ["track 0", "track 3"]
    for track in (0, 3):
        found = sorted(document.get_annotation_data_for_tier(f"track {track}"))
        assert found == [
            (round(segment.onset_s * 1000), round(segment.offset_s * 1000), segment.label)
            for segment in timeline.segments
            if segment.track_id == track
        ]
    assert document.get_linked_files()[0]["MEDIA_URL"] == "inter view.mp4"  # nobody knows where it lies


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.TS", "video/mp2t"), ("a.mts", "video/mp2t"), ("a.mkv", "video/x-matroska"), ("a", "unknown")],
)
def test_elan_is_told_the_videos_kind_whatever_this_machines_own_table_says(written, monkeypatch, name, kind):
    from pympi.Elan import Eaf

    monkeypatch.setattr("mimetypes.guess_type", lambda *_: ("text/vnd.trolltech.linguist", None))
    document = Eaf(written("eaf", replace(make(), input=name)))
    assert document.get_linked_files()[0]["MIME_TYPE"] == kind


def test_elan_drops_what_xml_cannot_hold(written):
    from pympi.Elan import Eaf

    labels = ["bell \x07 rings", "other"]
    document = Eaf(written("eaf", make([*labels, "third"])))
    assert {value for *_, value in document.get_annotation_data_for_tier("track 0")} == {
        "bell  rings",
        "other",
        "third",
    }


ANY_TEXT = st.text(st.characters(), min_size=1, max_size=12)


@given(ANY_TEXT, st.lists(ANY_TEXT, min_size=3, max_size=3, unique=True))
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # one file is written over and over
def test_elan_is_valid_whatever_the_video_and_the_labels_are_called(written, name, labels):
    pytest.importorskip("pympi")
    path = written("eaf", replace(make(tuple(labels)), input=f"clips/{name}.mp4"))
    document = ElementTree.parse(path)
    assert len(document.findall(".//ALIGNABLE_ANNOTATION")) == 6
    link = document.find(".//MEDIA_DESCRIPTOR").get("MEDIA_URL")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", link)


@given(st.lists(ANY_TEXT, min_size=3, max_size=3, unique=True))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_cell_of_a_table_is_a_formula(written, labels):
    labels = [label.encode("utf-8", "replace").decode() + str(place) for place, label in enumerate(labels)]
    with open(written("csv", make(tuple(labels))), newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for row in rows:
        assert not any(cell.startswith(("=", "@", "+", "\t", "\r", "\n")) for cell in row)
        assert not any(cell.startswith("-") and not re.fullmatch(r"-[0-9.]+", cell) for cell in row)
    assert {row[13].removeprefix("'") for row in rows[1:]} <= {
        "",
        *(label.removeprefix("'") for label in labels),
    }


def test_webvtt_is_read_by_a_player_library(written):
    webvtt = pytest.importorskip("webvtt", reason="webvtt-py (extra dev) is not installed")
    import html

    timeline = make()
    cues = webvtt.read(str(written("vtt", timeline))).captions
    assert len(cues) == len(timeline.segments)
    assert [cue.start_in_seconds for cue in cues] == sorted(cue.start_in_seconds for cue in cues)
    # Players collapse no white space but cues end at an empty line, so labels are put on one line.
    assert html.unescape(cues[1].raw_text) == f"track 0: {' '.join(NASTY.split())}"
    assert cues[0].start == "00:00:00.333"


def test_boris_events_have_boris_columns_one_state_per_segment(written):
    timeline = make()
    table = pd.read_csv(written("boris", timeline), sep="\t", quoting=csv.QUOTE_NONE)
    assert tuple(table.columns) == BORIS_COLUMNS
    assert set(table["Behavior type"]) == {"STATE"}
    assert list(table["Subject"]) == [f"track {segment.track_id}" for segment in timeline.segments]
    assert list(table["Duration (s)"]) == pytest.approx(list(table["Stop (s)"] - table["Start (s)"]))
    assert list(table["Behavior"])[1] == " ".join(NASTY.split())


def test_bids_events_follow_the_rules_of_bids(written):
    timeline = make()
    table = pd.read_csv(
        written("bids", timeline), sep="\t", quoting=csv.QUOTE_NONE, na_values="n/a", keep_default_na=False
    )
    assert list(table.columns[:3]) == ["onset", "duration", "trial_type"]
    assert table["onset"].is_monotonic_increasing
    assert (table["duration"] >= 0).all()
    described = json.loads(written("bids", timeline, "_events.json").read_text("utf-8"))
    assert set(described) == set(table.columns)
    assert set(table["trial_type"]) <= set(described["trial_type"]["Levels"])


def test_the_stretch_that_was_read_stands_where_each_program_has_a_place(written):
    from pympi.Elan import Eaf

    timeline = replace(make(), read_s=(0.25, 9.75))
    boris = pd.read_csv(written("boris", timeline), sep="\t", quoting=csv.QUOTE_NONE)
    assert tuple(boris.columns) == BORIS_COLUMNS
    assert set(boris["Coding duration"]) == {9.5}
    assert set(boris["Observation duration by subject by observation"]) == {9.5}
    assert set(boris["Media duration (s)"]) == {10.0}
    properties = dict(Eaf(written("eaf", timeline)).get_properties())
    assert (properties["emoclip start_s"], properties["emoclip end_s"]) == ("0.250", "9.750")
    model, marks = properties["emoclip model"], properties["emoclip marks"]
    assert model == timeline.model
    told = f"read from 0.250 to 9.750 s by emoclip, marks {marks}, model {model}"
    assert set(boris["Description"]) == {told}
    described = json.loads(written("bids", timeline, "_events.json").read_text("utf-8"))
    assert list(described["StretchRead"].values())[2:] == [0.25, 9.75, 10.0, model, marks]


def test_what_could_not_be_read_stands_there_too(written):
    from pympi.Elan import Eaf

    timeline = replace(
        make(), read_s=(0.25, 9.75), unread={3: [(7.00049, 7.5), (8.0, 9.0)], NO_TRACK: [(8.0, 8.5)]}
    )
    told = {"track 3": [[7.0, 7.5], [8.0, 9.0]], "anyone": [[8.0, 8.5]]}
    boris = pd.read_csv(written("boris", timeline), sep="\t", quoting=csv.QUOTE_NONE)
    but_for = "but for track 3 at 7.000-7.500 8.000-9.000 s anyone at 8.000-8.500 s"
    assert (
        boris["Description"].str.startswith(f"read from 0.250 to 9.750 s, {but_for} by emoclip, marks ").all()
    )
    assert json.loads(dict(Eaf(written("eaf", timeline)).get_properties())["emoclip unread"]) == told
    described = json.loads(written("bids", timeline, "_events.json").read_text("utf-8"))
    assert described["StretchRead"]["Unread"] == told


def test_onset_and_duration_give_the_same_rounded_offset_in_every_format(written):
    timeline = make()
    times = [(0.0004, 1.5019), (1.6006, 3.1024)]  # last 1.502 and 1.501 s by themselves, 1.501 of the rounded
    found = [replace(timeline.segments[0], onset_s=on, offset_s=off, peak_s=on) for on, off in times]
    timeline = replace(timeline, segments=found)
    boris = pd.read_csv(written("boris", timeline), sep="\t", quoting=csv.QUOTE_NONE)
    bids = pd.read_csv(written("bids", timeline), sep="\t", quoting=csv.QUOTE_NONE)
    assert list(boris["Duration (s)"]) == list(bids["duration"])
    assert list((boris["Start (s)"] + boris["Duration (s)"]).round(3)) == list(boris["Stop (s)"])


def test_a_video_without_faces_and_one_of_a_single_frame_give_valid_files(written):
    from pympi.Elan import Eaf

    nobody = make()
    nobody = replace(nobody, windows=nobody.windows[:1], segments=[], tracks=[], summary=[], duration_s=None)
    assert list(Eaf(written("eaf", nobody)).get_tier_names()) == []
    assert len(pd.read_parquet(written("parquet", nobody))) == 1
    assert written("boris", nobody).read_text().count("\n") == 1
    assert written("bids", nobody).read_text().count("\n") == 1
    one = Window(0, 0.0, 0.0, "ok", 1.0, 1.0, "smiling", {"smiling": 0.9, "crying": 0.1})
    segments = find_segments([one], ["smiling", "crying"], SegmentConfig())
    tracks, summary = summarise([one], segments, ["smiling", "crying"])
    still = Timeline("a.jpg", "mini", ["smiling", "crying"], 0.0, [one], segments, tracks, summary)
    assert Eaf(written("eaf", still)).get_annotation_data_for_tier("track 0") == [(0, 1, "smiling")]
    assert "00:00:00.000 --> 00:00:00.001" in written("vtt", still).read_text()
    empty = replace(nobody, windows=[])
    assert len(pd.read_parquet(written("parquet", empty))) == 0
    assert csv.reader(io.StringIO(written("csv", empty).read_text("utf-8"))).__next__()[0] == "input"


def test_a_missing_library_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pympi" else object())
    check_installed(["csv", "parquet"])
    with pytest.raises(
        ConfigError, match=r"eaf needs pympi-ling; install it with: pip install 'emoclip\[formats\]'"
    ):
        check_installed(["csv", "eaf"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are Unicode")
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_written_into_a_folder_of_any_name(tmp_path, name):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    for ending, writer in WRITERS[name].items():
        writer(make(), folder / f"x{ending}")
        assert (folder / f"x{ending}").stat().st_size


def test_a_time_between_two_milliseconds_is_the_same_one_in_every_format(written):
    webvtt = pytest.importorskip("webvtt", reason="webvtt-py (extra dev) is not installed")
    from pympi.Elan import Eaf

    timeline = make()
    times = [(0.0005, 22.9825), (22.9825, 23.0335), (30.0, 30.0)]
    found = [replace(timeline.segments[0], onset_s=on, offset_s=off, peak_s=on) for on, off in times]
    timeline = replace(timeline, segments=found)
    document = Eaf(written("eaf", timeline))
    by_elan = [part[:2] for part in sorted(document.get_annotation_data_for_tier("track 0"))]
    cues = webvtt.read(str(written("vtt", timeline))).captions
    boris = pd.read_csv(written("boris", timeline), sep="\t", quoting=csv.QUOTE_NONE)
    bids = pd.read_csv(written("bids", timeline), sep="\t", quoting=csv.QUOTE_NONE)
    for onsets, offsets in (
        ([float(cue.start[6:]) for cue in cues], [float(cue.end[6:]) for cue in cues]),
        (boris["Start (s)"], boris["Stop (s)"]),
        (bids["onset"], bids["onset"] + bids["duration"]),
    ):
        told = zip((1000 * np.array(onsets)).round(), (1000 * np.array(offsets)).round(), strict=True)
        assert list(told) == by_elan
    as_agree_has_it = [tuple(round(1000 * round(time_s, 3)) for time_s in part) for part in times[:2]]
    assert by_elan == [*as_agree_has_it, (30_000, 30_001)]  # a state lasts

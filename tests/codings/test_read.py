"""Codings of every kind are read into the same marks; what cannot be read is told in one line."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import unicodedata
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoclip.codings import ANYONE, Coding, Mark, read, read_all, way_of
from emoclip.codings.coding import Teachers
from emoclip.errors import ConfigError, EmoclipError, InputError, InputWarning
from emoclip.results import Segment, Timeline, Track
from emoclip.timeline.formats import WRITERS

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-03-01T10:00:00+01:00" FORMAT="3.0" VERSION="3.0"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
 <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/Users/Anna/caf%C3%A9%2001.mp4" MIME_TYPE="video/mp4"
  RELATIVE_MEDIA_URL="./caf%C3%A9%2001.mp4"{origin}/></HEADER>
<TIME_ORDER>
 <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2"/>
 <TIME_SLOT TIME_SLOT_ID="ts3"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="4000"/>
 <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="2500"/><TIME_SLOT TIME_SLOT_ID="ts6" TIME_VALUE="{last}"/>
</TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="cv" TIER_ID="Smile" PARTICIPANT="Child" ANNOTATOR="Anna">
 <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" CVE_REF="cveid_1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts4">
  <ANNOTATION_VALUE>polite</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts5" TIME_SLOT_REF2="ts6">
  <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER LINGUISTIC_TYPE_REF="ref" TIER_ID="intensity" PARENT_REF="Smile" ANNOTATOR="Anna">
 <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1"><ANNOTATION_VALUE>strong</ANNOTATION_VALUE>
 </REF_ANNOTATION></ANNOTATION>
</TIER>
<TIER LINGUISTIC_TYPE_REF="sub" TIER_ID="phases" PARENT_REF="Smile" ANNOTATOR="Ben">
 <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
  <ANNOTATION_VALUE>rise</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a5" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
  <ANNOTATION_VALUE>hold</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a6" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
  <ANNOTATION_VALUE>fall</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="cv" TIME_ALIGNABLE="true" CONTROLLED_VOCABULARY_REF="smiles"/>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="ref" TIME_ALIGNABLE="false" CONSTRAINTS="Symbolic_Association"/>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="sub" TIME_ALIGNABLE="true" CONSTRAINTS="Time_Subdivision"/>
<LANGUAGE LANG_DEF="http://cdb.iso.org/lg/CDB-00130975-001" LANG_ID="und" LANG_LABEL="undetermined (und)"/>
<CONTROLLED_VOCABULARY CV_ID="smiles"><DESCRIPTION LANG_REF="und"/>
 <CV_ENTRY_ML CVE_ID="cveid_1"><CVE_VALUE DESCRIPTION="" LANG_REF="und">polite</CVE_VALUE></CV_ENTRY_ML>
</CONTROLLED_VOCABULARY>
</ANNOTATION_DOCUMENT>
"""

BORIS_TABULAR = (
    "Observation id\tObservation date\tMedia duration (s)\tSubject\tBehavior\tBehavior type\tTime\tMedia file name\n"
    "v1_anna\t2024\t60.0\tNo focal subject\tsmile\tSTART\t1.5\tfilms/v1.mp4\n"
    "v1_anna\t2024\t60.0\tmother\tsmile\tSTART\t2.0\tfilms/v1.mp4\n"
    "v1_anna\t2024\t60.0\tNo focal subject\tsmile\tSTOP\t3.25\tfilms/v1.mp4\n"
    "v1_anna\t2024\t60.0\tNo focal subject\tbrow flash\tPOINT\t3.5\tfilms/v1.mp4\n"
    "v1_anna\t2024\t60.0\tmother\tsmile\tSTOP\t4.0\tfilms/v1.mp4\n"
)
BORIS_OLD = (
    "Observation id\tv1_anna\n\nMedia file(s)\n\nPlayer #1\tv1.mp4\n\nObservation date\t2016-01-01\nDescription\t\n"
    "Time offset (s)\t0\n\n"
    "Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tModifiers\tComment\tStatus\n"
    "1.5\tv1.mp4\t60.0\t25\t\tsmile\t\t\t\tSTART\n"
    "3.25\tv1.mp4\t60.0\t25\t\tsmile\t\t\t\tSTOP\n"
    "3.5\tv1.mp4\t60.0\t25\t\tbrow flash\t\t\t\tPOINT\n"
)
SMILE, FLASH = Mark(1.5, 3.25, "smile"), Mark(3.5, 3.5, "brow flash")


def project(observations: dict) -> str:
    return json.dumps(
        {
            "behaviors_conf": {
                "0": {"type": "State event", "code": "smile"},
                "1": {"type": "Point event", "code": "brow flash"},
            },
            "subjects_conf": {},
            "observations": observations,
        }
    )


def observation(events: list, media: str = "C:\\films\\v1.mp4", offset: float = 0.0) -> dict:
    return {
        "type": "MEDIA",
        "file": {"1": [media], "2": []},
        "time offset": offset,
        "media_info": {"length": {media: 60.0}},
        "events": events,
    }


EVENTS = [[3.5, "", "brow flash", "", ""], [1.5, "", "smile", "", ""], [3.25, "", "smile", "", ""]]


def limited(start_s, end_s) -> dict:
    return observation(EVENTS) | {"observation time interval": [start_s, end_s]}


def moved(by_s: float) -> list:
    return [[event[0] + by_s, *event[1:]] for event in EVENTS]


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding, newline="")
    return path


def only(path: Path, **options) -> Coding:
    (coding,) = read(path, **options)
    return coding


def eaf(folder: Path, *, origin: str = "", last: str = "9000") -> Path:
    pytest.importorskip("pympi")
    return write(folder, "x.eaf", EAF.replace("{origin}", origin).replace("{last}", last))


def test_elan_gives_coders_participants_and_labels(tmp_path: Path):
    anna, ben = read(eaf(tmp_path))
    assert (anna.video, anna.coder, ben.coder) == ("café 01", "Anna", "Ben")
    assert anna.marks == (
        Mark(1.0, 4.0, "polite", "Child"),
        Mark(1.0, 4.0, "strong"),
        Mark(2.5, 9.0, "Smile", "Child"),
    )


def test_elan_needs_no_schema_but_its_root(tmp_path: Path):
    path = eaf(tmp_path)
    known, text = read(path), path.read_text("utf-8")
    schema = ' xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd"'
    assert schema in text
    assert read(write(tmp_path, "x.eaf", text.replace(schema, ""))) == known
    with pytest.raises(InputError, match="not an ELAN document"):
        read(write(tmp_path, "x.eaf", text.replace("ANNOTATION_DOCUMENT", "OTHER")))


def test_elan_subdivisions_without_times_are_even(tmp_path: Path):
    (ben,) = read(eaf(tmp_path), tiers=["pha*"])
    assert ben.marks == (Mark(1, 2, "rise", ANYONE), Mark(2, 3, "hold", ANYONE), Mark(3, 4, "fall", ANYONE))


def reference(name: str, parent: str, value: str, previous: str = "") -> str:
    before = f' PREVIOUS_ANNOTATION="{previous}"' if previous else ""
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{parent}"{before}>'
        f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )


def with_tiers(folder: Path, **tiers: tuple[str, str, list[str]]) -> Path:
    """The document with further tiers: their type, their parent and annotations."""
    path = eaf(folder)
    more = "".join(
        f'<TIER LINGUISTIC_TYPE_REF="{kind}" TIER_ID="{name}" PARENT_REF="{parent}">{"".join(of)}</TIER>'
        for name, (kind, parent, of) in tiers.items()
    )
    kind = '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="parts" TIME_ALIGNABLE="false" CONSTRAINTS="Symbolic_Subdivision"/>'
    text = path.read_text("utf-8").replace("<LINGUISTIC_TYPE", f"{more}{kind}<LINGUISTIC_TYPE", 1)
    return write(folder, "x.eaf", text)


# By hand, after ELAN's manual: symbolic subdivisions share their parent's time evenly, in the order of their chain.
def test_elan_symbolic_subdivisions_share_their_parents_time(tmp_path: Path):
    parts = [
        reference("p3", "a1", "third", "p2"),
        reference("p1", "a1", "first"),
        reference("p2", "a1", "second", "p1"),
        reference("q1", "a2", "all"),
    ]
    halves = [reference("h1", "p2", "half"), reference("h2", "p2", "other half", "h1")]
    notes = [reference("n1", "h2", "of the half"), reference("n2", "p3", "of the third")]
    path = with_tiers(
        tmp_path,
        words=("parts", "Smile", parts),
        halves=("parts", "words", halves),
        notes=("ref", "halves", notes),
        hold=("ref", "phases", [reference("o1", "a5", "of a time subdivision")]),
    )
    first, second, third, whole = (
        Mark(1, 2, "first"),
        Mark(2, 3, "second"),
        Mark(3, 4, "third"),
        Mark(2.5, 9, "all"),
    )
    assert only(path, tiers=["words"]).marks == (first, second, whole, third)
    assert only(path, tiers=["halves"]).marks == (Mark(2, 2.5, "half"), Mark(2.5, 3, "other half"))
    assert only(path, tiers=["notes"]).marks == (Mark(2.5, 3, "of the half"), Mark(3, 4, "of the third"))
    assert only(path, tiers=["hold"]).marks == (Mark(2, 3, "of a time subdivision"),)


def test_elan_symbolic_subdivisions_without_an_order_come_as_they_stand(tmp_path: Path):
    parts = [reference(f"p{at}", "a1", str(at)) for at in range(4)]
    coding = only(with_tiers(tmp_path, words=("parts", "Smile", parts)), tiers=["words"])
    assert coding.marks == tuple(Mark(1 + 0.75 * at, 1.75 + 0.75 * at, str(at)) for at in range(4))


@pytest.mark.parametrize(
    "parts",
    [
        [reference("p1", "a1", "x", "p2"), reference("p2", "a1", "y", "p1")],
        [reference("p1", "p2", "x"), reference("p2", "p1", "y")],
        [reference("p1", "gone", "x")],
    ],
    ids=["before itself", "of itself", "of nothing"],
)
def test_elan_references_that_lead_nowhere_are_told(tmp_path: Path, parts: list[str]):
    with pytest.raises(InputError, match="an annotation of tier 'words' has no time"):
        read(with_tiers(tmp_path, words=("parts", "Smile", parts)), tiers=["words"])


def test_elan_media_offset_moves_the_marks_to_the_videos_clock(tmp_path: Path):
    (coding,) = read(eaf(tmp_path, origin=' TIME_ORIGIN="500"'), tiers=["smile"])
    assert coding.marks[0] == Mark(1.5, 4.5, "polite", "Child")


@pytest.mark.parametrize("text", [BORIS_TABULAR, BORIS_OLD], ids=["tabular", "old"])
@pytest.mark.parametrize("separator", ["\t", ","])
def test_boris_events_pair_starts_and_stops(tmp_path: Path, text: str, separator: str):
    coding = only(write(tmp_path, "events.tsv", text.replace("\t", separator)))
    assert (coding.video, coding.coder, coding.duration_s) == ("v1", "anna", 60.0)
    assert [mark for mark in coding.marks if mark.track == ANYONE] == [SMILE, FLASH]
    if "mother" in text:
        assert Mark(2.0, 4.0, "smile", "mother") in coding.marks


def test_boris_projects_give_a_coder_per_observation(tmp_path: Path):
    both = {"v1 - anna": observation(EVENTS), "v1 - ben": observation(EVENTS[:1]), "live": {"type": "LIVE"}}
    path = write(tmp_path, "study.boris", project(both))
    with pytest.warns(
        InputWarning, match=f"^{re.escape(str(path))}: left out, not of a video: observation live$"
    ):
        anna, ben = read(path)
    assert (anna.video, anna.coder, anna.marks, anna.duration_s) == ("v1", "anna", (SMILE, FLASH), 60.0)
    assert (ben.coder, ben.marks) == ("ben", (FLASH,))


def test_boris_videos_of_one_name_are_told_apart_by_their_folders(tmp_path: Path):
    places = {"monday": "C:\\study\\monday\\cam.mp4", "tuesday": "C:\\study\\tuesday\\cam.mp4"}
    made = {name: observation(EVENTS, place) for name, place in places.items()}
    found = read(write(tmp_path, "study.boris", project(made)))
    assert [(coding.video, coding.coder) for coding in found] == [("monday/cam", ""), ("tuesday/cam", "")]
    tabular = BORIS_TABULAR.replace("films/v1.mp4", "films/monday/cam.mp4").replace("v1_anna", "first")
    both = tabular + "".join(
        line.replace("monday", "tuesday").replace("first", "second") + "\n"
        for line in tabular.splitlines()[1:]
    )
    found = read(write(tmp_path, "events.tsv", both))
    assert [(coding.video, coding.coder) for coding in found] == [("monday/cam", ""), ("tuesday/cam", "")]


@pytest.mark.parametrize(
    ("observed", "told"),
    [
        (
            {"monday_talk": "/d/monday/talk.mp4", "tuesday_talk": "/d/tuesday/talk.mp4"},
            [("monday/talk", ""), ("tuesday/talk", "")],
        ),
        (
            {"Monday_talk_anna": "/d/monday/talk.mp4", "talk-ben-tuesday": "/d/tuesday/talk.mp4"},
            [("monday/talk", "anna"), ("tuesday/talk", "ben")],
        ),
        (
            {"talk_anna": "/d/monday/talk.mp4", "talk_ben": "/d/tuesday/talk.mp4"},
            [("monday/talk", "anna"), ("tuesday/talk", "ben")],
        ),
        (
            {"talk_anna": "/d/anna/talk.mp4", "talk_ben": "/d/ben/talk.mp4"},
            [("talk", "anna"), ("talk", "ben")],
        ),
        (
            {"talk_anna": "/home/anna/talk.mp4", "talk_ben": "/home/anna/talk.mp4"},
            [("talk", "anna"), ("talk", "ben")],
        ),
        ({"talk_david": "/d/talk.mp4"}, [("talk", "david")]),
    ],
    ids=[
        "folders",
        "coders and folders",
        "coders of two videos",
        "coders' folders",
        "a home",
        "part of a name",
    ],
)
def test_what_a_boris_observation_repeats_of_its_videos_folders_is_no_coder(tmp_path: Path, observed, told):
    made = {name: observation(EVENTS, place) for name, place in observed.items()}
    found = read(write(tmp_path, "study.boris", project(made)))
    assert sorted((coding.video, coding.coder) for coding in found) == sorted(told)


def test_a_folder_that_may_not_be_read_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="holds no coding"):
        read_all(tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="this folder cannot be read; check its rights"):
        read_all(tmp_path)


def test_boris_time_offsets_count(tmp_path: Path):
    # BORIS adds the offset to the time of an event that it writes.
    coding = only(write(tmp_path, "s.boris", project({"o": observation(moved(10.0), offset=10)})))
    assert coding.marks == (SMILE, FLASH)
    # It rounds the offset to milliseconds before.
    at_once = [[0.123, "", "brow flash", "", ""]]
    coding = only(write(tmp_path, "s.boris", project({"o": observation(at_once, offset=0.1234)})))
    assert coding.marks == (Mark(0, 0, "brow flash"),)


@pytest.mark.parametrize(
    ("interval", "length_s", "coded"),
    [
        ([0, 0], 60.0, None),
        ([1, 8], 60.0, ((1.0, 8.0),)),
        ([1.5, 0], 60.0, ((1.5, 60.0),)),
        ([0, 90], 60.0, ((0.0, 60.0),)),
        ([1, 0], None, ((1.0, 3.5),)),
        ([2.5, 8], 60.0, None),
    ],
    ids=["none", "both", "to the end", "beyond the end", "to an unknown end", "somebody marked beyond it"],
)
def test_boris_observations_may_be_limited_to_an_interval(tmp_path: Path, interval, length_s, coded):
    # The interval is the video's, the events' times have the offset.
    made = observation(moved(10), offset=10) | {"observation time interval": interval}
    if length_s is None:
        del made["media_info"]
    coding = only(write(tmp_path, "s.boris", project({"o": made})))
    assert (coding.marks, coding.coded, coding.machine) == ((SMILE, FLASH), coded, False)


# As BORIS 8.27.4 and 7.9.8 write it: the event's own time, in which the offset is, and the offset.
@pytest.mark.parametrize(
    "text",
    [
        "Observation id\tTime offset (s)\tMedia duration (s)\tSubject\tBehavior\tBehavior type\tTime\tMedia file name\n"
        "v1_anna\t10\t60.0\tNo focal subject\tsmile\tSTART\t11.5\tv1.mp4\n"
        "v1_anna\t10\t60.0\tNo focal subject\tsmile\tSTOP\t13.25\tv1.mp4\n"
        "v1_anna\t10\t60.0\tNo focal subject\tbrow flash\tPOINT\t13.5\tv1.mp4\n",
        BORIS_OLD.replace("offset (s)\t0", "offset (s)\t10")
        .replace("\n1.5\t", "\n11.5\t")
        .replace("\n3.", "\n13."),
        "Observation id\tTime offset (s)\tMedia duration (s)\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)\t"
        "Media file name\n"
        "v1_anna\t10.000\t60.0\tNo focal subject\tsmile\tSTATE\t11.500\t13.250\tv1.mp4\n"
        "v1_anna\t10.000\t60.0\tNo focal subject\tbrow flash\tPOINT\t13.500\tNA\tv1.mp4\n",
    ],
    ids=["tabular", "old", "aggregated"],
)
def test_boris_exports_time_offsets_count(tmp_path: Path, text: str):
    coding = only(write(tmp_path, "events.tsv", text))
    assert (coding.video, coding.coder, coding.duration_s) == ("v1", "anna", 60.0)
    assert coding.marks == (SMILE, FLASH)


def test_boris_times_from_when_the_media_was_made(tmp_path: Path):
    made = observation(moved(1.7e9 + 10), offset=10) | {"media_creation_date_as_offset": True}
    with pytest.raises(
        InputError, match=r"observation o: its times count from when C:\\films\\v1.mp4 was made"
    ):
        read(write(tmp_path, "s.boris", project({"o": made})))
    made["media_info"]["media_creation_time"] = {"/home/anna/v1.mp4": 1_700_000_000, "/home/anna/v2.mp4": 5}
    assert only(write(tmp_path, "s.boris", project({"o": made}))).marks == (SMILE, FLASH)


def test_bids_events_with_points_and_a_subject(tmp_path: Path):
    text = "onset\tduration\ttrial_type\n1.5\t1.75\tsmile\n3.5\tn/a\tbrow flash\n"
    coding = only(write(tmp_path, "sub-07_task-talk_events.tsv", text))
    assert (coding.video, coding.subject) == ("sub-07_task-talk", "sub-07")
    assert coding.marks == (SMILE, FLASH)


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        ("onset,offset,label\n1.5,3.25,smile\n3.5,,brow flash\n", None),
        ("Onset;Offset;Label\n1,5;3,25;smile\n3,5;3,5;brow flash\n", None),
        ("start\tend\tcode\n0:00:01.5\t00:03.25\tsmile\n3.5\t3.5\tbrow flash\n", None),
        ("onset,offset,label\n36,78,smile\n84,84,brow flash\n", 24.0),
        ("onset,offset,label\n00:00:01:12,00:00:03:06,smile\n84,84,brow flash\n", 24.0),
        ('onset,duration,label,notes\n1.5,1.75,smile,"a, b"\n\n3.5,0,brow flash\n', None),
        ("onset,offset,label\n1.5,3.25,smile,,\n3.5,3.5,brow flash,\n", None),
        ("onset,offset,label\r\n1.5,3.25,smile\r\n3.5,3.5,brow flash\r\n5,6,none of these\r\n", None),
    ],
    ids=["seconds", "decimal commas", "clock", "frames", "timecode", "duration", "empty cells", "nothing"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_plain_tables(tmp_path: Path, text: str, fps: float | None, encoding: str):
    coding = only(write(tmp_path, "v1.csv", text, encoding), fps=fps)
    assert (coding.video, coding.coder, coding.marks) == ("v1", "", (SMILE, FLASH))


@pytest.mark.parametrize(("row", "told"), [("6.5,10,smile", "6.5"), ("1,0:00:02:12.5,smile", "0:00:02:12.5")])
def test_with_a_frame_rate_a_part_of_a_frame_is_no_time(tmp_path: Path, row: str, told: str):
    with pytest.raises(InputError, match=f"line 2: '{told}' is no whole frame; is this file in seconds"):
        read(write(tmp_path, "sec.csv", f"onset,offset,label\n{row}\n"), fps=25.0)


# By hand, after SMPTE 12M: the number of the frame, from 0, over the exact rate.
@pytest.mark.parametrize(
    ("fps", "text", "exact_s"),
    [
        (23.976, "01:00:00:00", 86_400 * 1001 / 24_000),  # 3603.6
        (23.98, "01:00:00:00", 86_400 * 1001 / 24_000),
        (23.976, "86400", 86_400 * 1001 / 24_000),
        (24, "01:00:00:23", 3600 + 23 / 24),
        (25, "00:00:01:24", 1.96),
        (29.97, "01:00:00:00", 108_000 * 1001 / 30_000),
        (29.97, "01:00:00;00", 107_892 * 1001 / 30_000),  # 3599.9964: drop-frame keeps to the clock
        (29.97, "00:00:59;29", 1799 * 1001 / 30_000),
        (29.97, "00:01:00;02", 1800 * 1001 / 30_000),  # the frame after it
        (29.97, "00;10;00;00", 17_982 * 1001 / 30_000),
        (59.94, "00:01:00;04", 3600 * 1001 / 60_000),
        (59.94, "00:20:00;03", (2 * 35_964 + 3) * 1001 / 60_000),
        (12.5, "30", 2.4),
        (29.97, "01:00:00.5", 3600.5),  # no timecode
    ],
)
def test_a_timecode_numbers_frames(tmp_path: Path, fps: float, text: str, exact_s: float):
    coding = only(write(tmp_path, "v1.csv", f"onset,offset,label\n{text},,smile\n"), fps=fps)
    assert coding.marks == (Mark(round(exact_s, 3), round(exact_s, 3), "smile"),)


@pytest.mark.parametrize(
    ("fps", "text", "told"),
    [
        (23.976, "00:00:01:29", "has frame 29 of a second, of which --fps 23.976 has 24, from 0"),
        (23.98, "00:00:01:29", "of which --fps 23.98 has 24"),
        (24000 / 1001, "00:00:01:24", "of which --fps 23.97602398 has 24"),
        (25, "00:00:01:25", "has frame 25 of a second"),
        (29.97, "00:01:00;01", "is no frame: in drop-frame timecode this minute begins with frame 2"),
        (59.94, "00:59:00;03", "this minute begins with frame 4"),
        (25, "00:00:01;00", "drop-frame timecode, which 29.97 and 59.94 alone have, not --fps 25"),
        (30, "00:00:01;00", "not --fps 30; write :"),
        (12.5, "00:00:01:06", "counts whole frames a second, not --fps 12.5; write numbers of frames"),
        (0.1, "00:00:01:00", "counts whole frames a second"),
        (29.97, "00:00;00:00", "is not a time"),
        (29.97, "00:00;00", "is not a time"),
        (29.97, "00:00:1.5:00", "is no whole frame"),
        (None, "00:00:01;00", "is not a time; write seconds, hh:mm:ss.mmm, or frames with --fps"),
    ],
)
def test_a_timecode_that_cannot_be_is_told(tmp_path: Path, fps: float | None, text: str, told: str):
    path = write(tmp_path, "v1.csv", f"onset,offset,label\n{text},,smile\n")
    with pytest.raises(InputError, match=f"v1.csv: line 2: '{text}' .*{told}"):
        read(path, fps=fps)


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf"), "25"])
def test_a_frame_rate_that_cannot_be_is_told(tmp_path: Path, fps):
    with pytest.raises(ConfigError, match=r"^fps="):
        read(write(tmp_path, "v1.csv", "onset,offset,label\n1,2,smile\n"), fps=fps)


def test_a_table_may_hold_several_videos_coders_and_tracks(tmp_path: Path):
    text = (
        "video,coder,track,label,onset,offset\nv1.mp4,anna,0,smile,1,2\nv1.mp4,ben,0,smile,1,3\n"
        "v2.mp4,anna,,frown,0,1\n"
    )
    codings = {(coding.video, coding.coder): coding for coding in read(write(tmp_path, "all.csv", text))}
    assert list(codings) == [("v1", "anna"), ("v1", "ben"), ("v2", "anna")]
    assert codings["v1", "ben"].marks == (Mark(1, 3, "smile", "track 0"),)
    assert codings["v2", "anna"].tracks == [ANYONE]
    assert list(codings["v2", "anna"].rows()) == [(str(tmp_path / "all.csv"), "anna", ANYONE, "frown", 0, 1)]


def test_what_a_table_lacks_of_a_name_is_missing_however_that_is_written(tmp_path: Path):
    text = "video,coder,subject,onset,offset,label\nNA,n/a,NA,1,2,smile\n,-,,3,4,frown\n"
    coding = only(write(tmp_path, "v1.csv", text))
    assert (coding.video, coding.coder, coding.subject, len(coding.marks)) == ("v1", "", "", 2)
    text = "video,coder,subject,onset,offset,label\nv1,a,NA,1,2,smile\nv1,b,s1,3,4,frown\nv2,a,,3,4,frown\n"
    found = {(c.video, c.coder): c.subject for c in read(write(tmp_path, "all.csv", text))}
    assert found == {("v1", "a"): "s1", ("v1", "b"): "s1", ("v2", "a"): ""}


DAYS = ("7.29167E-05", "0.000115741", "0.000219907")  # 6.3, 10 and 19 s


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            f"0,{DAYS[0]},sad\n{DAYS[0]},{DAYS[1]},worried\n{DAYS[1]},{DAYS[2]},calm\n",
            "0.000219907 days are 19 s",
        ),
        ("0.0402777778,0.0402893519,smile\n0.0416666667,,wink\n", "0.0416667 days are 3600 s"),
        ("0,0.000694444,smile\n", "0.000694444 days are 60 s"),
        ("0,0.04,smile\n", None),
        ("0,0.033333,smile\n0.0333333333,0.066667,wink\n", None),
        ("0.001,0.002,smile\n0.003,,wink\n", None),
        ("0,,smile\n", None),
        (f"0,{DAYS[0]},sad\n1,2,smile\n", None),
    ],
    ids=[
        "seconds",
        "an hour",
        "a minute",
        "a frame",
        "two frames",
        "milliseconds",
        "the first frame",
        "mixed",
    ],
)
def test_times_that_a_spreadsheet_saved_as_days_are_told(tmp_path: Path, rows: str, told: str | None):
    path = write(tmp_path, "v1.csv", ONE + rows)
    if told is None:
        assert only(path).marks
        return
    with pytest.raises(InputError, match=f"v1.csv: all times are under 0.1 s, .* fractions of a day .{told}"):
        read(path)


def test_datavyu_columns(tmp_path: Path):
    text = (
        "smile.ordinal,smile.onset,smile.offset,smile.code01,brow flash.ordinal,brow flash.onset,brow flash.offset\n"
        "1,1500,3250,smile,1,3500,3500\n2,5000,6000,polite,,,\n"
    )
    assert only(write(tmp_path, "d.csv", text)).marks == (SMILE, FLASH, Mark(5, 6, "polite"))


def test_marks_of_one_coder_in_two_files_are_put_together(tmp_path: Path):
    for name, label in (("a", "smile"), ("b", "frown")):
        write(tmp_path, f"{name}.csv", f"video,onset,offset,label\nv1.mp4,1,2,{label}\n")
    codings, wrong = read_all(tmp_path)
    assert [coding.labels for coding in codings] == [["frown", "smile"]]
    assert not wrong


@pytest.mark.parametrize("kind", ["csv", "tabular.tsv", "old.tsv", "boris", "eaf", "json"])
def test_names_and_labels_are_one_in_either_form_of_unicode(tmp_path: Path, kind: str):
    if kind == "eaf":
        pytest.importorskip("pympi")
    boris = json.loads(project({"v1_anna": observation(EVENTS)}))
    text = {
        "csv": "coder,track,onset,offset,label\nanna,mother,1,2,smile\n",
        "tabular.tsv": BORIS_TABULAR,
        "old.tsv": BORIS_OLD,
        "boris": json.dumps(boris),
        "eaf": EAF.replace("{origin}", "").replace("{last}", "9000"),
        "json": json.dumps(SIDECAR),
    }[kind]
    for plain, accented in (
        ("v1", "café"),
        ("anna", "Zoé"),
        ("Anna", "Zoé"),
        ("mother", "mère"),
        ("smile", "gêne"),
        ("Smile", "Gêne"),
    ):
        text = text.replace(plain, accented)
    codings = []
    for form in ("NFC", "NFD"):
        escaped = text.replace("%C3%A9", quote(unicodedata.normalize(form, "é")))
        (folder := tmp_path / form).mkdir()
        path = write(
            folder, unicodedata.normalize(form, f"café.{kind}"), unicodedata.normalize(form, escaped)
        )
        tiers = [unicodedata.normalize("NFC", "Gêne")] if kind == "eaf" else []
        codings.append(replace(read(path, tiers=tiers)[0], file=Path()))
    assert codings[0] == codings[1]
    names = [codings[1].video, *codings[1].labels, *codings[1].tracks, codings[1].coder]
    assert unicodedata.is_normalized("NFC", "".join(names))
    assert not names[0].isascii()
    assert "êne" in "".join(names)


def test_a_folder_in_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "closed").mkdir()
    for folder in (tmp_path, tmp_path / "closed"):
        (folder / "a.csv").write_text("start,end,label\n0,1,smile\n")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed")
    codings, wrong = read_all(tmp_path)
    assert [coding.file for coding in codings] == [tmp_path / "a.csv"]
    assert wrong == [f"{tmp_path / 'closed'}: this folder cannot be read; check its rights"]


def test_one_bad_file_in_a_folder_is_told_and_the_rest_are_read(tmp_path: Path):
    write(tmp_path, "good.csv", "onset,offset,label\n1,2,smile\n")
    write(tmp_path, "bad.csv", "onset,offset,label\n2,1,smile\n")
    (tmp_path / "sub-01").mkdir()
    write(tmp_path / "sub-01", "sub-01_events.tsv", "onset\tduration\ttrial_type\n1\t1\tsmile\n")
    write(tmp_path / "sub-01", "sub-01_events.json", "{}")
    write(tmp_path, "participants.tsv", "participant_id\tage\nsub-01\t30\n")
    codings, wrong = read_all(tmp_path)
    assert sorted(coding.video for coding in codings) == ["good", "sub-01"]
    assert len(wrong) == 1
    assert "bad.csv" in wrong[0]


ONE = "onset,offset,label\n"
BAD = {
    "merged.csv": (
        "video,onset,offset,label\nv1.mp4,1,2,smile\n,3,4,smile\nv2.mp4,1,2,smile\n",
        "line 3: has no video, which other lines have; fill it in",
    ),
    "media.tsv": (
        BORIS_TABULAR.replace("films/v1.mp4", "NA", 1),
        "line 2: has no media file, which other lines have; fill it in",
    ),
    "observation.tsv": (
        BORIS_TABULAR.replace("\nv1_anna", "\n", 1),
        "line 2: has no observation, which other lines have",
    ),
    "coder.csv": (
        "onset,offset,label,coder\n1,2,smile,NA\n3,4,smile,ben\n",
        "line 2: has no coder, which other lines have",
    ),
    "two.csv": (
        "onset,offset,label,subject\n1,2,smile,s1\n3,4,smile,s2\n",
        "line 3: gives two the subject s2, line 2 s1; a video has one subject",
    ),
    "crossed.csv": (ONE + "2,1,smile\n", "ends before it begins"),
    "negative.csv": (ONE + "-2,1,smile\n", "begins before the video"),
    "words.csv": (ONE + "soon,1,smile\n", "line 2: 'soon' is not a time"),
    "sixty.csv": (ONE + "0:61,1:10,smile\n", "60 or more"),
    "nan.csv": (ONE + "nan,1,smile\n", "not a time"),
    "nan_offset.csv": (ONE + "1,nan,smile\n", "line 2: 'nan' is not a time"),
    "huge_offset.csv": (ONE + "1,1e999,smile\n", "line 2: '1e999' is not a time"),
    "nan_duration.csv": ("onset,duration,label\n1,NaN,smile\n", "line 2: 'NaN' is not a time"),
    "commas.csv": (ONE + "0,5,9,sad\n", "line 2 has 4 cells, the header 3; a decimal comma"),
    "crossing_commas.csv": (ONE + "0,1,x\n0,0,6,3,sad\n", "line 3 has 5 cells, the header 3"),
    "boris_commas.csv": (BORIS_TABULAR.replace("\t", ",").replace("3.25", "3,25"), "line 4 has 9 cells"),
    "datavyu.csv": ("a.onset,a.offset,a.code01\n1,5,2,x\n", "line 2 has 4 cells"),
    "empty_label.csv": (ONE + "1,2,\n", "line 2: has no label"),
    "no_label.csv": ("onset,offset\n1,2\n", "no column label"),
    "prose.txt": ("Dear diary,\ntoday was a day\n", "not a coding that can be read"),
    "empty.csv": ("", "not a coding that can be read"),
    "binary.csv": ("a\x00b\x00", "not a text file"),
    "other.json": ('{"a": 1}', "not the JSON beside a timeline"),
    "broken.json": ("{", "not the JSON beside a timeline"),
    "old.json": ('{"emoclip": "0", "segments": [{}], "input": "a", "settings": {}}', "another version"),
    "broken.eaf": ("<ANNOTATION_DOCUMENT", "not an ELAN document"),
    "foreign.eaf": ("<html></html>", "not an ELAN document"),
    "frames.eaf": (
        EAF.replace("{origin}", "").replace("{last}", "9000").replace("milliseconds", "PAL-frames"),
        "has times in PAL-frames, not milliseconds",
    ),
    "foreign.boris": (
        project({"o": observation([[3.5, "", "wat", "", ""]])}),
        "observation o: 'wat' is not in the ethogram; add it there",
    ),
    "nan.boris": (
        project({"o": observation([[float("nan"), "", "smile", "", ""]])}),
        "observation o: the time of 'smile' is nan, no number",
    ),
    "offset.boris": (
        project({"o": observation(EVENTS, offset="x")}),
        "observation o: the time offset is 'x', no number",
    ),
    "length.boris": (
        project({"o": observation(EVENTS)}).replace("60.0", "NaN"),
        "observation o: the length of C:\\films\\v1.mp4 is nan",
    ),
    "two.boris": (
        project({"o": observation(EVENTS) | {"file": {"1": ["a.mp4", "second.mp4"], "2": []}}}),
        "observation o: 2 media files one after the other in player 1: not read; code them in observations",
    ),
    "before.boris": (
        project({"o": observation(EVENTS, offset=2)}),
        "'smile' from -0.5 to 1.25 s begins before the video does; correct the time, or the file's offset",
    ),
    "crossed.boris": (
        project({"o": limited(8, 2)}),
        "o: is limited to 8 to 2 s, which is no part of the video",
    ),
    "later.boris": (
        project({"o": limited(70, 0)}),
        "o: is limited to 70 to 0 s, which is no part of the video",
    ),
    "interval.boris": (
        project({"o": limited("x", 2)}),
        "observation o: an end of the observation time interval is 'x', no number of seconds",
    ),
    "moved.boris": (
        project({"o": observation(moved(58))}),
        "'smile' from 59.5 to 61.25 s ends after the end of the video, which is 60 s long; is it the coding of "
        "another video, in another unit of time, or moved by a time offset?",
    ),
    "broken.boris": ("{}", "not a BORIS project"),
    "deep.boris": ("[" * 200_000, "not a BORIS project"),
    "deep.json": ("[" * 200_000, "not a coding, and not the JSON beside a timeline"),
    "open.boris": (project({"o": observation(EVENTS[:2])}), "begins at 1.5 s and never ends"),
    "none.boris": (project({}), "no observation"),
    "long.boris": (
        project({"o": observation([[70, "", "brow flash", "", ""]])}),
        "lies after the end of the video, which is 60 s long",
    ),
    "started.tsv": (BORIS_OLD.replace("\nSTOP", "").rsplit("\n", 3)[0] + "\n", "never ends"),
    "stopped.tsv": (BORIS_OLD.replace("START", "STOP"), "without having begun"),
    "twice.tsv": (BORIS_OLD.replace("STOP", "START"), "begins again"),
    "video.mp4": ("", "not a coding that can be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_told_in_one_line(tmp_path: Path, name: str):
    if name.endswith(".eaf"):
        pytest.importorskip("pympi")
    text, told = BAD[name]
    with pytest.raises(InputError) as error:
        read(write(tmp_path, name, text))
    assert told in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_latin_1_is_told(tmp_path: Path):
    with pytest.raises(InputError, match="UTF-8"):
        read(write(tmp_path, "l.csv", ONE + "1,2,lächeln\n", "latin-1"))


def test_a_tier_that_is_not_there_names_those_that_are(tmp_path: Path):
    with pytest.raises(InputError, match="no tier is named Frown; it has Smile, intensity, phases"):
        read(eaf(tmp_path), tiers=["Frown"])


def test_crossed_times_in_elan_are_told(tmp_path: Path):
    with pytest.raises(InputError, match="ends before it begins"):
        read(eaf(tmp_path, last="2000"))


def test_links_that_lead_nowhere_are_told(tmp_path: Path):
    good = write(tmp_path, "good.csv", ONE + "1,2,smile\n")
    broken = tmp_path / "gone.csv"
    broken.symlink_to("nowhere.csv")
    codings, wrong = read_all(tmp_path)
    assert [coding.video for coding in codings] == [good.stem]
    assert wrong == [f"{broken}: left out, a link to a file that is not there or out of reach"]
    for reader in (read, read_all):
        with pytest.raises(InputError, match="a link to a file that is not there or out of reach; mend"):
            reader(broken)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_are_read_by_themselves_and_left_out_of_folders(tmp_path: Path):
    write(tmp_path, "good.csv", ONE + "1,2,smile\n")
    table, project_file = ONE + "1.5,3.25,smile\n3.5,,brow flash\n", project({"o": observation(EVENTS)})
    for name, text in (("63", table), ("p.csv", table), ("p.boris", project_file)):
        pipe = tmp_path / name
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(text,), daemon=True)
        writer.start()
        ((coding,), wrong) = read_all(pipe)
        writer.join()
        assert coding.marks == (SMILE, FLASH)
        assert not wrong
    os.mkfifo(tmp_path / "p.eaf")
    with pytest.raises(InputError, match="an ELAN document is read twice"):
        read(tmp_path / "p.eaf")
    codings, wrong = read_all(tmp_path)
    assert [coding.video for coding in codings] == ["good"]
    assert [line.partition(": ")[2] for line in wrong] == [
        "left out, a pipe or device; name it by itself"
    ] * 3


def test_an_absent_file_and_an_empty_folder_are_told(tmp_path: Path):
    for place in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(EmoclipError):
            read_all(place)


milliseconds = st.integers(0, 100_000).map(lambda number: number / 1000 + 0.0004)


@settings(max_examples=25)
@given(st.lists(st.tuples(milliseconds, milliseconds, st.sampled_from("ab")), min_size=1, max_size=8))
@pytest.mark.parametrize("kind", ["eaf", "boris", "bids"])
def test_what_timeline_writes_is_read_back_to_the_millisecond(tmp_path_factory, kind: str, spans: list):
    if kind == "eaf":
        pytest.importorskip("pympi")
    folder = tmp_path_factory.mktemp("round")
    segments = [Segment(0, label, min(a, b), max(a, b) + 0.0023, 0.0, 0.9, 0.8) for a, b, label in spans]
    tracks = [Track(0, 0.0, 101.0, 1, 1, 1.0, {"ok": 1})]
    timeline = Timeline("/x/clip.mp4", "mini", ["a", "b"], 101.0, [], segments, tracks, [])
    suffix, writer = next(iter(WRITERS[kind].items()))
    writer(timeline, folder / f"clip{suffix}")
    coding = only(folder / f"clip{suffix}")
    assert (coding.video, coding.coder) == ("clip", "")
    assert sorted(coding.marks) == sorted(
        Mark(round(s.onset_s, 3), round(s.offset_s, 3), s.label, "track 0") for s in segments
    )


@pytest.mark.parametrize(
    ("marked", "duration_s", "coded"),
    [((4.0, 8.96), 12.0, ((4.0, 9.0),)), ((4.0, 8.96), None, ((4.0, 9.0),)), ((1.0, 8.96), 12.0, None)],
    ids=["whole video known", "a stream", "somebody marked beyond it since"],
)
@pytest.mark.parametrize("kind", ["eaf", "boris", "bids"])
def test_a_timelines_file_tells_the_stretch_that_was_read(
    tmp_path: Path, kind: str, marked, duration_s, coded
):
    if kind == "eaf":
        pytest.importorskip("pympi")
    segments = [Segment(0, "a", *marked, 5.0, 0.9, 0.8)]
    tracks = [Track(0, 4.0, 8.96, 1, 1, 1.0, {"ok": 1})]
    timeline = Timeline(
        "clip.mp4", "mini", ["a", "b"], duration_s, [], segments, tracks, [], read_s=(4.0, 9.0)
    )
    for suffix, writer in WRITERS[kind].items():
        writer(timeline, tmp_path / f"clip{suffix}")
    coding = only(tmp_path / f"clip{next(iter(WRITERS[kind]))}")
    assert (coding.coded, coding.duration_s) == (coded, duration_s)


@pytest.mark.parametrize("kind", ["eaf", "boris", "bids", "json"])
def test_a_timelines_file_tells_what_could_not_be_read_until_somebody_marks_there(tmp_path: Path, kind: str):
    if kind == "eaf":
        pytest.importorskip("pympi")
    segments = [Segment(at, "smiling", 4.0, 5.25, 5.0, 0.9, 0.8) for at in (0, 1)]
    tracks = [Track(at, 4.0, 8.96, 1, 1, 1.0, {"ok": 1}) for at in (0, 1)]
    unread = {1: [(6.0, 7.0), (7.5, 9.0)], -1: [(6.0, 6.5)]}
    timeline = Timeline(
        "clip.mp4", "mini", ["smiling"], 12.0, [], segments, tracks, [], read_s=(4.0, 9.0), unread=unread
    )
    found = {"track 1": ((6.0, 7.0), (7.5, 9.0)), "anyone": ((6.0, 6.5),)}
    if kind == "json":
        told = {"read_s": [4.0, 9.0], "unread": {"track 1": [[6, 7], [7.5, 9]], "anyone": [[6, 6.5]]}}
        coding = only(write(tmp_path, "clip.json", json.dumps(SIDECAR | told)))
    else:
        for suffix, writer in WRITERS[kind].items():
            writer(timeline, tmp_path / f"clip{suffix}")
        coding = only(file := tmp_path / f"clip{next(iter(WRITERS[kind]))}")
    assert (coding.machine, coding.unread) == (True, found)
    assert coding.coded_of("track 1") == ((4.0, 6.0), (7.0, 7.5))
    assert coding.coded_of("track 0") == coding.coded == ((4.0, 9.0),)
    if kind == "bids":
        text = file.read_text("utf-8")
        file.write_text(text + "6.200\t0.600\tsmiling\t1\t6.5\t.9\t.8\n", "utf-8")
        coding = only(file)
        looked = {"track 1": ((6.0, 6.2), (6.8, 7.0), (7.5, 9.0)), "anyone": ((6.0, 6.2),)}
        assert (coding.machine, coding.unread) == (False, looked)
        file.write_text(text + "0.200\t0.600\tsmiling\t1\t0.5\t.9\t.8\n", "utf-8")
        assert (only(file).coded, only(file).unread) == (None, {})  # all of the video was looked at


@pytest.mark.parametrize("unread", [[1], {"track 0": [1]}, {"track 0": [[1, "x"]]}, {"track 0": 5}])
def test_unread_time_that_cannot_be_is_told_in_one_line(tmp_path: Path, unread):
    told = {"StretchRead": {"Start": 0.0, "End": 9.0, "Unread": unread}}
    write(tmp_path, "v1_events.json", json.dumps(told))
    with pytest.raises(InputError, match="make the timeline again"):
        only(write(tmp_path, "v1_events.tsv", "onset\tduration\ttrial_type\n1.5\t1.75\tsmile\n"))
    with pytest.raises(InputError, match="make the timeline again"):
        only(write(tmp_path, "v1.json", json.dumps(SIDECAR | {"unread": unread})))


@pytest.mark.parametrize("taught", [None, "g, taught h"])
@pytest.mark.parametrize("kind", ["eaf", "boris", "bids"])
def test_a_timelines_file_is_a_models_until_somebody_corrects_or_signs_it(tmp_path: Path, kind: str, taught):
    if kind == "eaf":
        pytest.importorskip("pympi")
    marked = {0: ("smiling", 4.0, 5.25), 1: ("with  a\x0bbreak", 6.0, 8.5)}
    segments = [Segment(at, label, a, b, a, 0.9, 0.8) for at, (label, a, b) in marked.items()]
    tracks = [Track(at, 4.0, 8.96, 1, 1, 1.0, {"ok": 1}) for at in marked]
    timeline = Timeline("clip.mp4", "a model", ["smiling"], 12.0, [], segments, tracks, [], read_s=(4.0, 9.0))
    if taught:
        told = {"name": taught, "sha256": "a", "codings": ["b"], "videos": ["c"], "this_video": True}
        timeline = replace(timeline, taught=told)
    for suffix, writer in WRITERS[kind].items():
        writer(timeline, tmp_path / f"clip{suffix}")
    file = tmp_path / f"clip{next(iter(WRITERS[kind]))}"
    coding = only(file)
    called = f"model a model, taught {taught}" if taught else "model a model"
    assert (coding.coder, coding.machine, len(coding.marks)) == (called, True, 2)
    full = Teachers(taught, frozenset("b"), True) if taught else None
    assert coding.taught == (Teachers(taught) if taught and kind == "boris" else full)
    if kind == "eaf":
        (part,) = read(file, tiers=["track 1"])
        assert (part.machine, len(part.marks)) == (True, 1)
    written = file.read_text("utf-8")
    signed = {
        "eaf": ('TIER_ID="track ', 'ANNOTATOR="anna" TIER_ID="track '),
        "boris": ("clip\t", "clip_anna\t"),
        "bids": ("trial_type\t", "trial_type\tcoder\t"),
    }[kind]
    edits = {
        "a label": ("smiling", "frowning"),
        "a time": ("5250", "5260") if kind == "eaf" else ("4.000", "4.100"),
        "a name": signed,
    }
    for what, (old, new) in edits.items():
        assert old in written
        text = written.replace(old, new)
        if (what, kind) == ("a name", "bids"):
            text = text.replace("smiling\t", "smiling\tanna\t").replace("break\t", "break\tanna\t")
        file.write_text(text, "utf-8")
        coding = only(file)
        assert (coding.machine, coding.coder) == (False, "anna" if what == "a name" else ""), what
    if kind == "eaf":
        file.write_text(written.replace('AUTHOR="emoclip"', 'AUTHOR="anna"'), "utf-8")
        assert not only(file).machine


def test_of_a_recording_of_a_part_the_stretch_is_what_was_read(tmp_path: Path):
    coding = only(write(tmp_path, "v1.json", json.dumps(SIDECAR | {"read_s": [10.0, 20.0]})))
    assert coding.coded == ((10.0, 20.0),)
    assert only(write(tmp_path, "v1.json", json.dumps(SIDECAR))).coded == ((0.0, 60.0),)


@pytest.mark.parametrize("stretch", [("x", 9.0), (9.0, 4.0), (-1.0, 4.0), (None, 4.0)])
def test_a_stretch_that_cannot_be_is_told_in_one_line(tmp_path: Path, stretch: tuple):
    told = {"StretchRead": dict(zip(("Start", "End"), stretch, strict=True))}
    write(tmp_path, "v1_events.json", json.dumps(told))
    with pytest.raises(InputError, match=r"v1_events.tsv: says that .* make the timeline again") as error:
        only(write(tmp_path, "v1_events.tsv", "onset\tduration\ttrial_type\n1.5\t1.75\tsmile\n"))
    assert "\n" not in str(error.value)


SIDECAR = {
    "emoclip": "0.1.0",
    "input": "films/v1.mp4",
    "duration_s": 60.0,
    "model": {"name": "mini"},
    "settings": {"start_s": 0.0, "end_s": None},
    "tracks": [{"end_s": 60.0}],
    "segments": [{"track_id": 0, "label": "smile", "onset_s": 1.5, "offset_s": 3.25}],
}
ODD = [None, True, -1, 3, 1e400, float("nan"), 10**400, "", "x", "-5", [], {}, [[]], {"x": 1}, "\ud800"]


@pytest.mark.parametrize(("seen_until_s", "end_s"), [(3.0, 3.25), (9.0, 9.0)])
def test_a_stream_was_read_at_least_as_far_as_its_marks_go(tmp_path: Path, seen_until_s: float, end_s: float):
    stream = SIDECAR | {"duration_s": None, "tracks": [{"end_s": seen_until_s}]}
    (coding,) = read(write(tmp_path, "v1.json", json.dumps(stream)))
    assert coding.coded == ((0.0, end_s),)


def replaced(tree, place: list, value):
    """Return a copy of a JSON tree in which one node is another."""
    if not place:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[place[0]] = replaced(tree[place[0]], place[1:], value)
    return copy


def nodes(tree, place: tuple = ()) -> list[tuple]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place, *(node for key, part in inside for node in nodes(part, (*place, key)))]


@pytest.mark.parametrize("name", ["v1.json", "v1.boris"])
def test_whatever_stands_in_a_json_file_is_read_or_told_in_one_line(tmp_path: Path, name: str):
    tree = (
        SIDECAR | {"read_s": [0.0, 60.0]}
        if name == "v1.json"
        else json.loads(project({"v1_anna": observation(EVENTS)}))
    )
    assert read(write(tmp_path, name, json.dumps(tree)))[0].marks
    for place in nodes(tree):
        for value in ODD:
            path = write(tmp_path, name, json.dumps(replaced(tree, list(place), value)))
            try:
                codings = read(path)
            except InputError:
                continue
            else:
                assert all(isinstance(m.label, str) and m.label for c in codings for m in c.marks), (
                    place,
                    value,
                )
                for coding in codings:
                    f"{coding.video}{coding.coder}{coding.labels}{coding.tracks}".encode()


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on Unix alone")
def test_a_coding_is_of_the_same_video_and_coder_in_every_locale(tmp_path, foreign):
    text = "onset,offset,label\n0,1,calm\n"
    for place in ("søn.csv", "a/笑い.csv", "b/笑い.csv"):
        (tmp_path / "ñina" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ñina" / place).write_text(text)
    shutil.copytree(tmp_path / "ñina", tmp_path / "øle")
    program = (
        "import sys; from pathlib import Path; from emoclip.codings import raters, read_all\n"
        "people = raters([(folder, read_all(folder)[0]) for folder in map(Path, sys.argv[1:])])\n"
        "print(ascii([(one.name, sorted(one.codings)) for one in people]))"
    )
    command = [sys.executable, "-c", program, "ñina".encode(), "øle".encode()]
    done = subprocess.run(command, env=os.environ | foreign, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    videos = ["a/笑い", "b/笑い", "søn"]
    assert done.stdout.decode().strip() == ascii([("ñina", videos), ("øle", videos)])


def test_a_video_whose_name_is_no_utf_8_is_called_as_its_coding_is(tmp_path):
    name = os.fsdecode(b"caf\xe9 \xc3\xbc.csv")
    try:
        (tmp_path / name).write_text("onset,offset,label\n0,1,calm\n")
    except OSError:
        pytest.skip("this file system has no such names")
    [coding] = read(tmp_path / name)
    assert coding.video == "caf%E9 ü"
    assert way_of((tmp_path / name).as_uri())[-1] == coding.video

"""Pairing codings, and what is said of how they agree."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from emoclip.codings import (
    AgreementConfig,
    Coding,
    Mark,
    agreement_report,
    measure,
    methods_paragraph,
    pair,
    raters,
)
from emoclip.codings.coding import Teachers
from emoclip.codings.pairing import nearest_label
from emoclip.errors import ConfigError, InputError, LabelError


def coding(coder: str, spans: list, video: str = "v1", duration_s: float | None = 60.0, **more) -> Coding:
    marks = tuple(Mark(start, end, label, *track) for start, end, label, *track in spans)
    return Coding(Path(f"{video}.csv"), video, coder, marks, duration_s, **more)


def compare(*codings: list[Coding], settings: AgreementConfig | None = None, **options):
    sources = [(Path(f"rater{number}"), list(of)) for number, of in enumerate(codings)]
    return measure(pair(raters(sources), **options), settings)


A = [(0, 10, "smile"), (20, 30, "frown"), (40, 42, "smile")]
B = [(1, 10, "smile"), (20, 33, "frown"), (50, 52, "smile")]


def test_two_coders_by_hand():
    found = compare([coding("anna", A)], [coding("ben", B)])
    # 60 s: smile 12 and 11 s, 9 shared; frown 10 and 13, 10 shared; neither 38 and 36, 33 shared.
    seen, chance = (9 + 10 + 33) / 60, (12 * 11 + 10 * 13 + 38 * 36) / 3600
    assert found.overall["agreement"]["value"] == pytest.approx(seen)
    assert found.overall["kappa"]["value"] == pytest.approx((seen - chance) / (1 - chance))
    assert found.categories == ["frown", "smile", "(no label)"]
    assert (found.confusion * 0.1).round(6).tolist() == [[10, 0, 0], [0, 9, 3], [3, 2, 33]]
    smile, frown = found.labels["smile"], found.labels["frown"]
    assert smile["prevalence"] == pytest.approx({"anna": 12 / 60, "ben": 11 / 60})
    assert smile["onsets"]["matched"] == 0
    assert frown["onsets"]["f1"]["value"] == 1
    assert frown["offsets"]["missed"]["value"] == 1
    assert found.overall["kappa"]["ci95"] is None
    assert any("one video only" in note for note in found.notes)
    told = [(d.start_s, d.end_s, d.said) for d in found.disagreements]
    assert told[0] == (0.0, 1.0, ("smile", "(no label)"))
    assert [round(end - start, 6) for start, end, _ in told] == [1, 3, 2, 2]


def test_lags_and_tolerance():
    late = [(start + 0.4, end + 0.2, label) for start, end, label in A]
    found = compare([coding("anna", A)], [coding("ben", late)], settings=AgreementConfig(tolerance_s=0.4))
    smile = found.labels["smile"]
    assert smile["onsets"]["lag_s"] == pytest.approx(0.4)
    assert smile["offsets"]["lag_s"] == pytest.approx(0.2)
    assert smile["onsets"]["f1"]["value"] == 1
    strict = compare([coding("anna", A)], [coding("ben", late)], settings=AgreementConfig(tolerance_s=0.3))
    assert strict.labels["smile"]["onsets"]["missed"]["value"] == 1
    assert strict.labels["smile"]["onsets"]["lag_s"] is None


def test_kappa_over_several_videos_is_of_their_moments_and_intervals_are_over_videos():
    rng = np.random.default_rng(0)
    one, two, moments = [], [], []
    for number in range(6):
        codes = rng.integers(2, size=(2, 50))
        codes[1] = np.where(rng.random(50) < 0.5, codes[0], codes[1])
        moments.append(codes)
        for to, row, name in ((one, codes[0], "anna"), (two, codes[1], "ben")):
            spans = [(at, at + 1, "ab"[code]) for at, code in enumerate(row)]
            to.append(coding(name, spans, f"v{number}", 50.0))
    found = compare(one, two, settings=AgreementConfig(step_s=1.0))
    both = np.concatenate(moments, axis=1)
    assert found.overall["kappa"]["value"] == pytest.approx(cohen_kappa_score(*both))
    per_video = [cohen_kappa_score(*codes) for codes in moments]
    low, high = found.overall["kappa"]["ci95"]
    assert min(per_video) < low < found.overall["kappa"]["value"] < high < max(per_video)
    assert any("6 videos are few" in note for note in found.notes)


def test_subjects_are_resampled_whole_where_they_are_known():
    of = [[coding(name, A, f"v{n}", subject=f"sub-{n // 2}") for n in range(6)] for name in ("anna", "ben")]
    found = compare(*of)
    assert (found.groups, found.record()["resampled"]) == (3, "subjects")
    named = compare(*of, subjects={f"v{n}": "x" if n < 3 else "y" for n in range(6)})
    assert named.groups == 2


def test_three_coders_get_fleiss_and_pairs():
    found = compare([coding("anna", A), coding("ben", B)], [coding("cleo", A)])
    assert [pair["raters"] for pair in found.overall["pairs"]] == [
        ["anna", "ben"],
        ["anna", "cleo"],
        ["ben", "cleo"],
    ]
    assert found.overall["pairs"][1]["kappa"] == 1
    assert found.overall["pairs"][0]["kappa"] < found.overall["kappa"]["value"] < 1
    assert "Fleiss" in methods_paragraph(found)


def test_of_three_coders_the_first_is_the_reference_of_each_other_by_hand():
    anna, ben, cleo = (
        [coding(name, [(onset, 5.9, "blink"), (8, 10, "smile")], duration_s=20.0)]
        for name, onset in (("anna", 5.0), ("ben", 5.2), ("cleo", 5.4))
    )
    found = compare(anna, ben, cleo)
    blink = found.labels["blink"]["onsets"]
    assert (blink["matched"], blink["events"]) == (2, [2, 2])
    assert blink["lag_s"] == pytest.approx((0.2 + 0.4) / 2)
    assert blink["lag_sd_s"] == pytest.approx(0.2 / 2**0.5)
    # Of anna's 0.9 s of blinking ben has 0.7 and cleo 0.5; of the two comparisons' 40 s both smile in 4.
    assert found.categories == ["blink", "smile", "(no label)"]
    assert (found.confusion * 0.1).round(6).tolist() == [[1.2, 0, 0.6], [0, 4, 0], [0, 0, 34.2]]
    late = compare(cleo, ben, anna, settings=AgreementConfig(tolerance_s=0.3)).labels["blink"]["onsets"]
    # Of cleo's, ben's is 0.2 s early, anna's 0.4 s, which is too far; ben and anna, 0.2 s apart, are not compared.
    assert (late["matched"], late["events"], late["lag_s"]) == (1, [2, 2], pytest.approx(-0.2))
    assert (late["precision"]["value"], late["recall"]["value"]) == (0.5, 0.5)
    told = "summed over the 2 comparisons of anna, the reference, with each other coder"
    assert told in methods_paragraph(found)
    page = agreement_report.report(found)
    assert f"within 0.5 s; {told}:" in page
    assert f"Seconds, {told}; rows are what anna said, columns the other." in page
    assert "comparisons" not in agreement_report.report(compare(anna, ben))


def test_a_coding_equals_itself():
    found = compare([coding("anna", A)], [coding("ben", A)])
    assert found.overall["kappa"]["value"] == found.overall["alpha"]["value"] == 1
    assert not found.disagreements


def test_points_are_compared_as_events_alone():
    found = compare([coding("a", [(1, 1, "flash"), *A])], [coding("b", [(1.2, 1.2, "flash"), *B])])
    flash = found.labels["flash"]
    assert "kappa" not in flash
    assert "offsets" not in flash
    assert flash["onsets"]["lag_s"] == pytest.approx(0.2)


def test_gaps_count_as_no_label_or_not_at_all():
    counted = compare([coding("a", A)], [coding("b", B)])
    skipped = compare([coding("a", A)], [coding("b", B)], settings=AgreementConfig(skip_gaps=True))
    assert any("no mark by anybody" in note for note in counted.notes)
    assert skipped.seconds == pytest.approx(9 + 10)
    assert skipped.overall["agreement"]["value"] == 1
    assert "(no label)" not in skipped.categories


def test_only_time_that_both_coded_is_compared():
    found = compare([coding("a", A)], [coding("b", B, coded=((0.0, 15.0), (20.0, 25.0)))])
    assert found.seconds == pytest.approx(20)


@pytest.mark.parametrize(
    ("span", "onsets", "offsets"),
    [((4, 9), [0, 0], [1, 1]), ((2, 5), [1, 1], [0, 0]), ((0, 9), [1, 1], [1, 1])],
)
def test_onsets_and_offsets_are_those_that_lie_in_the_time_compared(span: tuple, onsets: list, offsets: list):
    one, two = [(3, 6.8, "smile")], [(3.1, 6.7, "smile"), (8, 9, "frown")]
    one, two = ([coding(name, of, duration_s=None)] for name, of in (("a", one), ("b", two)))
    smile = compare(one, two, start_s=float(span[0]), end_s=float(span[1])).labels["smile"]
    assert [smile[kind]["events"] for kind in ("onsets", "offsets")] == [onsets, offsets]
    parts = [[replace(each, coded=(tuple(map(float, span)),)) for each in of] for of in (one, two)]
    assert compare(*parts).labels["smile"]["offsets"]["events"] == offsets


def test_an_edge_of_coded_time_is_no_change_and_one_near_it_is_not_charged():
    # Read from 4 to 9 s at 25 frames a second: it begins and ends there because the reading does.
    cut = coding("machine", [(4, 8.96, "smile")], coded=((4.0, 9.0),))
    for of, onsets, offsets in (
        ([(3, 12, "smile")], 0, 0),
        ([(4.3, 8.7, "smile")], 0, 0),  # what it has before 4 s and after 9 s nobody knows
        ([(4.8, 8.2, "smile")], 1, 1),  # was there already, and still
    ):
        smile = compare([coding("anna", of)], [cut]).labels["smile"]
        assert smile["onsets"]["events"] == [onsets, 0]
        assert smile["offsets"]["events"] == [offsets, 0]
    near = [coding(name, [(4.25, 8.75, "smile")], coded=((4.0, 9.0),)) for name in ("a", "b")]
    assert compare(near[:1], near[1:]).labels["smile"]["onsets"]["matched"] == 1


@pytest.mark.parametrize(("duration_s", "events"), [(None, [1, 1]), (6.8, [0, 0])])
def test_the_last_mark_ends_no_video_of_unknown_length(duration_s: float | None, events: list):
    one, two = (
        [coding(n, [(3, end, "smile")], duration_s=duration_s)] for n, end in (("a", 6.8), ("b", 6.7))
    )
    assert compare(one, two).labels["smile"]["offsets"]["events"] == events


def test_what_all_coded_and_what_two_coded_is_told_of_three():
    parts = [[coding("anna", A)], [coding("ben", B)], [coding("cleo", A, coded=((0.0, 5.0),))]]
    found = compare(*parts)
    assert (found.seconds, found.full_s) == (pytest.approx(60), pytest.approx(5))
    told = "appa and agreement are over the 5.0 s that all coded, alpha over the 60.0 s that at least two did"
    assert any(told in note for note in found.notes)
    assert f"K{told}. " in methods_paragraph(found)
    assert told in agreement_report.report(found)
    same = compare(*parts[:2], [coding("cleo", A)])
    assert not any("that all coded" in text for text in (*same.notes, methods_paragraph(same)))


def test_seconds_of_several_faces_are_called_that():
    of = [(0, 10, "smile", "1"), (5, 12, "smile", "2"), (20, 30, "frown", "3")]
    found = compare([coding("a", of, duration_s=30.0)], [coding("b", of, duration_s=30.0)])
    methods = methods_paragraph(found)
    assert "computed over 90.0 s (3 faces of 1 video) with emoclip" in methods
    assert "For seconds per label and face, ICC(2,1) was: frown 1.00" in methods
    assert "90.0 s (3 faces of 1 video)." in agreement_report.report(found)
    plain = methods_paragraph(compare(*([coding(n, A, v) for v in ("v1", "v2")] for n in ("a", "b"))))
    assert "over 120.0 s of 2 videos with" in plain
    assert "per label and video, ICC" in plain


def test_what_a_models_labels_say_is_told_of_a_model_and_not_of_a_coder_called_so():
    told = "A model's labels say how an expression reads"
    assert told in methods_paragraph(compare([coding("a", A)], [coding("x.boris", B, machine=True)]))
    assert told not in methods_paragraph(compare([coding("a", A)], [coding("model_anna", B)]))


def test_overlapping_labels_are_a_category_together():
    overlapping = [*A, (5, 8, "brow raise")]
    found = compare([coding("a", overlapping)], [coding("b", overlapping)])
    assert "brow raise + smile" in found.categories
    assert any("labels overlap" in note for note in found.notes)


def test_faces_are_paired_by_name():
    one = [(0, 10, "smile", "child"), (0, 30, "frown", "mother")]
    two = [(0, 10, "smile", "child"), (30, 60, "frown", "mother")]
    found = compare([coding("a", one)], [coding("b", two)])
    assert [unit.track for unit in found.pairing.units] == ["child", "mother"]
    assert found.labels["smile"]["kappa"]["value"] == 1
    assert found.labels["frown"]["kappa"]["value"] < 0


def test_faces_are_taken_together_where_one_does_not_say_whose_they_are():
    one = [(2, 10, "smile", "track 0"), (8, 20, "smile", "track 1")]
    found = compare([coding("a", one)], [coding("b", [(2, 20, "smile")])])
    assert found.overall["kappa"]["value"] == 1
    assert found.labels["smile"]["onsets"]["events"] == [1, 1]
    assert any("all faces are taken together" in note for note in found.notes)


def test_labels_may_be_renamed_and_chosen():
    found = compare([coding("a", A)], [coding("b", [(0, 10, "Smiling"), *A[1:]])], names={"Smiling": "smile"})
    assert found.overall["kappa"]["value"] == 1
    chosen = compare([coding("a", A)], [coding("b", B)], labels=["smile"])
    assert list(chosen.labels) == ["smile"]


def test_one_face_with_a_name_and_one_with_a_number_are_taken_for_the_same():
    named = [(start, end, label, "therapist") for start, end, label in A]
    numbered = [(start, end, label, "track 0") for start, end, label in A]
    found = compare([coding("anna", named)], [coding("model", numbered)])
    assert found.overall["kappa"]["value"] == 1
    assert any(
        "each coding marks one face (therapist, track 0), taken for the same" in n for n in found.notes
    )
    assert not any("one face" in n for n in compare([coding("a", named)], [coding("b", named)]).notes)


def test_two_names_beside_a_coding_without_any_are_told():
    child, mother = ([(*span, name) for span in A] for name in ("child", "mother"))
    found = compare([coding("anna", A)], [coding("ben", child)], [coding("cleo", mother)])
    assert any("all faces are taken together" in note for note in found.notes)


def test_the_end_asked_for_says_how_long_a_video_is_of_which_no_file_does():
    one, two = coding("anna", A, duration_s=None), coding("ben", B, duration_s=None)
    asked = compare([one], [two], end_s=60.0)
    assert asked.seconds == 60
    assert asked.overall == compare([coding("anna", A)], [coding("ben", B)]).overall
    assert not any("how long" in note for note in asked.notes)
    several = compare([one, replace(one, video="v2")], [two, replace(two, video="v2")], end_s=60.0)
    assert any("v1, v2: no file says how long they are; compared up to --end 60" in n for n in several.notes)


def test_an_end_beyond_what_was_coded_is_told():
    told = "v1: ends, or was coded, no further than 60 s; compared up to there, not to --end 90"
    beyond = compare([coding("anna", A)], [coding("ben", B)], end_s=90.0)
    assert beyond.seconds == 60
    assert told in beyond.notes
    stream = coding("model", A, duration_s=None, coded=((0.0, 60.0),))
    assert told in compare([stream], [coding("ben", B, duration_s=None)], end_s=90.0).notes


BAD = {
    "only one coder": ([[coding("anna", A)]], "only anna coded"),
    "no video in common": (
        [[coding("a", A, "v1"), coding("a", A, "v2")], [coding("b", A, "v3"), coding("b", A, "v4")]],
        "no video in common (a: v1, v2; b: v3, v4)",
    ),
    "a set of labels for each video": (
        [
            [coding("a", A, "v1"), coding("a", A, "v2")],
            [
                coding("", [(0, 9, "sad")], "v1").made_by("mini", Teachers("one")),
                coding("", [(0, 9, "joy")], "v2").made_by("mini", Teachers("two")),
            ],
        ],
        "'model mini, taught one' and 'model mini, taught two' made timelines of different videos (v1; v2) and are "
        "taken for two coders, since the names of their models or label sets differ; to compare them as one,",
    ),
    "case": ([[coding("a", A)], [coding("b", [(0, 9, "Smile"), *B[1:2]])]], "nearest is 'Smile'"),
    "spelling": ([[coding("a", A)], [coding("b", [(0, 9, "smlie"), *B[1:2]])]], "nearest is 'smlie'"),
    "no label in common": ([[coding("a", A)], [coding("b", [(0, 9, "joy")])]], "no label in common"),
    "nothing marked": ([[coding("a", [])], [coding("b", [])]], "nobody marked anything"),
    "another length": (
        [[coding("a", A)], [coding("b", B, duration_s=90.0)]],
        "60 s long in one coding, 90 s in",
    ),
    "too long": ([[coding("a", A)], [coding("b", [(70, 80, "smile")], duration_s=None)]], "v1 is 60 s long"),
    "apart": (
        [[coding("a", A)], [coding("b", [(50, 51, "smile"), (52, 53, "frown")])]],
        "do not overlap in time (marks at 0 to 42 s and 50 to 53 s)",
    ),
    "coded apart": (
        [[coding("a", A, coded=((0, 9),))], [coding("b", B, coded=((10, 60),))]],
        "do not overlap in time",
    ),
    "other faces": (
        [
            [coding("a", [(0, 9, "smile", "Ann"), (0, 9, "smile", "Bob")])],
            [coding("b", [(0, 9, "smile", "x"), (0, 9, "smile", "y")])],
        ],
        "no face in common (Ann, Bob; x, y); pass --anyone",
    ),
    "another face each": (
        [[coding("a", [(0, 9, "smile", "child")])], [coding("b", [(0, 9, "smile", "mother")])]],
        "no face in common (child; mother); pass --anyone",
    ),
    "another number each": (
        [[coding("a", [(0, 9, "smile", "track 0")])], [coding("b", [(0, 9, "smile", "track 1")])]],
        "no face in common (track 0; track 1); pass --anyone",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_compared_is_told_in_one_line(name: str):
    codings, told = BAD[name]
    with pytest.raises(InputError) as error:
        compare(*codings)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_timelines_by_label_sets_of_one_name_are_one_coder():
    made = [
        coding("", A, video).made_by("mini", Teachers("s", frozenset({digest}), False))
        for video, digest in (("v1", "1" * 64), ("v2", "2" * 64))
    ]
    found = pair(raters([(Path("anna"), [coding("a", A, "v1"), coding("a", A, "v2")]), (Path("m"), made)]))
    assert (found.raters, len(found.units)) == (["a", "model mini, taught s"], 2)


def test_a_label_nobody_used_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'smile'"):
        compare([coding("a", A)], [coding("b", B)], labels=["smyle"])


def test_a_label_that_is_given_twice_is_refused():
    with pytest.raises(LabelError, match="labels: 'smile' is given twice; remove one"):
        compare([coding("a", A)], [coding("b", B)], labels=["smile", "frown", "smile"])


def test_settings_out_of_range_are_refused():
    for options in ({"step_s": 0.0}, {"tolerance_s": -1.0}):
        with pytest.raises(ConfigError):
            AgreementConfig(**options)
    long = [coding("a", [(0, 9e5, "smile")], duration_s=1e6), coding("b", B, duration_s=1e6)]
    with pytest.raises(ConfigError, match="step"):
        compare(long, settings=AgreementConfig(step_s=0.001))


def test_one_odd_video_is_left_out_and_told():
    one = [coding("a", A, "v1"), coding("a", A, "v2"), coding("a", A, "v3")]
    two = [coding("b", B, "v1"), coding("b", B, "v2", 90.0), coding("b", B, "v4")]
    found = compare(one, two)
    assert found.record()["videos"] == ["v1"]
    assert any(note.startswith("v2: is 60 s long") for note in found.notes)
    assert any("v3: coded by a" in note for note in found.notes)
    assert any("v4: coded by b" in note for note in found.notes)


def test_videos_that_two_of_three_coded_are_compared():
    bad = [(0, 10, "smile"), (30, 60, "frown")]
    anna = [coding("anna", A, "v1"), coding("anna", A, "v2"), coding("anna", A, "v9")]
    ben = [coding("ben", B, "v1"), coding("ben", B, "v3")]
    cleo = [coding("cleo", A, "v2"), coding("cleo", bad, "v3")]
    found = compare(anna, ben, cleo)
    assert found.record()["videos"] == ["v1", "v2", "v3"]
    assert (found.seconds, found.full_s) == (pytest.approx(180), 0)
    # Of the 1800 moments of two codes each, those differ that do in v1 (8 s) and v3 (1 + 13 + 27 + 2 s).
    codes = np.array(
        [
            [code for video in by for at in range(600) for code in [says(video, (at + 0.5) / 10)]]
            for by in ((A, A, B), (B, A, bad))
        ]
    )
    shares = np.array([(codes == kind).sum() for kind in ("smile", "frown", "")]) / codes.size
    n = codes.size
    chance = 1 - (n * shares * (n * shares - 1)).sum() / (n * (n - 1))
    assert found.overall["alpha"]["value"] == pytest.approx(1 - (codes[0] != codes[1]).mean() / chance)
    assert found.overall["kappa"]["value"] is None
    of_two = compare(anna[:1], ben[:1]).overall["kappa"]["value"]
    assert [each["kappa"] for each in found.overall["pairs"]][:2] == [pytest.approx(of_two), 1]
    assert found.labels["smile"]["onsets"]["events"] == [2, 3]  # v1: 1 (of 40 s) and 2, v2: 1 and 1
    assert found.labels["smile"]["seconds"]["mean"] == {"anna": None, "ben": None, "cleo": None}
    assert "v9: coded by anna alone; left out" in found.notes
    assert "v2: not coded by ben; compared among the others" in found.notes
    told = "o moment was coded by all, so that kappa and agreement are not defined; alpha is over the 180.0 s"
    assert any(told in note for note in found.notes)
    assert told in methods_paragraph(found)
    agreement_report.report(found)
    # What all three coded is as it is without the rest.
    more = [coding(name, of, "v4") for name, of in (("anna", A), ("ben", B), ("cleo", bad))]
    alone, all_of_it = (
        compare(*([part] for part in more)),
        compare(anna + more[:1], ben + more[1:2], cleo + more[2:]),
    )
    for name in ("kappa", "agreement"):
        assert all_of_it.overall[name]["value"] == alone.overall[name]["value"]
    assert all_of_it.labels["smile"]["seconds"]["mean"] == alone.labels["smile"]["seconds"]["mean"]
    # Who shares no video with anybody is most likely named otherwise.
    with pytest.raises(InputError, match="cleo coded no video that another coder did"):
        compare(anna, ben, [coding("cleo", A, "v7")])


def says(spans: list, at_s: float) -> str:
    return next((label for start, end, label in spans if start < at_s < end), "")


def test_a_label_of_what_was_left_out_alone_is_told_and_has_no_row():
    one = [coding("a", A, "v1"), coding("a", [*A, (50, 51, "wink")], "v2")]
    found = compare(one, [coding("b", B, "v1")])
    assert list(found.labels) == ["frown", "smile"]
    assert "label 'wink' was marked nowhere in what is compared" in found.notes
    asked = compare(one, [coding("b", B, "v1")], labels=["smile", "wink"])
    assert list(asked.labels) == ["smile", "wink"]
    assert "label 'wink' was marked nowhere in what is compared" in asked.notes


def test_a_label_of_one_video_only_is_told():
    one, two = ([coding(n, A, "v1"), coding(n, [*A, (50, 51, "wink")], "v2")] for n in ("a", "b"))
    assert "label 'wink' was marked in one video only, v2" in compare(one, two).notes


def test_a_label_of_one_coder_alone_is_told():
    found = compare([coding("a", A)], [coding("b", [*B, (54, 55, "wink")])])
    assert "label 'wink' was marked by b alone" in found.notes
    assert not [note for note in found.notes if "'smile'" in note]


@pytest.mark.parametrize(("rate", "told"), [(25, True), (2, False), (24.5, False)])
def test_times_that_are_probably_frames_are_told(rate: float, told: bool):
    frames = [(start * rate, end * rate, label) for start, end, label in B]
    one, two = [coding("a", A, duration_s=None)], [coding("b", frames, duration_s=None)]
    found = [note for note in compare(one, two).notes if "--fps" in note]
    assert bool(found) == told
    if told:
        assert (
            "marks of b go on to 1300, all others' to 42 s; if those times are frames or milliseconds"
            in found[0]
        )


@pytest.mark.parametrize(
    ("label", "near"),
    [("SMILE", "smile"), ("brow_flash", "brow flash"), ("smil", "smile"), ("joy", None), ("AU1", None)],
)
def test_nearest_labels(label: str, near: str | None):
    assert nearest_label(label, ["smile", "brow flash", "frown", "AU12"]) == near


def test_files_are_whole_strict_and_safe(tmp_path: Path):
    nasty = 'a <b> & "c"'
    one, two = ([coding(n, [(0, 5, nasty), (9, 9, "x"), *A], "v1")] for n in ("<i>a</i>", "b"))
    found = compare(one, two)
    names = agreement_report.write(found, tmp_path / "out")
    assert names == ["agreement.json", "disagreements.csv", "labels.csv", "methods.txt", "report.html"]

    def refuse(name: str) -> float:
        raise ValueError(name)

    record = json.loads((tmp_path / "out" / "agreement.json").read_text("utf-8"), parse_constant=refuse)
    assert record["raters"] == ["<i>a</i>", "b"]
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<b> &" not in page
    assert "<i>a" not in page
    assert "default-src 'none'" in page
    methods = (tmp_path / "out" / "methods.txt").read_text("utf-8")
    assert "Cohen (1960" in methods
    assert "emoclip" in methods


def test_time_that_a_model_could_not_read_is_not_coded_by_it_and_told():
    human = coding(
        "anna", [(0, 10, "smile", "track 0"), (20, 30, "frown", "track 0"), (0, 60, "smile", "track 1")]
    )
    spans = [(0, 10, "smile", "track 0"), (0, 10, "smile", "track 1")]
    model = coding("model m", spans, coded=((0.0, 60.0),), machine=True)
    blind = replace(model, unread={"track 0": ((20.0, 30.0),), "track 1": ((10.0, 60.0),)})
    plain, found = compare([human], [model]), compare([human], [blind])
    assert plain.overall["agreement"]["value"] == pytest.approx(60 / 120)
    assert (found.overall["agreement"]["value"], found.seconds) == (1.0, pytest.approx(60))
    assert found.labels["frown"]["seconds"]["mean"] == {"anna": 0, "model m": 0}
    assert found.labels["smile"]["offsets"]["events"] == [
        1,
        1,
    ]  # where it could not be read, no change was seen
    line = "for 60.0 s faces could not be read by model m, so that these count as not coded"
    assert (line in found.notes, line in plain.notes) == (True, False)
    assert f"F{line[1:]}." in methods_paragraph(found)
    part = compare([human], [blind], start_s=25, end_s=40)
    assert "for 20.0 s faces could not be read by model m, so that these count as not coded" in part.notes


def test_a_face_that_could_not_be_read_at_all_is_left_out_and_told():
    human = coding("anna", [(0, 10, "smile", "track 0"), (0, 60, "smile", "track 1")])
    model = coding("model m", [(0, 10, "smile", "track 0")], coded=((0.0, 60.0),), machine=True)
    blind = replace(model, unread={"track 1": ((0.0, 60.0),)})
    found = compare([human], [blind], end_s=60)
    assert [unit.track for unit in found.pairing.units] == ["track 0"]
    assert "v1: track 1 could not be read where another coded it; left out" in found.notes
    third = replace(
        human, coder="ben"
    )  # two people coded it all the same, and the amounts are of what all three did
    found = compare([human], [third], [blind])
    assert [unit.track for unit in found.pairing.units] == ["track 0", "track 1"]
    assert found.labels["smile"]["seconds"]["mean"] == {"anna": 10, "ben": 10, "model m": 10}
    blind = replace(model, unread={"track 0": ((0.0, 60.0),), "track 1": ((0.0, 60.0),)})
    with pytest.raises(InputError, match="v1: no face could be read where another coded it"):
        compare([human], [blind])


def test_of_faces_taken_together_the_time_counts_in_which_nobody_could_be_read():
    human = coding("anna", [(0, 30, "smile")])
    spans = [(0, 10, "smile", "track 0"), (5, 10, "smile", "track 1")]
    unread = {"track 0": ((10.0, 40.0),), "track 1": ((20.0, 60.0),), "anyone": ((20.0, 40.0),)}
    model = coding("model m", spans, coded=((0.0, 60.0),), machine=True, unread=unread)
    assert compare([human], [model]).seconds == pytest.approx(40)
    one = replace(model, marks=model.marks[:1])  # a coding of one face: what could be read of that one
    assert compare([human], [one]).seconds == pytest.approx(30)

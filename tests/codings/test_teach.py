"""Labels taught from simulated codings: what is learnt, what is warned of, what is suggested, what files hold."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from films import WIDTH, film, films
from packages import tiny_package

from emoclip.codings import (
    Mark,
    forecast,
    prepare_lesson,
    read_all,
    suggest_windows,
    teach_labels,
    validate,
    write_labels,
    write_suggestions,
)
from emoclip.codings.teach import CURVE_DASH, card_text
from emoclip.codings.validate import Validation, ahead
from emoclip.engine import EmoCLIP
from emoclip.errors import ConfigError, InputError
from emoclip.files import sha256
from emoclip.prompts import NONE, resolve
from emoclip.prompts.taught import Taught
from emoclip.prompts.taught import read as read_taught
from emoclip.recording import Key
from emoclip.timeline import Baseline, Settings, embedding_rate
from emoclip.timeline.spans import union


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> EmoCLIP:
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("tiny") / "p")))


def quiet(share: float) -> None:
    pass


def test_it_learns_the_coders_categories_and_says_what_they_are_worth(model: EmoCLIP):
    recordings, codings = films(model)
    lesson = prepare_lesson(model, recordings, codings)
    assert lesson.labels == ["smirk", "wink", NONE]
    assert lesson.windows.length_s == 2.0
    taught, validation, card = teach_labels(lesson, quiet)
    assert card["kappa"]["value"] > 0.7 > card["kappa_words"]["value"] + 0.2
    assert card["gain"]["ci95"][0] > 0
    assert card["calibration"]["after"] <= card["calibration"]["before"]
    assert [point["videos"] for point in card["curve"]] == [0, 1, 2, 4]
    assert card["curve"][-1]["kappa"] > card["curve"][0]["kappa"]
    assert card["minutes"] == pytest.approx(6 * 32 / 60, rel=0.1)
    assert not [line for line in card["warnings"] if "who is shown" in line]
    assert taught.matrix().shape == (3, 2 * WIDTH + 1)
    assert validation.taught.groups == 6


@pytest.mark.parametrize("second", ["ben", ""])  # files need not name who coded
def test_with_soft_targets_of_two_coders_who_differ(model: EmoCLIP, second: str):
    recordings, codings = films(model)
    codings = [replace(c, coder="ann" if second else "") for c in codings]
    shifted = [
        replace(c, coder=second, marks=tuple(replace(m, offset_s=m.offset_s - 1.5) for m in c.marks))
        for c in codings
    ]
    lesson = prepare_lesson(model, recordings, codings + shifted, window_s=2.0)
    targets = np.concatenate([part.targets for part in lesson.samples])
    assert targets.sum(axis=1) == pytest.approx(1)
    late = lesson.samples[0]
    label = lesson.labels.index(codings[0].marks[0].label)
    # The last two seconds of a mark, of which the second coder has the first half second.
    (at,) = np.flatnonzero(late.end_s == codings[0].marks[0].offset_s)
    assert late.targets[at, label] == pytest.approx((1 + 0.25) / 2)
    _, _, card = teach_labels(lesson, quiet)
    assert card["coders"] == 2
    assert 0.5 < card["coders_kappa"]["value"] < 0.9


def test_a_window_of_a_single_frame_is_as_long_as_the_frame(model: EmoCLIP):
    recording, coding = film(model, "v0", [(3.0, "smirk"), (2.5, "wink"), (2.5, "")], seed=0)
    recording.frames = [frame for frame in recording.frames if frame[0] % 1 == 0]  # one a second
    (part,) = prepare_lesson(model, [recording], [coding], window_s=0.5).samples
    assert part.start_s.tolist() == list(range(8))
    assert part.end_s.tolist() == list(range(1, 9))
    smirk, wink, none = np.eye(3)
    assert part.targets.tolist() == pytest.approx(
        np.array([smirk, smirk, smirk, wink, wink, (wink + none) / 2, none, none])
    )


def test_where_gaps_are_not_coded_they_are_no_disagreement(model: EmoCLIP):
    recordings, codings = films(model)
    few = [replace(c, marks=c.marks[::3]) for c in codings]
    _, validation, card = teach_labels(prepare_lesson(model, recordings, few, skip_gaps=True), quiet)
    assert card["agreement"]["value"] > 0.9
    assert card["kappa"]["value"] == pytest.approx(validation.curve[-1]["kappa"], abs=0.15)
    assert card["next"]["room"] is None or card["next"]["kappa"] <= 1 - validation.curve[-1]["kappa"]


@pytest.mark.parametrize(
    ("kappas", "reached", "coders", "gain"),
    [
        # .1 at each doubling, from 2.5 minutes to 12.5.
        ([0.0, 0.5, 0.6], 0.6, None, 0.1 * np.log2(12.5 / 2.5)),
        ([0.0, 0.1, 0.5, 0.6], 0.6, None, 0.1 * np.log2(12.5 / 2.5)),
        ([0.0, 0.5, 0.6], 0.93, None, 0.07),
        ([0.0, 0.5, 0.6], None, 0.7, 0.1),
        ([0.0, 0.5, 0.6], 0.8, 0.7, 0.0),
        ([0.0, 0.9, 0.8], 0.95, 0.9, 0.0),
        ([0.0, 0.6, 0.5], 0.5, None, "the end of the learning curve rises by no more"),
        ([0.0, 0.3, 0.6, 0.6], 0.6, None, "the end of the learning curve rises by no more"),
        ([0.0, 0.5, 0.6, np.nan], 0.6, None, "the learning curve is not defined at its end"),
        ([0.0, np.nan, 0.6], 0.6, None, "a single point after the words alone"),
        ([0.0, 0.5], 0.5, None, "a single point after the words alone"),
    ],
    ids=[
        *("straight", "steep at first", "one", "the coders", "past the coders", "falling past the coders"),
        *("falling", "flat at its end", "not known at the end", "not known before", "two videos"),
    ],
)
def test_more_coding_brings_no_more_than_coders_agree(kappas, reached, coders, gain):
    points = [
        {"videos": at, "minutes": at and 2.0 ** (at - 1), "kappa": kappa, "draws": [kappa, kappa]}
        for at, kappa in enumerate(kappas)
    ]
    found = ahead(points, 2.5, reached, coders)
    if isinstance(gain, str):
        assert found["kappa"] is found["room"] is found["draws"] is None
        assert f"would bring cannot be told: {found['why']}." in forecast(found)
        assert gain in found["why"]
    else:
        assert found["kappa"] == pytest.approx(gain)
        # Whatever was cut is told, once.
        assert forecast(found).count("as much as there is room for") == (found["kappa"] == found["room"])
        assert (found["draws"] is None) == (gain == 0)


def curve(*draws: list[float]) -> list[dict]:
    """A learning curve over 1, 2, 4 ... minutes."""
    return [
        {"videos": 2**at, "minutes": 2.0**at, "kappa": float(np.mean(each)), "draws": each}
        for at, each in enumerate(draws)
    ]


def test_the_forecast_says_how_far_the_draws_of_the_curve_are_apart():
    # The draws rise by .02 and .08: .05, give or take .03; from 10 minutes to 20 is another doubling.
    found = ahead(curve([0.6, 0.4], [0.62, 0.48]), 10.0, 0.5, None)
    assert found == {
        "minutes": 10.0,
        "kappa": pytest.approx(0.05),
        "room": pytest.approx(0.45),
        "draws": pytest.approx([0.02, 0.08]),
        "why": "",
    }
    assert forecast(found).endswith("+.05 of kappa (single draws of the learning curve say +.02 to +.08).")


def test_the_forecast_says_what_there_was_no_room_for():
    told = forecast(ahead(curve([0.6, 0.4], [0.62, 0.48]), 10.0, 0.94, None))
    assert told.endswith(
        "+.05 of kappa (single draws of the learning curve say +.02 to +.06, as much as there is room for)."
    )
    told = forecast(ahead(curve([0.6, 0.4], [0.62, 0.48]), 10.0, 0.5, 0.58))
    assert told.endswith(
        "bring +.03 of kappa, as much as there is room for (single draws of the learning curve say +.02 to +.03)."
    )
    told = forecast(ahead(curve([0.6, 0.4], [0.62, 0.48]), 10.0, 0.5, 0.5))
    assert told == "Ten more minutes are likely to bring +.00 of kappa, as much as there is room for."


def test_a_curve_flat_within_its_noise_promises_nothing():
    # A user's: .63, .83, .83. The last doubling rose by .02, .05, -.04 and -.01: .005, give or take .034.
    draws = [0.90, 0.43, 0.75, 0.43], [0.84, 0.79, 0.80, 0.88], [0.86, 0.84, 0.76, 0.87]
    found = ahead(curve(*draws), 10.0, 0.86, None)
    assert "cannot be told: the end of the learning curve rises by no more than" in forecast(found)
    # Nor is there much to see ten minutes ahead from half a minute, however steep.
    steep = curve([0.1, 0.1], [0.5, 0.5])
    assert "cannot be told: fewer than 2.5 minutes are coded" in forecast(ahead(steep, 0.5, 0.5, None))
    assert "cannot be told: fewer than 2.5 minutes are coded" in forecast(ahead(steep, 2.49, 0.5, None))
    assert ahead(steep, 2.5, 0.5, None)["kappa"] == pytest.approx(0.5)


@pytest.mark.parametrize("second", ["ben", ""])
def test_the_order_in_which_all_is_named_changes_nothing(model: EmoCLIP, second: str):
    recordings, codings = films(model)
    late = [
        replace(c, coder=second, marks=tuple(replace(m, onset_s=m.onset_s + 0.7) for m in c.marks))
        for c in codings
    ]
    subjects = {"v0": "q", "v5": "p"}

    def learnt(recordings, codings):
        lesson = prepare_lesson(model, recordings, codings, subjects=subjects)
        taught, _, card = teach_labels(lesson, quiet)
        return taught, card, suggest_windows(lesson.samples, taught.matrix(), 4)

    unread = [film(model, "u", [(4.0, "smirk"), (4.0, "")], seed=50)[0]]
    known = learnt([*recordings, *unread], codings + late)
    assert known == learnt([*unread, *recordings[::-1]], late + codings[::-1])
    assert known == learnt([*recordings[3:], *unread, *recordings[:3]], late[::-1] + codings)


def test_the_file_tells_what_taught_it(model: EmoCLIP, tmp_path: Path):
    recordings, codings = films(model, 4)
    kept = []
    for at, (recording, coding) in enumerate(zip(recordings, codings, strict=True)):
        recording.key = replace(recording.key, input=f"{at}" * 64 if at else None)
        (tmp_path / coding.file).write_text(f"coding {at}")
        kept.append(replace(coding, file=tmp_path / coding.file))
    kept[1] = replace(kept[1], further=(tmp_path / "more.csv",))  # two files of one coder and video
    (tmp_path / "more.csv").write_text("and more")
    unread = film(model, "u", [(4.0, "smirk")], seed=50)[0]
    unread.key = replace(unread.key, input="9" * 64)
    lesson = prepare_lesson(model, [*recordings, unread], kept)
    taught, _, card = teach_labels(lesson, quiet)
    write_labels(lesson, taught, card, tmp_path / "g.labels")
    prompts = resolve(str(tmp_path / "g.labels"))
    files = [*(coding.file for coding in kept), tmp_path / "more.csv"]
    assert prompts.teachers() == {
        "name": "g",
        "sha256": sha256(tmp_path / "g.labels"),
        "codings": sorted(map(sha256, files)),
        "videos": ["1" * 64, "2" * 64, "3" * 64],
    }
    assert resolve("seven").teachers() is None
    for recording, this in ((recordings[0], None), (recordings[1], True), (unread, False)):
        assert model.timeline(recording, prompts).read().taught == prompts.teachers() | {"this_video": this}


def test_it_warns_where_it_learns_who_is_shown(model: EmoCLIP):
    # Each person shows one label alone, and the labels look the same.
    made = []
    for number in range(8):
        label = "smirk" if number % 2 else "wink"
        recording, coding = film(model, f"v{number}", [(16.0, "")], seed=number, person=3.0)
        marks = tuple(Mark(4.0 * at, 4.0 * at + 4.0, label) for at in range(4))
        made.append((recording, replace(coding, marks=marks)))
    lesson = prepare_lesson(model, [r for r, _ in made], [c for _, c in made])
    assert lesson.labels == ["smirk", "wink"]
    _, _, card = teach_labels(lesson, quiet)
    assert card["people"]["known"] > card["people"]["new"] + 0.2
    assert any("who is shown" in line for line in card["warnings"])


def test_a_label_of_one_video_only_is_warned_of(model: EmoCLIP):
    recordings, codings = films(model)
    codings[0] = replace(
        codings[0], marks=(*codings[0].marks[:-1], replace(codings[0].marks[-1], label="brow flash"))
    )
    _, _, card = teach_labels(prepare_lesson(model, recordings, codings), quiet)
    assert any("'brow flash' was coded in one video" in line for line in card["warnings"])


def test_a_label_that_nobody_coded_is_warned_of(model: EmoCLIP):
    recordings, codings = films(model)
    lesson = prepare_lesson(model, recordings, codings, sentences={"sad": ["a sad face"], "wink": ["a wink"]})
    _, _, card = teach_labels(lesson, quiet)
    (line,) = (line for line in card["warnings"] if "label '" in line)
    assert line.startswith("label 'sad' was coded nowhere in what was read: it is read by its words alone")
    assert line in card_text("a", card)


@pytest.mark.parametrize(
    ("long", "told"), [(1, "in all but one of 6 videos or people"), (0, "everywhere"), (2, None)]
)
def test_marks_too_short_for_the_window_are_told_as_that(model: EmoCLIP, long: int, told: str | None):
    made = [
        film(model, f"v{n}", [(4, "smirk"), (4, ""), (4 if n < long else 0.5, "wink"), (3.5, "")], seed=n)
        for n in range(6)
    ]
    lesson = prepare_lesson(model, [r for r, _ in made], [c for _, c in made], window_s=2.0)
    _, _, card = teach_labels(lesson, quiet)
    short = f"marks of label 'wink' are shorter than half a window (1 s) {told}; pass a shorter --window"
    assert [line for line in card["warnings"] if "label '" in line] == ([short] if told else [])
    # Half a second is most of a window of half a second.
    lesson = prepare_lesson(model, [r for r, _ in made], [c for _, c in made], window_s=0.5)
    _, _, card = teach_labels(lesson, quiet)
    assert not [line for line in card["warnings"] if "label '" in line]


@pytest.mark.parametrize(("long", "told"), [(1, "in all but one of 6 videos or people"), (2, None)])
def test_time_without_a_mark_that_is_too_short_for_the_window_is_told(
    model: EmoCLIP, long: int, told: str | None
):
    made = [
        film(model, f"v{n}", [(4, "smirk"), (4 if n < long else 0.5, ""), (4, "wink")], seed=n)
        for n in range(6)
    ]
    _, _, card = teach_labels(
        prepare_lesson(model, [r for r, _ in made], [c for _, c in made], window_s=2.0), quiet
    )
    short = (
        f"time without a mark ({NONE!r}) is shorter than half a window (1 s) {told}; pass a shorter --window"
    )
    assert [line for line in card["warnings"] if NONE in line] == ([short] if told else [])


def test_point_events_fill_windows(model: EmoCLIP):
    recordings, codings = films(model)
    points = [
        replace(c, marks=tuple(replace(m, offset_s=m.onset_s) if m.label == "wink" else m for m in c.marks))
        for c in codings
    ]
    _, _, card = teach_labels(prepare_lesson(model, recordings, points), quiet)
    assert not [line for line in card["warnings"] if "label '" in line]


def test_probabilities_that_calibrating_made_worse_are_warned_of(model: EmoCLIP):
    recordings, codings = films(model)
    other = {"smirk": "wink", "wink": "smirk"}  # one of three videos was coded the other way round
    turned = replace(codings[0], marks=tuple(replace(m, label=other[m.label]) for m in codings[0].marks))
    _, _, card = teach_labels(prepare_lesson(model, recordings[:3], [turned, *codings[1:3]]), quiet)
    assert card["calibration"]["after"] > card["calibration"]["before"] + 0.05
    assert [line for line in card["warnings"] if "more than before calibration" in line]


@pytest.mark.filterwarnings("ignore:labels. the model cannot tell apart")
def test_a_label_that_is_probably_another_misspelt_is_warned_of(model: EmoCLIP):
    recordings, codings = films(model)
    codings[0] = replace(
        codings[0], marks=(*codings[0].marks[:-1], replace(codings[0].marks[-1], label="smrik"))
    )
    _, _, card = teach_labels(prepare_lesson(model, recordings, codings), quiet)
    assert [line for line in card["warnings"] if "if 'smirk' is meant, pass --same 'smrik=smirk'" in line]


def test_subjects_are_left_out_whole(model: EmoCLIP):
    recordings, codings = films(model)
    who = {f"v{n}": f"sub-{n // 2}" for n in range(6)}
    _, validation, card = teach_labels(prepare_lesson(model, recordings, codings, subjects=who), quiet)
    assert (card["groups"], card["left_out"], validation.taught.groups) == (3, "subjects", 3)
    card["curve"][0]["kappa"] = None
    curve = card_text("a", card).split("## Learning curve")[1].split("Kappa on the second halves")[0]
    assert "| subjects | minutes coded | kappa |" in curve
    assert "several draws of so many subjects" in curve
    assert "with few subjects by much" in curve
    assert "videos" not in curve


def test_time_that_was_not_coded_teaches_nothing(model: EmoCLIP):
    recordings, codings = films(model)
    partly = replace(
        codings[0], coded=((0.0, 10.0),), marks=tuple(m for m in codings[0].marks if m.onset_s < 10)
    )
    lesson = prepare_lesson(model, recordings, [partly, *codings[2:]])
    first, second = lesson.samples[:2]
    assert (first.coded == (first.end_s <= 10.0)).all()
    assert not second.coded.any()


def test_time_that_a_model_could_not_read_teaches_nothing_where_nobody_marked(model: EmoCLIP):
    recordings, codings = films(model)
    end_s = codings[0].end_s
    corrected = replace(
        codings[0], coded=((0.0, end_s),), unread={"anyone": ((10.0, end_s),), "track 1": ((0.0, 9.0),)}
    )
    lesson = prepare_lesson(model, recordings, [corrected, *codings[1:]])
    first = lesson.samples[0]
    assert (first.coded == (first.end_s <= 10.0)).all()


def test_a_label_may_be_called_anything(model: EmoCLIP):
    recordings, codings = films(model)
    names = {"smirk": "AU12+", "wink": "+", "": ""}
    odd = [replace(c, marks=tuple(replace(m, label=names[m.label]) for m in c.marks)) for c in codings]
    assert prepare_lesson(model, recordings, odd).labels == ["+", "AU12+", NONE]


def test_points_are_short_events(model: EmoCLIP):
    recordings, codings = films(model)
    flashes = [
        replace(c, marks=tuple(Mark(m.onset_s + 2, m.onset_s + 2, m.label) for m in c.marks)) for c in codings
    ]
    lesson = prepare_lesson(model, recordings, flashes)
    assert lesson.windows.length_s == 0.5
    part = lesson.samples[0]
    shown = part.targets[:, :2].max(axis=1) > 0.5
    near = [any(abs(m.onset_s - c) <= 0.15 for m in flashes[0].marks) for c in part.centre_s]
    assert (shown == near).mean() > 0.95


def test_a_models_timelines_beside_codings_are_told_and_left_out(model: EmoCLIP):
    recordings, codings = films(model)
    made = replace(codings[0], coder="model tiny", file=Path("v0.eaf"), machine=True)
    lesson = prepare_lesson(model, recordings, [*codings, made])
    assert lesson.notes == ["v0.eaf: a model's timeline, which teaches nothing; left out"]
    assert lesson.codings == prepare_lesson(model, recordings, codings).codings


BAD = {
    "no coded video": (
        lambda r, c: (r, [replace(x, video="other") for x in c]),
        "no coding is of a video given",
    ),
    "a model's": (
        lambda r, c: (r, [replace(x, machine=True) for x in c]),
        "the codings are timelines of a model's",
    ),
    "spelling": (
        lambda r, c: (r, [c[0], replace(c[1], marks=(Mark(0, 4, "Smirk"),))]),
        "'Smirk' and 'smirk' differ in spelling alone; pass --same",
    ),
    "one video": (lambda r, c: (r, c[:1]), "only v0 has coded time"),
    "nothing marked": (lambda r, c: (r, [replace(x, marks=()) for x in c]), "no label was marked"),
    "one label": (
        lambda r, c: (r, [replace(x, marks=(Mark(0, 32, "smirk"),)) for x in c]),
        "nothing to tell it from",
    ),
    "too long": (
        lambda r, c: (r, [replace(c[0], marks=(Mark(0, 99, "a"), Mark(3, 4, "b")))]),
        "is 32 s long",
    ),
    "other faces": (
        lambda r, c: (r, [replace(c[0], marks=(Mark(0, 9, "a", "mother"),))]),
        "which the recording of v0 does not know (it has track 0)",
    ),
    "other model": (
        lambda r, c: ([replace(x, key=Key("0" * 64)) for x in r], c),
        "recorded with another model",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_taught_is_told_in_one_line(model: EmoCLIP, name: str):
    change, told = BAD[name]
    with pytest.raises(InputError) as error:
        teach_labels(prepare_lesson(model, *change(*films(model, 3))), quiet)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def written(model: EmoCLIP, tmp_path_factory) -> Path:
    recordings, codings = films(model)
    lesson = prepare_lesson(
        model, recordings, codings, sentences={"smirk": ["one corner of the mouth is up"]}
    )
    taught, _, card = teach_labels(lesson, quiet)
    path = tmp_path_factory.mktemp("labels") / "smirk.labels"
    assert [file.name for file in write_labels(lesson, taught, card, path)] == [
        "smirk.labels",
        "smirk.card.md",
    ]
    return path


def test_the_file_is_read_by_the_engine_as_it_was_taught(model: EmoCLIP, written: Path):
    recordings, codings = films(model)
    prompts = resolve(str(written))
    assert prompts.labels == ["smirk", "wink", NONE]
    assert prompts.prompts[0].parts == (("one corner of the mouth is up",),)
    clip = np.stack([looks[0].embedding for _, looks in recordings[0].frames[:16]])
    lesson = prepare_lesson(model, recordings, codings)
    features, rows = lesson.samples[0].features[:1], read_taught(written)[1].matrix()
    logits = features @ rows[:, :-1].T + rows[:, -1]
    expected = np.exp(logits) / np.exp(logits).sum()
    text = model.embed_text(prompts)
    read = model.probabilities(model.compared([clip], text), text)
    assert read == pytest.approx(expected, abs=1e-5)


def test_a_timeline_takes_the_file_and_agrees_with_the_coder(model: EmoCLIP, written: Path, tmp_path: Path):
    recording, coding = film(model, "new", [(5.0, "smirk"), (5.0, ""), (5.0, "wink")], seed=99)
    recording.write(tmp_path / "new.npz")
    timeline = model.timeline(tmp_path / "new.npz", str(written)).read()
    assert [segment.label for segment in timeline.segments] == ["smirk", NONE, "wink"]
    for segment, mark in zip(timeline.segments[::2], coding.marks, strict=True):
        assert segment.onset_s == pytest.approx(mark.onset_s, abs=1.0)


def test_the_file_holds_no_picture_and_no_name(written: Path):
    record = json.loads(written.read_text("utf-8"))
    text = json.dumps(record["card"]) + written.with_suffix(".card.md").read_text("utf-8")
    assert "anna" not in text
    assert "v0" not in text
    assert written.stat().st_size < 50_000


def test_the_file_says_if_the_model_is_another(written: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="taught with another model, tiny, than mini"):
        EmoCLIP.load().embed_text(str(written))
    other = EmoCLIP.load(str(tiny_package(tmp_path / "p", seed=5)))
    with pytest.raises(ConfigError, match="teach them again"):
        other.embed_text(str(written))


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("rows"),
        lambda record: record["rows"].update(float32="!!"),
        lambda record: record["rows"].update(shape=[3, 32]),
        lambda record: record["rows"].update(shape=[10**9, 10**9]),
        lambda record: record.update(window_s=float("nan")),
        lambda record: record.update(window_s=None),
        lambda record: record["labels"].pop("wink"),
        lambda record: record.update(labels=[]),
        lambda record: record["labels"].update(wink=[[3]]),
        lambda record: record.update(format=99),
    ],
)
def test_damaged_files_are_told_in_one_line(written: Path, tmp_path: Path, change):
    record = json.loads(written.read_text("utf-8"))
    change(record)
    path = tmp_path / "bad.labels"
    path.write_text(json.dumps(record), "utf-8")
    with pytest.raises(InputError, match=r"bad\.labels: .*again"):
        resolve(str(path))


def test_absent_and_foreign_files_are_told(tmp_path: Path):
    with pytest.raises(InputError, match="no such label file"):
        resolve(tmp_path / "absent.labels")
    (tmp_path / "text.labels").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not labels that emoclip taught"):
        resolve(tmp_path / "text.labels")
    (tmp_path / "folder.labels").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_taught(tmp_path / "folder.labels")


def test_windows_shorter_than_the_recordings_were_made_for_are_told(model: EmoCLIP):
    recordings, codings = films(model)
    rate = embedding_rate(model, 0.5)
    for recording in recordings[:2]:
        recording.key = replace(recording.key, rate=rate)
    assert prepare_lesson(model, recordings, codings, window_s=0.5).notes == []
    (note,) = prepare_lesson(model, recordings, codings, window_s=0.25).notes
    assert note.startswith(
        "v0, v1: recorded for windows of 0.5 s or longer, those of 0.25 s have fewer frames"
    )


def test_suggestions_are_new_apart_and_spread(model: EmoCLIP):
    recordings, codings = films(model)
    lesson = prepare_lesson(model, recordings, codings[:2])
    windows = suggest_windows(lesson.samples, lesson.words, 16)
    assert len(windows) == 16
    counts = {
        video: sum(item.video == video for item in windows) for video in ("v0", "v1", "v2", "v3", "v4", "v5")
    }
    assert counts["v0"] == counts["v1"] == 0  # coded already
    assert max(counts.values()) <= 6
    for one in windows:
        for two in windows:
            assert (
                one is two or one.video != two.video or one.end_s <= two.start_s or two.end_s <= one.start_s
            )
    again = suggest_windows(lesson.samples, lesson.words, 16)
    assert windows == again
    with pytest.raises(InputError, match="every window was coded"):
        suggest_windows(prepare_lesson(model, recordings, codings).samples, lesson.words, 4)


def test_suggestions_lie_where_a_face_looks_the_same_for_a_while(model: EmoCLIP):
    recordings, codings = films(model)
    lesson = prepare_lesson(model, recordings, codings[:1])
    clear = {
        (part.video, float(start)): share
        for part in prepare_lesson(model, recordings, codings).samples
        for start, share in zip(part.start_s, part.clear, strict=True)
    }
    found = [
        clear[w.video, w.start_s]
        for seed in range(8)
        for w in suggest_windows(lesson.samples, lesson.words, 8, seed=seed)
    ]
    assert np.mean(found) > np.mean(list(clear.values())) + 0.05


def test_a_suggestion_is_filled_in_elan_and_read_back(model: EmoCLIP, tmp_path: Path):
    pytest.importorskip("pympi")
    from pympi.Elan import Eaf

    recordings, codings = films(model)
    lesson = prepare_lesson(model, recordings, codings[:2])
    windows = suggest_windows(lesson.samples, lesson.words, 12)
    seen = {f"v{n}": recording for n, recording in enumerate(recordings)}
    names = write_suggestions(windows, lesson.labels, seen, tmp_path / "to-code")
    untouched, _ = read_all(tmp_path / "to-code")
    assert all(not coding.marks and not coding.coded for coding in untouched)

    videos = [item.video for item in windows]
    video = max(videos, key=videos.count)  # the first of those with as many, whatever the order of a set
    assert f"{video}.eaf" in names
    path = tmp_path / "to-code" / f"{video}.eaf"
    document = Eaf(path)
    assert {values[0][0] for values, _ in document.controlled_vocabularies["labels"][1].values()} == {
        *("?", "smirk", "wink", NONE)
    }
    tier = document.tiers["code the largest face"][0]
    spans = sorted((document.timeslots[a], document.timeslots[b], key) for key, (a, b, _, _) in tier.items())
    first = spans[0]
    second = next(
        span for span in spans if span[0] > first[1]
    )  # what lies between those that touch is coded, too
    tier[first[2]] = (*tier[first[2]][:2], "smirk", None)
    tier[second[2]] = (*tier[second[2]][:2], NONE, None)
    document.to_file(path)
    (filled,) = [coding for coding in read_all(tmp_path / "to-code")[0] if coding.video == video]
    assert [mark.label for mark in filled.marks] == ["smirk"]
    assert list(filled.coded) == union((start / 1000, end / 1000) for start, end, _ in (first, second))
    more = prepare_lesson(model, recordings, [*codings[:2], filled])
    assert teach_labels(more, quiet)[1].taught.seconds < teach_labels(lesson, quiet)[1].taught.seconds + 5
    part = next(part for part in more.samples if part.video == filled.video)
    assert part.coded.sum() == 2
    assert part.targets[part.coded].argmax(axis=1).tolist() == [0, 2]


def test_taught_labels_have_neither_scores_nor_a_baseline(model: EmoCLIP, written: Path, media: Path):
    picture = media / "single_face.jpg"
    for options in ({"scores": True}, {"baseline": Baseline(auto=True)}):
        with pytest.raises(ConfigError, match="taught have probabilities alone"):
            model.classify(picture, str(written), **options)
        with pytest.raises(ConfigError, match="taught have probabilities alone"):
            model.timeline(picture, str(written), **options)
        # Before any input is opened.
        with pytest.raises(ConfigError, match="taught have probabilities alone"):
            Settings(Path("out"), prompts=resolve(str(written)), **options)


def test_taught_is_plain_data():
    assert Taught("m", "n", ((1.0, 2.0, 3.0),), 1.0).matrix().tolist() == [[1.0, 2.0, 3.0]]


def test_videos_and_codings_of_one_name_are_told_apart_by_their_folders(model: EmoCLIP, tmp_path: Path):
    recordings, codings = films(model, 4)
    plain = prepare_lesson(model, recordings, codings)
    for at, (recording, coding) in enumerate(zip(recordings, codings, strict=True)):
        recording.name = f"/videos/day {at}/talk.mp4"
        codings[at] = replace(coding, video="talk", file=Path(f"/anna/day {at}/talk.csv"))
    lesson = prepare_lesson(model, recordings, codings, subjects={"day 1/talk": "p"})
    groups = {
        "day 0/talk": "day 0/talk",
        "day 2/talk": "day 2/talk",
        "day 3/talk": "day 3/talk",
        "day 1/talk": "p",
    }
    assert {part.video: part.group for part in lesson.samples} == groups
    for part, before in zip(sorted(lesson.samples, key=lambda part: part.video), plain.samples, strict=True):
        np.testing.assert_array_equal(part.targets, before.targets)
    pytest.importorskip("pympi")
    windows = suggest_windows(prepare_lesson(model, recordings, codings[:1]).samples, lesson.words, 8)
    seen = {f"day {at}/talk": recording for at, recording in enumerate(recordings)}
    written = write_suggestions(windows, lesson.labels, seen, tmp_path / "to-code")
    assert (
        set(written)
        == {f"{window.video}.eaf" for window in windows}
        <= {f"day {n}/talk.eaf" for n in range(4)}
    )
    again, _ = read_all(tmp_path / "to-code")
    assert {coding.video for coding in again} <= {f"{window.video}" for window in windows}


def test_dashes_of_a_card_are_explained_under_its_tables(model: EmoCLIP):
    recordings, codings = films(model)
    _, _, card = teach_labels(prepare_lesson(model, recordings, codings), quiet)
    assert "the words alone on all" in card_text("a", card)
    assert "a little" not in card_text("a", card)
    assert "–" not in card_text("a", card)
    figures = re.findall(r"\b0\.\d+\b(?! s|\.\d)", card_text("a", card).split("## On")[1])
    assert set(figures) <= {f"{p['minutes']:.1f}" for p in card["curve"]}  # kappa is .83 everywhere
    card["curve"][0]["kappa"] = None
    card["per_label"]["smirk | <i>"] = {"kappa": None, "f1": {"value": None, "ci95": None}, "lag_s": None}
    table, curve = card_text("a", card).split("## Learning curve")
    assert r"| smirk \| \<i> | – | – | – |" in table
    assert "–: not defined. Kappa needs time" in table
    assert curve.splitlines()[4].endswith("| – |")
    assert CURVE_DASH in curve


def test_teaching_that_does_worse_than_the_words_is_called_that():
    def said(*ends):
        found = Validation(
            taught=None,
            words=None,
            gain={"ci95": list(ends)},
            coders=None,
            temperature=1.0,
            calibration={"before": 0.0, "after": 0.0},
            curve=[],
            next_minutes={},
            people={"known": 0.0, "new": 0.0},
            warnings=[],
        )
        return [line for line in validate._warnings(found, [], []) if "the words alone" in line]

    assert said(-0.4, -0.1) == [
        "teaching is shown to be worse than the words alone; code more videos, or use the words"
    ]
    assert said(-0.4, 0.1) == [
        "it cannot be told from these codings whether teaching is better than the words alone"
    ]
    assert said(0.1, 0.4) == []

"""A person's resting face: what may be typed, and that taking it out moves a frown to neutral."""

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import get_args, get_type_hints

import numpy as np
import pytest
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.config import FaceConfig, WindowConfig
from emoclip.errors import ConfigError, InputError
from emoclip.model import unit
from emoclip.recording import Key, Look, Recording, Sampler
from emoclip.results import Quality
from emoclip.timeline import Baseline, Rest, embedding_rate
from emoclip.timeline.stream import TimelineStream
from emoclip.video import open_video


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", Baseline(auto=True)),
        ("Auto ", Baseline(auto=True)),
        ("0-3.5", Baseline(start_s=0, end_s=3.5)),
        ("0-.5", Baseline(start_s=0, end_s=0.5)),
        (".5-2.", Baseline(start_s=0.5, end_s=2)),
        (" 12 - 20 ", Baseline(start_s=12, end_s=20)),
        ("neutral.mp4", Baseline(source="neutral.mp4")),
        ("-", Baseline(source="-")),
        ("visit 1-2.mp4", Baseline(source="visit 1-2.mp4")),
    ],
)
def test_what_may_be_typed(text, expected):
    assert Baseline.of(text) == expected


@pytest.mark.parametrize("text", ["3-3", "5-2"])
def test_a_stretch_that_ends_before_it_begins_is_an_error(text):
    with pytest.raises(ConfigError, match="must come after"):
        Baseline.of(text)


@pytest.mark.parametrize("text", ["3-", "-1-2", "0-inf", "1e0-2", "nan-3", "3"])
def test_a_stretch_that_is_none_is_no_file_unless_it_is_there(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no START-END in seconds"):
        Baseline.of(text)
    (tmp_path / text).touch()
    assert Baseline.of(text) == Baseline(source=text)


def test_a_program_may_give_a_path_or_a_baseline_and_nothing_else(tmp_path):
    given = Baseline(start_s=1.0)
    assert Baseline.of(given) is given
    assert Baseline.of(tmp_path) == Baseline(source=str(tmp_path))
    for ask in (EmoCLIP.classify, EmoCLIP.timeline, TimelineStream.__init__):  # and so type checkers are told
        assert os.PathLike[str] in get_args(get_type_hints(ask)["baseline"])
    with pytest.raises(ConfigError, match="baseline=3: give 'auto'"):
        Baseline.of(3)
    with pytest.raises(ConfigError, match="start_s='a' must be a number"):
        Baseline(start_s="a")
    with pytest.raises(ConfigError, match="source=3 must be a file's name"):
        Baseline(source=3)
    for other in ({"source": "x"}, {"start_s": 1}, {"end_s": 1}):
        with pytest.raises(ConfigError, match="auto=True takes the input itself"):
            Baseline(auto=True, **other)


def test_of_a_single_moment_no_rest_is_known_and_of_little_it_is_doubted():
    usual, smiling = np.eye(4, dtype=np.float32)[[0, 2]]
    rest = Rest(model(usual), "video.mp4", Baseline(auto=True), FaceConfig())
    rest.meet({0: smiling[None], 1: np.stack([smiling] * 39), 2: np.stack([smiling] * 40)}, 0.1)
    for track, found in enumerate((usual, smiling, smiling)):
        assert rest.of(track) == pytest.approx(found)
    still, brief = rest.notes
    assert still.startswith("baseline auto: face 0 is seen at a single moment: nothing is taken out")
    assert brief.startswith("baseline auto: face 1 is seen for less than 4 s")


def test_nothing_typed_is_an_error():
    with pytest.raises(ConfigError, match="baseline is empty"):
        Baseline.of(" ")


def model(resting):
    package = SimpleNamespace(name="some", resting=resting)
    text = {"neutral": [1, 0, 0, 0]}
    return SimpleNamespace(
        package=package,
        embed_text=lambda asked: np.array(
            [text.get(name, [0, 0, 0, 1]) for name in asked.labels], np.float32
        ),
    )


def test_a_package_without_a_usual_resting_face_says_so():
    with pytest.raises(ConfigError, match="knows no usual resting face"):
        Rest(model(None), "video.mp4", Baseline(auto=True), FaceConfig())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("http://h/neutral.jpg?token=1", "'http://h/neutral.jpg' is an address; download"),
        ("-", "read only once"),
    ],
)
def test_what_cannot_be_read_again_is_told_why(source, words):
    with pytest.raises(InputError, match=words):
        Rest(model(np.eye(4)[0]), "video.mp4", Baseline(source=source), FaceConfig())


def test_a_quarter_of_a_resting_frown_is_taken_out_and_a_usual_face_stays():
    usual = np.array([1, 0, 0, 0], np.float32)
    rest = Rest(model(usual), "video.mp4", Baseline(auto=True), FaceConfig())
    frown = unit(np.array([0.8, 0.6, 0, 0], np.float32))
    smiling = unit(np.array([0.5, 0.4, 0.8, 0], np.float32))
    frames = np.stack([frown] * 3 + [smiling] * 9)
    found = rest.quietest(frames * 7)  # frames are not of unit length
    assert found == pytest.approx(frown, abs=1e-6)
    assert rest.taken_out(frown, found) == pytest.approx(unit(np.array([0.85, 0.45, 0, 0])), abs=1e-6)
    assert np.argmax(rest.taken_out(smiling, found)) == 2
    assert rest.taken_out(smiling, usual) == pytest.approx(smiling, abs=1e-6)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("packages") / "tiny")))


@pytest.fixture(scope="module")
def three(tiny):
    """Two people side by side for 4 s, the left one nearer; from 5 to 8 s a third who stands where the left one was."""
    faces = np.random.default_rng(0).normal(size=(3, tiny.package.width)).astype(np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    boxes = [(0.0, 0.0, 200.0, 200.0), (300.0, 0.0, 400.0, 100.0), (0.0, 0.0, 200.0, 200.0)]

    def looks(tracks):
        quality = [Quality(boxes[track][3], 0.5, 0.7, 0.0, 0.0, 0.0) for track in range(3)]
        return [Look(track, 0.9, quality[track], faces[track], None, boxes[track]) for track in tracks]

    key = Key(tiny.package.seen_by, rate=10.0)
    recording = Recording("three.mp4", 8.0, key, tiny.package.width)
    recording.frames += [
        (at / 10, looks((0, 1) if at < 40 else (2,) if at >= 50 else ())) for at in range(80)
    ]
    return recording


LABELS = ["smiling", "sad"]


def read(tiny, source, **options):
    """Each face's first probabilities, and the warnings."""
    timeline = tiny.timeline(source, LABELS, **options).read()
    probs = {row.track_id: row.probs["smiling"] for row in reversed(timeline.windows) if row.status == "ok"}
    return probs, timeline.warnings


def without(tiny, recording, track):
    """By hand: probabilities of a face in which a quarter of itself is taken out."""
    seen = [look.embedding for _, looks in recording.frames for look in looks if look.track_id == track]
    clip = tiny.embed_clip(np.stack(seen[:20]))
    moved = unit(clip - 0.25 * (clip - tiny.package.resting))
    return tiny.probabilities(moved, tiny.embed_text(LABELS))[0]


@pytest.mark.parametrize("stretch", ["0-3", "1-60", "3.5-4.5"])
def test_each_face_has_its_own_rest_of_a_stretch_and_who_is_not_seen_in_it_none(tiny, three, stretch):
    plain, _ = read(tiny, three)
    moved, told = read(tiny, three, baseline=stretch)
    own = {track: without(tiny, three, track) for track in (0, 1)}
    assert moved[0] == pytest.approx(own[0], abs=1e-5)
    assert moved[1] == pytest.approx(own[1], abs=1e-5)
    if stretch == "1-60":
        assert moved[2] == pytest.approx(without(tiny, three, 2), abs=1e-5)
        assert told == ["baseline 1-60: only 1.00 to 8.00 s of it are there"]
    else:
        assert moved[2] == plain[2]
        assert told == [
            f"baseline {stretch}: face 2 is not seen well enough in it: nothing is taken out; name a stretch that "
            "shows everybody, or auto"
        ]


@pytest.mark.parametrize("baseline", ["0-1", "auto"])
def test_a_face_of_a_single_moment_is_not_taken_out_of_itself(tiny, three, media, baseline):
    picture = media / "single_face.jpg"
    moved = tiny.classify(picture, LABELS, baseline=baseline)
    assert moved.faces[0].probs == tiny.classify(picture, LABELS).faces[0].probs
    assert read(tiny, picture, baseline=baseline)[0] == read(tiny, picture)[0]
    other = "a stretch or a file" if baseline == "auto" else "a file"
    line = f"face 0 is seen at a single moment: nothing is taken out; name {other}"
    assert moved.warnings[-1].endswith(line)
    once = replace(three, frames=three.frames[:1])
    assert read(tiny, once, baseline=baseline)[0] == read(tiny, once)[0]
    # One frame of a face that is seen at others too, may show its rest.
    two = replace(three, frames=three.frames[:6:5])
    for stretch in ("0-0.1", "0.4-0.6"):
        moved, told = read(tiny, two, baseline=stretch)
        assert told == []
        assert moved != read(tiny, two)[0]


def test_windows_before_the_stretch_wait_for_it(tiny, three):
    moved, _ = read(tiny, three, baseline="3.5-4.5", windows=WindowConfig(1.0, 1.0))
    assert moved[1] == pytest.approx(without(tiny, three, 1), abs=1e-5)


def test_one_face_taken_out_of_several_is_told(tiny, three, tmp_path):
    three.write(tmp_path / "calm.npz")
    line = "the resting face of one person is taken out of faces 0, 1, 2; unless they are one, name a stretch"
    _, (told,) = read(tiny, three, baseline=str(tmp_path / "calm.npz"))
    assert told.startswith(f"baseline calm.npz: {line}")
    _, (told,) = read(tiny, three, baseline="0-2", start_s=2.5)
    assert told.startswith("baseline 0-2: the resting face of one person is taken out of faces 0, 1, 2")
    assert read(tiny, three, baseline="0-3", start_s=5)[1] == []  # one face alone is read


@pytest.mark.parametrize("mode", ["all", "largest"])
def test_a_clip_and_its_only_face_keep_their_stretch(tiny, media, mode):
    video = media / "single_face.mp4"
    rest = Rest(tiny, video, Baseline.of("0-1"), FaceConfig(mode)).found
    moved = tiny.classify(video, LABELS, faces=mode, baseline="0-1")
    as_file = tiny.classify(video, LABELS, faces=mode, baseline=Baseline(str(video), 0.0, 1.0))
    assert rest is not None
    assert moved.faces[0].probs == as_file.faces[0].probs != tiny.classify(video, LABELS).faces[0].probs
    assert moved.warnings == []


def turned(recording, track, from_s, to_s, yaw=60.0):
    """The recording with a face turned away for a while, in which it looks like somebody else."""
    frames = [
        (
            at,
            [
                replace(look, quality=replace(look.quality, yaw=yaw), embedding=np.roll(look.embedding, 1))
                if look.track_id == track and from_s <= at < to_s
                else look
                for look in looks
            ],
        )
        for at, looks in recording.frames
    ]
    return replace(recording, frames=frames)


def test_frames_that_a_cut_off_leaves_out_are_nobodys_resting_face(tiny, three, tmp_path):
    cut_off = WindowConfig(max_yaw=30.0)
    plain, _ = read(tiny, three)
    away = turned(three, 0, 0.0, 2.0)
    for stretch in ("1-4", "auto"):  # what is left of the stretch is as if nobody had turned away
        moved, _ = read(tiny, away, baseline=stretch, windows=cut_off)
        assert moved[0] == pytest.approx(without(tiny, three, 0), abs=1e-5)
    away.write(tmp_path / "away.npz")
    moved, _ = read(tiny, three, baseline=str(tmp_path / "away.npz"), windows=cut_off)
    assert moved[0] == pytest.approx(without(tiny, three, 0), abs=1e-5)
    moved, told = read(tiny, away, baseline="0-1.5", windows=cut_off)
    assert moved[0] == plain[0]
    assert moved[1] == pytest.approx(without(tiny, three, 1), abs=1e-5)
    assert told == [
        "baseline 0-1.5: faces 0, 2 are not seen well enough in it: nothing is taken out; name a stretch that shows "
        "everybody, or auto"
    ]
    everybody = turned(turned(three, 0, 0.0, 2.0), 1, 0.0, 2.0)
    everybody.write(tmp_path / "everybody.npz")
    with pytest.raises(
        InputError, match=r"baseline 0-1\.5: .*everybody\.npz: no face is seen well enough in it"
    ):
        read(
            tiny, three, baseline=Baseline(tmp_path / "everybody.npz", start_s=0, end_s=1.5), windows=cut_off
        )


@pytest.mark.parametrize(("start_s", "who"), [(0.0, "faces 0, 1, 2 are"), (4.0, "face 2 is")])
def test_where_nobody_is_seen_in_a_stretch_nothing_is_taken_out_and_a_line_says_so(tiny, three, start_s, who):
    cut_off = WindowConfig(max_yaw=30.0)
    nobody = turned(turned(three, 0, 0.0, 2.0), 1, 0.0, 2.0)
    plain, _ = read(tiny, nobody, windows=cut_off, start_s=start_s)
    moved, told = read(tiny, nobody, baseline="0-1.5", windows=cut_off, start_s=start_s)
    assert moved == plain
    assert told == [
        f"baseline 0-1.5: {who} not seen well enough in it: nothing is taken out; name a stretch that shows "
        "everybody, or auto"
    ]
    with pytest.raises(InputError, match=r"only 0\.00 to 8\.00 s were recorded"):
        read(tiny, nobody, baseline="60-61", windows=cut_off)


def sparse(tiny, seconds, looks_at):
    """Frames at 24 a second of one face, of which 16 a second are embedded; looks_at gives each its embedding."""
    sampler, box = Sampler(16.0), (0.0, 0.0, 200.0, 200.0)
    recording = Recording("one.mp4", seconds, Key(tiny.package.seen_by, rate=16.0), tiny.package.width)
    for at in range(round(24 * seconds)):
        face = looks_at(at / 24)
        taken = face is not None and sampler.takes(at / 24)
        look = Look(0, 0.9, Quality(200.0, 0.5, 0.7, 0.0, 0.0, 0.0), face if taken else None, None, box)
        recording.frames.append((at / 24, [] if face is None else [look]))
    return recording


@pytest.mark.parametrize("step_s", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("seen_s", [3.0, 4.0])
def test_auto_counts_the_time_in_which_a_face_is_seen_whatever_the_step(tiny, step_s, seen_s):
    face = np.random.default_rng(1).normal(size=tiny.package.width).astype(np.float32)
    # Out of the picture for half a second in between, and windows reach beyond what is seen.
    recording = sparse(
        tiny, 9.0, lambda at: face if 2 <= at < 3 or 3.5 - 1e-6 <= at < seen_s + 2.5 - 1e-6 else None
    )
    _, told = read(tiny, recording, baseline="auto", windows=WindowConfig(2.0, step_s))
    line = "baseline auto: face 0 is seen for less than 4 s, which may be one expression"
    assert [each[: len(line)] for each in told] == ([line] if seen_s < 4 else [])


def test_auto_takes_each_frame_once_whatever_the_step(tiny):
    random = np.random.default_rng(2)
    recording = sparse(tiny, 6.0, lambda at: random.normal(size=tiny.package.width).astype(np.float32))
    read_of = recording.between(0.0, None, embedding_rate(tiny, 2.0))
    frames = [look.embedding for _, looks in read_of for look in looks if look.embedding is not None]
    rests = []
    for step_s in (0.1, 0.5, 2.0):
        stream = tiny.timeline(recording, LABELS, baseline="auto", windows=WindowConfig(2.0, step_s))
        stream.read()
        rests.append(stream.rest.of(0))
        assert rests[-1] == pytest.approx(stream.rest.quietest(np.stack(frames)))
    assert len({rest.tobytes() for rest in rests}) == 1


def test_auto_of_a_clip_counts_the_time_in_which_a_face_is_seen(tiny, media):
    face = media / "single_face.mp4"  # 2.4 s
    pictures = [frame.image for frame in open_video(face)]
    told = tiny.classify(pictures, LABELS, baseline="auto", fps=30).warnings
    assert [line.split(",")[0] for line in told] == ["baseline auto: face 0 is seen for less than 4 s"]
    assert tiny.classify(pictures[:60], LABELS, baseline="auto", fps=15).warnings == []  # 4 s
    slow = ((float(at), picture) for at, picture in enumerate(pictures[:5]))  # with times of their own
    assert tiny.classify(slow, LABELS, baseline="auto", faces="full").warnings == []

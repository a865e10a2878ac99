"""A person's resting face: what may be typed, and that taking it out moves a frown to neutral."""

import os
from types import SimpleNamespace
from typing import get_args, get_type_hints

import numpy as np
import pytest
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.config import FaceConfig, WindowConfig
from emoclip.errors import ConfigError, InputError
from emoclip.model import unit
from emoclip.recording import Key, Look, Recording
from emoclip.results import Quality
from emoclip.timeline import Baseline, Rest
from emoclip.timeline.stream import TimelineStream


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
    rest.meet({0: (smiling[None], 0.0), 1: (smiling[None], 3.9), 2: (smiling[None], 4.0)})
    assert [list(rest.of(track)) for track in range(3)] == [list(usual), list(smiling), list(smiling)]
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
        assert told == ["baseline 1-60: only 1.00 to 7.90 s of it are there"]
    else:
        assert moved[2] == plain[2]
        assert told == [
            f"baseline {stretch}: face 2 is not seen in it: nothing is taken out; name a stretch that shows everybody, "
            "or auto"
        ]


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

"""A person's resting face: what may be typed, and that taking it out moves a frown to neutral."""

from types import SimpleNamespace

import numpy as np
import pytest

from emoclip.config import FaceConfig
from emoclip.errors import ConfigError, InputError
from emoclip.model import unit
from emoclip.timeline import Baseline, Rest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", Baseline(auto=True)),
        ("Auto ", Baseline(auto=True)),
        ("0-3.5", Baseline(start_s=0, end_s=3.5)),
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
    found = rest.per_track({0: (smiling[None], 0.0), 1: (smiling[None], 3.9), 2: (smiling[None], 4.0)})
    assert [list(found[track]) for track in range(3)] == [list(usual), list(smiling), list(smiling)]
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
    found = rest.of(frames * 7)  # frames are not of unit length
    assert found == pytest.approx(frown, abs=1e-6)
    assert rest.taken_out(frown, found) == pytest.approx(unit(np.array([0.85, 0.45, 0, 0])), abs=1e-6)
    assert np.argmax(rest.taken_out(smiling, found)) == 2
    assert rest.taken_out(smiling, usual) == pytest.approx(smiling, abs=1e-6)

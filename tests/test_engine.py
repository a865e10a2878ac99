"""The main path, on tiny packages for its rules and on the bundled model for its sense."""

import inspect
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import get_args, get_type_hints

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from packages import tiny_package
from PIL import Image
from videos import noise

from emoclip import EmoCLIP
from emoclip.config import FaceConfig
from emoclip.errors import ConfigError, InputError, InputWarning, LabelWarning, PackageError
from emoclip.model import unit
from emoclip.prompts import resolve
from emoclip.recording import Key, Recording
from emoclip.timeline import Baseline
from emoclip.video import open_video, read_picture

LABELS = ["smiling", "sad", "surprised"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("tiny") / "p", frames_per_clip=4)))


@pytest.fixture(scope="module")
def mini():
    return EmoCLIP.load()


def frames(count: int, seed: int = 0):
    return np.random.default_rng(seed).integers(0, 256, (count, 40, 32, 3), np.uint8)


def test_probabilities_are_the_softmax_of_scaled_cosines(tiny):
    clip = unit(np.array([1, 2] + [0] * 14, np.float32))
    text = unit(np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32))
    logits = np.exp(tiny.package.logit_scale * (text.astype(float) @ clip.astype(float)))
    np.testing.assert_allclose(tiny.probabilities(clip, text), logits / logits.sum())


def test_a_score_is_the_curve_of_the_packages_own_and_knows_no_other_label(tiny):
    clip = unit(np.array([1, 2] + [0] * 14, np.float32))
    text = tiny.embed_text(LABELS)
    scores = tiny.intensities(clip, text)
    cosines = text.astype(float) @ clip.astype(float)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-(4.0 * cosines - 1.0))))
    alone = tiny.intensities(clip, tiny.embed_text(["surprised", "bored"]))
    assert alone[0] == pytest.approx(scores[2], abs=1e-7)


def test_scores_are_in_the_result_only_where_asked(tiny):
    plain = tiny.classify(frames(6), LABELS, faces="full").to_dict()["faces"][0]
    assert "scores" not in plain
    scored = tiny.classify(frames(6), LABELS, faces="full", scores=True).to_dict()["faces"][0]
    assert list(scored["scores"]) == LABELS
    assert all(0 <= score <= 1 for score in scored["scores"].values())
    assert scored["probs"] == plain["probs"]
    both = tiny.classify_many([frames(6), "no.mp4"], LABELS, faces="full", scores=True)
    assert [f"score:{LABELS[0]}" in result.columns() for result in both] == [True, True]
    few = tiny.classify(frames(6), LABELS[1:], faces="full", scores=True).faces[0].scores
    assert few == {label: scored["scores"][label] for label in LABELS[1:]}


def test_a_package_without_a_curve_says_so(tmp_path):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p", calibrated=False)))
    with pytest.raises(ConfigError, match="no calibrated scores; leave scores out"):
        model.classify(frames(2), LABELS, faces="full", scores=True)


@pytest.mark.parametrize("baseline", [Baseline(auto=True), Baseline(start_s=0.0, end_s=0.2)])
def test_a_resting_face_is_taken_out_of_a_clip(tiny, baseline):
    pictures = frames(6)
    plain = tiny.classify(pictures, LABELS, faces="full").faces[0].probs
    moved = tiny.classify(pictures, LABELS, faces="full", baseline=baseline).faces[0].probs
    assert moved != plain
    if (
        not baseline.auto
    ):  # by hand: a quarter of the first frames' clip less the usual face, which is .25 throughout
        # Of 25 frames a second, those that fill a clip of 4: 4 in .2 and .24 seconds.
        rest, clip = (
            tiny.embed_clip(tiny.embed_frames(list(pictures[at]))) for at in ([0, 2, 3, 4], [0, 2, 3, 5])
        )
        expected = tiny.probabilities(unit(clip - 0.25 * (rest - 0.25)), tiny.embed_text(LABELS))
        assert list(moved.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_rate_that_cannot_act_on_a_video_is_told(tiny, media):
    found = tiny.classify(media / "single_face.mp4", LABELS, end_s=0.5, fps=10)
    assert found.warnings == ["fps=10: cannot act on a video, whose frames have their own times"]


@pytest.mark.parametrize("fps", [25.0, 10.0])
def test_a_resting_stretch_past_the_end_is_told(tiny, fps):
    pictures, last_s = frames(6), 6 / fps
    for inside in (last_s / 2, last_s, last_s + 0.05):  # a little more was only rounded
        baseline = Baseline(start_s=0.0, end_s=inside)
        assert tiny.classify(pictures, LABELS, faces="full", fps=fps, baseline=baseline).warnings == []
        assert tiny.timeline(pictures, LABELS, faces="full", fps=fps, baseline=baseline).read().warnings == []
    note = f"baseline 0.1-60: only 0.10 to {last_s:.2f} s of it are there"
    for ask in (tiny.classify, lambda *given, **options: tiny.timeline(*given, **options).read()):
        found = ask(pictures, LABELS, faces="full", fps=fps, baseline=Baseline(start_s=0.1, end_s=60.0))
        assert found.warnings == [note]
        with pytest.raises(
            InputError, match=rf"^baseline 50-60: .*50 s is past the end; it lasts {last_s:.2f}"
        ):
            ask(pictures, LABELS, faces="full", fps=fps, baseline=Baseline(start_s=50.0, end_s=60.0))


def test_a_compound_is_the_average_of_its_parts(tiny):
    happy, surprised, both = tiny.embed_text(resolve("happy, surprised, happy+surprised"))
    np.testing.assert_allclose(both, unit((happy + surprised) / 2), atol=1e-6)


def test_a_label_is_the_average_of_its_sentences(tiny):
    one, two, both = tiny.embed_text(
        {"one": "a slight smile", "two": "laughing", "both": ["a slight smile", "laughing"]}
    )
    np.testing.assert_allclose(both, unit((one + two) / 2), atol=1e-6)


def test_short_clips_are_stretched_and_long_ones_covered(tiny):
    clip = tiny.embed_frames(list(frames(10)))
    stretched = unit(tiny.runtime.temporal(clip[[0, 0, 1, 1]][None])[0])
    np.testing.assert_allclose(tiny.embed_clip(clip[:2]), stretched, atol=1e-6)
    windows = unit(tiny.runtime.temporal(np.stack([clip[0:4], clip[3:7], clip[6:10]])))
    np.testing.assert_allclose(tiny.embed_clip(clip), unit(windows.mean(axis=0)), atol=1e-6)


def test_full_frames_need_no_face(tiny):
    result = tiny.classify(frames(6), LABELS, faces="full")
    assert result.status == "ok"
    (face,) = result.faces
    assert (face.track_id, face.frames, face.coverage) == (0, 6, 1.0)
    assert sum(face.probs.values()) == pytest.approx(1, abs=1e-5)
    assert face.top == max(face.probs, key=face.probs.get)


def test_every_input_form_gives_the_same_answer(tiny, tmp_path):
    from PIL import Image

    pictures = frames(5)
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index}.png")
    by_array = tiny.classify(pictures, LABELS, faces="full").faces[0].probs
    by_list = tiny.classify(list(pictures), LABELS, faces="full").faces[0].probs
    by_folder = tiny.classify(str(folder), LABELS, faces="full", one_clip=True).faces[0].probs
    assert by_array == by_list == by_folder


def test_a_file_that_does_not_tell_its_length_is_as_long_as_it_was_read(tiny, tmp_path):
    """As browsers record: a WebM that began to be written before its length was known."""
    path = tmp_path / "a.webm"
    with av.open(str(path), "w", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
        for picture in noise(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert open_video(path).duration_s is None
    assert tiny.classify(path, LABELS, faces="full").duration_s == pytest.approx(1.2, abs=0.05)
    assert tiny.classify(path, LABELS, faces="full", start_s=0.5).duration_s == pytest.approx(1.2, abs=0.05)
    assert tiny.classify(path, LABELS, faces="full", end_s=0.65).duration_s == 0.65
    for each_s in (0.2, 1.0, 5.0):  # its frames', whatever fps stands for those without times
        slow = ((at * each_s, picture) for at, picture in enumerate(noise(4)))
        assert tiny.classify(slow, LABELS, faces="full").duration_s == pytest.approx(4 * each_s)
    assert tiny.classify(iter(noise(1)), LABELS, faces="full").duration_s == 0  # as of a picture alone


def test_a_picture_without_a_face_is_a_result(tiny):
    result = tiny.classify(np.full((120, 160, 3), 127, np.uint8), LABELS)
    assert (result.status, result.faces) == ("no_face", [])


def test_two_runs_are_identical(tiny):
    assert tiny.classify(frames(9), LABELS, faces="full") == tiny.classify(frames(9), LABELS, faces="full")


def test_progress_reaches_the_end(tiny):
    seen = []
    tiny.classify(frames(50), LABELS, faces="full", progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(49 / 25, abs=0.01)


def test_the_text_tower_is_let_go_before_a_film_and_kept_between_pictures(tiny, media, monkeypatch):
    monkeypatch.setenv("EMOCLIP_TEXT_CACHE", "0")
    first = tiny.classify(frames(1), ["happy", "sad"], faces="full")
    assert "_text" in vars(tiny.runtime)
    tiny.classify(media / "no_face.mp4", ["happy", "sad"], faces="full", end_s=0.2)
    assert "_text" not in vars(tiny.runtime)
    assert tiny.classify(frames(1), ["happy", "sad"], faces="full") == first


def test_watch_embeds_at_the_asked_rate_and_yields_every_frame(tiny):
    from emoclip.video.inputs import open_video

    with open_video(frames(50)) as video:  # 2 s at 25 frames a second
        seen = list(tiny.watch(video, FaceConfig(mode="full"), rate=5.0))
    assert len(seen) == 50
    embedded = [frame.time_s for frame in seen if frame.faces[0].embedding is not None]
    np.testing.assert_allclose(embedded, np.arange(10) / 5, atol=1e-6)


def test_unknown_modes_and_labels_are_refused(tiny):
    with pytest.raises(ConfigError, match="largest, all, full"):
        tiny.classify(frames(1), LABELS, faces="some")
    with pytest.raises(InputError, match="at least 2"):
        tiny.classify(frames(1), ["one"])
    with pytest.raises(InputError, match=r"nowhere\.mp4"):
        tiny.classify("nowhere.mp4", LABELS)


@pytest.mark.parametrize(("start", "end", "top"), [(12, 19, "smiling or laughing"), (1, 6, "crying or sad")])
def test_the_bundled_model_reads_a_real_video(mini, media, start, end, top):
    labels = ["smiling or laughing", "crying or sad"]
    result = mini.classify(media / "WolfgangLanger_Pexels.mp4", labels, start_s=start, end_s=end)
    assert result.status == "ok"
    (face,) = result.faces
    assert face.top == top
    assert start <= face.start_s <= face.end_s <= end
    assert face.coverage >= 0.97


def test_all_faces_are_ranked_by_size(mini, media):
    result = mini.classify(media / "multi_face.jpg", "smiling, sad, angry", faces="all")
    assert len(result.faces) >= 4
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (face.box for face in result.faces)]
    assert areas == sorted(areas, reverse=True)
    assert sum(face.top == "smiling" for face in result.faces) >= 4
    assert len(mini.classify(media / "multi_face.jpg", "smiling, sad", faces="largest").faces) == 1
    for told in result.to_dict()["faces"]:  # where in the picture, which is 1000x667
        x0, y0, x1, y1 = told["box"]
        assert told["seen_at_s"] == 0
        assert -50 < x0 < x1 < 1050
        assert -50 < y0 < y1 < 717


def test_a_folder_of_pictures_that_are_not_alike_is_no_single_input_unless_it_is_said(tiny, tmp_path):
    for at, picture in enumerate(frames(3)):
        Image.fromarray(picture).save(tmp_path / f"{at}.png")
    asked = (
        lambda **options: tiny.classify(tmp_path, LABELS, **options).duration_s,
        lambda **options: tiny.timeline(str(tmp_path), LABELS, **options).read().duration_s,
        lambda **options: tiny.record(tmp_path, **options).duration_s,
    )
    for ask in asked:
        with pytest.raises(
            InputError, match=r"3 pictures not alike, .*`classify_many`.*; one_clip=True reads them"
        ):
            ask(faces="full")
        assert ask(faces="full", one_clip=True) == pytest.approx(3 / 25)
    with pytest.warns(InputWarning, match="read one by one") as told:
        assert len(list(tiny.classify_many(tmp_path, LABELS, faces="full"))) == 3
    assert [line.filename for line in told] == [__file__]
    assert len(list(tiny.classify_many(tmp_path, LABELS, faces="full", one_clip=True))) == 1
    for alone in sorted(tmp_path.iterdir())[1:]:
        alone.unlink()
    assert tiny.classify(tmp_path, LABELS, faces="full").duration_s == 0
    with pytest.raises(ConfigError, match="one_clip='yes' must be True or False"):
        tiny.classify(tmp_path, LABELS, one_clip="yes")


def test_frames_that_a_program_gives_are_read_as_they_come(tiny):
    pictures = frames(100)
    given = []

    def feed():
        for at, picture in enumerate(pictures):
            given.append(at)
            yield at / 25, picture

    whole = tiny.timeline(pictures, LABELS, faces="full").read()
    told = [(len(given), window) for window in tiny.timeline(feed(), LABELS, faces="full")]
    assert [window.start_s for _, window in told] == [window.start_s for window in whole.windows]
    assert told[0][0] < 80  # the first came long before the last frame
    assert told[0][1].probs == pytest.approx(whole.windows[0].probs, abs=1e-5)
    one, other = (
        tiny.classify(feed(), LABELS, faces="full"),
        tiny.classify(iter(pictures), LABELS, faces="full"),
    )
    assert one.faces == other.faces
    assert (one.input, one.duration_s) == ("iterator of frames", 4.0)
    assert len(tiny.record(feed(), faces="full").frames) == 100
    for ask in (tiny.classify, tiny.timeline):
        with pytest.raises(InputError, match="baseline: 'iterator of frames' can be read only once"):
            ask(feed(), LABELS, faces="full", baseline="0-1")


def test_faces_beyond_the_most_that_are_read_are_told(tiny, media):
    crowd = np.tile(read_picture(media / "single_face.jpg"), (1, 3, 1))
    two, three = (FaceConfig("all", max_faces=most) for most in (2, 3))
    cut = tiny.classify(crowd, LABELS, faces=two)
    assert len(cut.faces) == 2
    assert cut.warnings == [
        "at 0.00 s: more faces than 2, the 2 largest are read; raise --max-faces "
        "(from Python, FaceConfig(max_faces=...))"
    ]
    film = np.stack([crowd] * 4)
    [line] = tiny.timeline(film, LABELS, faces=two).read().warnings
    assert line.endswith("(4 times from there)")
    assert tiny.record(film, faces=two).warnings == [line]
    assert tiny.classify(crowd, LABELS, faces=three).warnings == []
    assert tiny.classify(crowd, LABELS, faces=FaceConfig("largest", max_faces=2)).warnings == []


def test_no_face_in_a_video_without_one(mini, media):
    assert mini.classify(media / "no_face.mp4", "seven").status == "no_face"


def test_none_of_these_wins_where_no_label_reaches_the_threshold(tiny):
    labels = ["smiling", "crying", "None of these"]
    tiny.package.config["rejection"] = {"threshold": 0.3}
    text = tiny.embed_text(labels)
    near, far = text[0], unit(text[0] - (text[0] @ text[1]) * text[1] - 2 * text[0] - text[1])
    assert (far @ text[:2].T).max() < 0.3
    assert tiny.probabilities(near, text).argmax() == 0
    assert tiny.probabilities(far, text).argmax() == 2
    shares = tiny.probabilities(near, text)
    assert shares[2] / shares[0] == pytest.approx(np.exp(tiny.package.logit_scale * (0.3 - 1)), rel=1e-4)


def test_none_of_these_needs_a_package_with_a_threshold(tiny):
    tiny.package.config.pop("rejection", None)
    with pytest.raises(ConfigError, match="has no threshold"):
        tiny.embed_text("seven, none of these")


def test_many_inputs_are_done_though_one_is_bad(tiny, media, tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"no video")
    recording = Recording("a", 1.0, Key(""), 4)
    sources = [media / "single_face.jpg", tmp_path / "no.mp4", [recording], np.zeros((64, 64, 3), np.uint8)]
    first, second, listed, third = tiny.classify_many(sources, ["calm", "joyful"])
    assert first == tiny.classify(media / "single_face.jpg", ["calm", "joyful"])
    assert (second.status, second.faces) == ("error", [])
    assert second.error.startswith(f"{tmp_path / 'no.mp4'}: ")
    assert (listed.status, third.status) == ("error", "no_face")


class LostError(Exception):
    pass


def given_until(error):
    yield from frames(3)
    raise error


def test_a_programs_frames_that_fail_are_one_input_of_many(tiny):
    with pytest.raises(InputError, match=r"^iterator of frames: reading it failed \(no signal\)"):
        tiny.classify(given_until(ConnectionError("no signal")), LABELS, faces="full")
    with pytest.raises(LostError):  # whoever raises it may want to catch it
        tiny.classify(given_until(LostError("cable")), LABELS, faces="full")
    sources = [given_until(ConnectionError("no signal")), given_until(LostError("cable")), frames(2)]
    *failed, done = tiny.classify_many(sources, LABELS, faces="full")
    assert [result.error for result in failed] == [
        "iterator of frames: reading it failed (no signal); begin it again",
        "iterator of frames: LostError: cable",
    ]
    assert (done.status, {result.input for result in failed}) == ("ok", {"iterator of frames"})


def test_what_a_function_for_progress_raises_ends_many(tiny):
    def stop(done_s):
        raise LostError

    with pytest.raises(LostError):
        list(tiny.classify_many([iter(frames(2)), frames(2)], LABELS, faces="full", progress=stop))


def test_many_leave_an_iterator_to_who_gave_it(tiny):
    given = (frame for frame in frames(9))
    [result] = tiny.classify_many([given], LABELS, faces="full", end_s=0.1)
    assert result.status == "ok"
    assert len(list(given)) == 5


def test_a_name_of_bytes_that_the_system_gives_is_a_name(tiny, tmp_path):
    Image.fromarray(frames(1)[0]).save(tmp_path / "a.png")
    [entry] = os.scandir(os.fsencode(tmp_path))
    result = tiny.classify(entry, LABELS, faces="full")
    assert result == tiny.classify(str(tmp_path / "a.png"), LABELS, faces="full")
    assert [result] == list(tiny.classify_many([entry], LABELS, faces="full"))
    assert tiny.classify([entry], LABELS, faces="full").faces == result.faces
    assert tiny.timeline(entry, LABELS, faces="full").read().input == result.input
    assert tiny.record(entry, faces="full").called == result.input
    assert Baseline.of(entry) == Baseline(source=result.input)


def test_an_input_has_one_name_whether_it_can_be_read_or_not(tiny, media):
    content = (media / "single_face.jpg").read_bytes()
    picture = np.zeros((9, 9, 3), np.uint8)
    for good, bad in ((content, b"no"), ([content], [b"no"]), (picture, picture * np.nan)):
        read, unread = tiny.classify_many([good, bad], LABELS, faces="full")
        assert [read.status, unread.status] == ["ok", "error"]
        assert read.input == unread.input


def test_a_folder_and_a_pattern_stand_for_many_inputs(tiny, media, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).symlink_to(media / f"{'single' if name == 'a.jpg' else 'multi'}_face.jpg")
    expected = [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    for sources in (tmp_path / "*.jpg", [str(tmp_path / "[ab].jpg")]):
        assert [found.input for found in tiny.classify_many(sources, LABELS)] == expected
    with pytest.warns(
        InputWarning,
        match=r"not alike, read one by one; --one-clip \(from Python, one_clip=True\) reads them as frames",
    ):
        assert [found.input for found in tiny.classify_many(tmp_path, LABELS)] == expected


def test_a_single_picture_is_not_taken_for_the_face_at_rest(mini, media):
    picture = media / "single_face.jpg"
    plain, moved = (mini.classify(picture, LABELS, baseline=given) for given in (None, "auto"))
    assert moved.faces == plain.faces
    assert "at a single moment" in moved.warnings[0]
    plain, moved = (mini.timeline(picture, LABELS, baseline=given).read() for given in (None, "auto"))
    assert moved.windows[0].probs == pytest.approx(plain.windows[0].probs, abs=1e-6)
    assert "at a single moment" in moved.warnings[0]


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.classify("a.mp4", LABELS, start_s="1"),
        lambda model: model.classify("a.mp4", LABELS, baseline=3),
        lambda model: model.timeline("a.mp4", LABELS, end_s="1"),
        lambda model: model.record("a.mp4", window_s="a"),
        lambda model: model.record("a.mp4", window_s=0),
        lambda model: EmoCLIP.load(model.package.path, threads="a"),
        lambda model: model.classify("a.mp4", LABELS, scores="n"),
        lambda model: model.classify("a.mp4", LABELS, allow_urls="n"),
        lambda model: model.timeline("a.mp4", LABELS, keep_pictures=0),
        lambda model: open_video("a.mp4", allow_urls="n"),
        lambda model: model.embed_text(LABELS, strict="n"),
        lambda model: Baseline(auto="n"),
        lambda model: model.classify("a.mp4", LABELS, progress=3),
        lambda model: model.timeline("a.mp4", LABELS, progress=3),
        lambda model: model.record("a.mp4", progress=3),
    ],
)
def test_settings_of_the_wrong_kind_are_named(tiny, call):
    with pytest.raises(ConfigError, match=r"=('\w'|\d)"):
        call(tiny)


@pytest.mark.parametrize(
    "call",
    [
        lambda model, array: model.classify("a.mp4", LABELS, baseline=array),
        lambda model, array: model.classify("a.mp4", LABELS, fps=array),
        lambda model, array: model.classify("a.mp4", LABELS, faces=array),
        lambda model, array: model.timeline("a.mp4", LABELS, windows=array),
        lambda model, array: EmoCLIP.load(model.package.path, precision=array),
        lambda model, array: EmoCLIP.load(model.package.path, provider=array),
        lambda model, array: EmoCLIP.load(array),
        lambda model, array: EmoCLIP.load("a" * 300),
        lambda model, array: EmoCLIP.load("~nobody-of-this-name/a"),
    ],
)
def test_whatever_stands_for_a_setting_the_error_is_one_short_line(tiny, call):
    with pytest.raises((ConfigError, PackageError)) as caught:
        call(tiny, np.zeros((60, 60, 3)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_model_goes_to_other_processes_and_is_shared_by_threads(tiny):
    crops = list(np.random.default_rng(0).integers(0, 255, (6, 20, 20, 3), np.uint8))
    expected = tiny.embed_frames(crops)
    again = pickle.loads(pickle.dumps(tiny))
    np.testing.assert_array_equal(again.embed_frames(crops), expected)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: tiny.embed_frames(crops), range(8)):
            np.testing.assert_array_equal(found, expected)


def vectors(model):
    return np.eye(2, model.package.width, dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model: model.embed_frames(None), "crops: None is no list"),
        (
            lambda model: model.embed_frames([np.zeros((9, 9), np.uint8)]),
            r"crops\[0\]: is uint8 of shape \(9, 9\)",
        ),
        (lambda model: model.embed_frames([np.full((9, 9, 3), np.nan)]), r"crops\[0\]: is float64"),
        (lambda model: model.embed_frames(["a.png"]), r"crops\[0\]: a str; give arrays"),
        (lambda model: model.embed_clip("a.mp4"), "frames: a str; give what `embed_frames` returns"),
        (lambda model: model.embed_clip(np.zeros((0, 1), np.float32)), r"frames: shape \(0, 1\)"),
        (
            lambda model: model.embed_clip(vectors(model) * np.nan),
            "frames: numbers that are infinite or undef",
        ),
        (lambda model: model.embed_clips([None]), "frames: None"),
        (lambda model: model.embed_clips(None), "clips: None"),
        (lambda model: model.compared([vectors(model)], None), "text: None"),
        (lambda model: model.watch(None, FaceConfig(), 8), "None, no Video"),
        *(
            (lambda model, ask=ask, clips=clips: ask(model)(clips(model), vectors(model)), words)
            for ask in (lambda model: model.probabilities, lambda model: model.intensities)
            for clips, words in (
                (lambda model: None, "clips: None; give what `embed_clip` returns"),
                (lambda model: vectors(model)[:, 1:], "clips: shape"),
                (lambda model: vectors(model) + np.inf, "clips: numbers that are infinite"),
                (lambda model: vectors(model).astype(object), "clips: an array of object"),
            )
        ),
        *(
            (lambda model, given=given: model.classify_many(given, LABELS), "a single input")
            for given in (3, b"", np.zeros((9, 9, 3), np.uint8), np.zeros((2, 3, 9, 9), np.uint8), BytesIO())
        ),
        (lambda model: model.embed_text(None), "labels: None is no list of labels; give"),
        (lambda model: model.embed_text(3), "labels: an int is no list of labels; give"),
        (lambda model: model.classify_many(["a.mp4"], ["a"]), "at least 2"),
    ],
)
def test_what_programs_mistake_is_named_in_one_line(tiny, call, words):
    with pytest.raises(InputError, match=words) as caught:
        call(tiny)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"start_s": -1}, "start_s=-1 s must be 0"),
        ({"faces": "bogus"}, "faces='bogus' is not one of"),
        ({"fps": 0}, "fps=0 must be"),
        ({"scores": "yes"}, "scores='yes' must be True or False"),
        ({"one_clip": 1}, "one_clip=1 must be True or False"),
        ({"baseline": "3-"}, "no START-END in seconds"),
        ({"progress": 3}, "progress=3 must be a function"),
    ],
)
def test_wrong_options_are_told_at_the_call_of_many(tiny, wrong, words):
    for ask, source in ((tiny.classify_many, ["none.mp4"]), (tiny.classify, "none.mp4")):
        with pytest.raises(ConfigError, match=words):
            ask(source, LABELS, **wrong)
    with pytest.raises(TypeError, match=r"classify_many.*'foo'"):
        tiny.classify_many(["none.mp4"], LABELS, foo=1)


def test_one_and_many_have_the_same_options():
    one, many = (inspect.signature(ask).parameters for ask in (EmoCLIP.classify, EmoCLIP.classify_many))
    assert list(one.values())[3:] == list(many.values())[3:]


def test_warnings_point_at_the_line_that_asked(tiny, mini):
    picture, labels = np.zeros((64, 64, 3), np.uint8), ["smiling", "smiling!"]
    for ask in (
        lambda: mini.classify(picture, labels, faces="full"),
        lambda: list(mini.classify_many([picture], labels, faces="full")),
        lambda: mini.timeline(picture, labels, faces="full"),
        lambda: mini.embed_text(labels),
    ):
        with pytest.warns(LabelWarning) as told:
            ask()
        assert {line.filename for line in told} == {__file__}
    with pytest.warns(RuntimeWarning, match="precision=int8") as more:
        EmoCLIP.load(tiny.package.path, precision="int8")
    assert {line.filename for line in more} == {__file__}


def test_an_array_stands_for_a_list_of_arrays_to_type_checkers_too(tiny):
    crops = frames(6)
    seen = tiny.embed_frames(crops)
    assert np.array_equal(seen, tiny.embed_frames(list(crops)))
    clips, text = seen.reshape(2, 3, -1), tiny.embed_text(LABELS)
    assert np.array_equal(tiny.embed_clips(clips), tiny.embed_clips(list(clips)))
    assert np.array_equal(tiny.compared(clips, text), tiny.compared(list(clips), text))
    for method, name, kind in (
        (EmoCLIP.embed_frames, "crops", np.uint8),
        (EmoCLIP.embed_clips, "clips", np.float32),
        (EmoCLIP.compared, "clips", np.float32),
    ):
        assert NDArray[kind] in get_args(get_type_hints(method)[name])


def test_labels_may_come_one_by_one_and_a_package_as_a_path(tiny):
    labels = ["smiling", "crying"]
    assert np.array_equal(tiny.embed_text(word for word in labels), tiny.embed_text(labels))
    assert EmoCLIP.load(Path(tiny.package.path)).package.name == tiny.package.name
    with pytest.raises(PackageError, match="not a model package"):
        EmoCLIP.load(Path("nowhere"))

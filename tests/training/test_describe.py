import numpy as np
import pytest

pytest.importorskip("torch")

from emoclip.training.describe import Population, cues, describe
from emoclip.training.mini.faces import MEASURES, mirrored_measures, read_faces

AT = {name: index for index, name in enumerate(MEASURES)}


@pytest.fixture(scope="module")
def population():
    # A population whose every measure has middle 0 and spread 1, but for the gaps of mouth and eyes.
    middle = np.zeros(len(MEASURES), np.float32)
    middle[AT["mouth_open"]] = 0.05
    return Population(middle, np.ones(len(MEASURES), np.float32))


def face(**changes):
    measures = np.zeros(len(MEASURES), np.float32)
    measures[AT["mouth_open"]] = 0.05
    for name, value in changes.items():
        measures[AT[name]] = value
    return measures


def parts(measures, population):
    return [cue.part for cue in cues(measures, population)]


def test_population_is_median_and_half_the_central_68_percent():
    values = np.tile(np.arange(101, dtype=np.float32)[:, None], (1, len(MEASURES)))
    population = Population.of(values)
    assert population.middle == pytest.approx(np.full(len(MEASURES), 50.0))
    assert population.spread == pytest.approx(np.full(len(MEASURES), 34.0))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"lip_corner_raise_left": 2, "lip_corner_raise_right": 2}, "corners up"),
        ({"lip_corner_raise_left": -2, "lip_corner_raise_right": -2}, "corners down"),
        ({"lip_corner_raise_left": 2}, "corner one-sided"),
        ({"eye_open_left": 2, "eye_open_right": 2}, "eyes wide"),
        ({"eye_open_left": -2, "eye_open_right": -2}, "eyes narrow"),
        ({"brow_gap": -2}, "brows together"),
        ({"head_pitch_proxy": 3}, "head down"),
    ],
)
def test_the_strongest_cue_is_what_was_changed(changes, part, population):
    assert parts(face(**changes), population)[0] == part


def test_sides_are_the_subjects_own(population):
    left = " ".join(describe(face(lip_corner_raise_left=3), population, 40))
    assert "left" in left
    assert "right" not in left


def test_a_turned_head_hides_one_sidedness(population):
    frontal = face(lip_corner_raise_left=2)
    turned = face(lip_corner_raise_left=2, head_yaw_proxy=3)
    assert "corner one-sided" in parts(frontal, population)
    assert "corner one-sided" not in parts(turned, population)


def test_strength_changes_the_words(population):
    mild = {c.phrases for c in cues(face(brow_gap=-1), population) if c.part == "brows together"}
    strong = {c.phrases for c in cues(face(brow_gap=-3), population) if c.part == "brows together"}
    assert mild
    assert strong
    assert mild.isdisjoint(strong)


def test_same_seed_same_sentences_other_seed_others(population):
    measures = face(brow_gap=-3, mouth_width=2, eye_open_left=2, eye_open_right=2)
    assert describe(measures, population, 5, seed=3) == describe(measures, population, 5, seed=3)
    assert describe(measures, population, 5, seed=3) != describe(measures, population, 5, seed=4)


def test_the_jaw_is_not_told_beside_an_open_mouth(population):
    assert "jaw" in parts(face(jaw_drop=3), population)
    assert "jaw" not in parts(face(jaw_drop=3, mouth_open=3), population)


def test_nothing_measured_gives_no_sentence(population):
    assert describe(np.full(len(MEASURES), np.nan, np.float32), population, 3) == []


def test_mirroring_twice_is_the_face_itself():
    measures = np.random.default_rng(0).normal(size=(5, len(MEASURES))).astype(np.float32)
    assert mirrored_measures(mirrored_measures(measures)) == pytest.approx(measures, abs=1e-6)


def test_real_smiles_and_surprise_are_described_so(shared):
    faces = read_faces(shared / "faces", "val")
    population = Population.of(faces.measures)

    def share(part, label):
        rows = [row for row in faces.measures[faces.labels == label] if np.isfinite(row).all()][:200]
        return np.mean([part in parts(row, population) for row in rows])

    happiness, neutral, surprise = 3, 4, 6
    assert share("corners up", happiness) > 2 * share("corners up", neutral)
    assert share("eyes wide", surprise) > 2 * share("eyes wide", neutral)

"""What is held out: near what is asked for, in whole groups; and of the real crops what figures were selected on."""

import hashlib

import numpy as np
import pytest

pytest.importorskip("torch")

from emoclip.training.mini.faces import held_out, near_duplicates, read_faces
from emoclip.training.mini.votes import read_votes

SHARES = (0.35, 0.2, 0.15, 0.12, 0.1, 0.05, 0.03)  # of seven classes


@pytest.mark.parametrize(("people", "clips", "most"), [(10, 40, 0.1), (20, 20, 0.15), (50, 20, 0.13)])
def test_whole_groups_come_near_the_share_that_is_asked_for(people, clips, most):
    groups = np.repeat(np.arange(people), clips)
    random = np.random.default_rng(0)
    shares = []
    for seed in range(50):
        labels = random.choice(len(SHARES), len(groups), p=SHARES)
        held = held_out(labels, groups, 0.1, seed)
        assert set(np.bincount(groups, held).tolist()) <= {0.0, float(clips)}
        shares.append(held.mean())
    assert min(shares) >= 0.09
    assert max(shares) <= most
    assert np.mean(shares) == pytest.approx(0.1, abs=0.005)


def test_one_large_group_among_small_ones_is_not_held_out():
    groups = np.append(np.zeros(90, int), np.arange(1, 21))
    for seed in range(20):
        held = held_out(np.arange(110) % 3, groups, 0.1, seed)
        assert not held[:90].any()
        assert 9 <= held.sum() <= 12


def test_where_every_group_is_too_large_the_nearest_is_held_out():
    groups = np.repeat([0, 1, 2], [50, 30, 40])
    held = held_out(np.zeros(120, int), groups, 0.05)
    np.testing.assert_array_equal(held, groups == 1)
    assert not held_out(np.arange(3), np.arange(3), 0.1).any()  # nothing is wanted of classes of one


def test_the_real_crops_are_split_as_when_the_models_were_selected(shared):
    root = shared / "faces"
    faces = read_faces(root, "train")
    groups = near_duplicates(faces.images)
    voted = read_votes(root, faces.paths).shares.argmax(1)
    parts = {
        (2752, "5b6bff92b0edc075"): held_out(voted, groups, 0.1),  # mini
        (1097, "8345ecf612a0b79f"): held_out(voted, groups, 0.04),  # mini's `unseen`
        (2747, "7b6c52799bc599c9"): held_out(
            faces.labels, groups, 0.1
        ),  # labelfree, and benchmarks/mini_heads
    }
    for expected, held in parts.items():
        assert (held.sum(), hashlib.sha256(held.tobytes()).hexdigest()[:16]) == expected

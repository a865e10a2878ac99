"""What windows count, and how steady they are, by hand."""

import unicodedata

import numpy as np
import pytest

from emoclip.codings.samples import CodedWindows, named
from emoclip.errors import InputError
from emoclip.recording import Key, Recording


def samples(starts: list[float], length: float, coded: list[bool], features=None) -> CodedWindows:
    start = np.array(starts)
    targets = np.where(np.array(coded)[:, None], [[1.0, 0.0]], np.nan)
    seen = np.ones((len(start), 2), np.float32) if features is None else np.array(features, np.float32)
    return CodedWindows(
        "v", "anyone", "v", start, start + length, seen, targets, np.ones(len(start)), codings=()
    )


def test_seconds_that_several_windows_cover_are_shared_among_them():
    # 0-2 and 1-3 share 1-2; 8-10 stands alone; 5-7 was not coded.
    part = samples([0, 1, 5, 8], 2.0, [True, True, False, True])
    assert part.own_s == pytest.approx([1.5, 1.5, 0, 2])
    assert part.weights == pytest.approx([0.75, 0.75, 0, 1])


def test_all_that_windows_bring_is_the_time_that_they_cover():
    part = samples([0.5 * at for at in range(20)], 2.0, [True] * 20)
    assert part.own_s.sum() == pytest.approx(11.5)
    assert part.own_s[8] == pytest.approx(0.5)


def test_a_picture_counts_as_one_and_nothing_coded_as_nothing():
    assert samples([0.0], 0.0, [True]).weights == pytest.approx([1])
    assert samples([0.0, 1.0], 2.0, [False, False]).weights == pytest.approx([0, 0])


def test_windows_are_steady_where_those_around_them_look_the_same():
    looks = [[1, 0]] * 5 + [[0, 1]] * 5
    part = samples([float(at) for at in range(10)], 1.0, [True] * 10, looks)
    assert part.steady == pytest.approx([1, 1, 1, 1, 0, 0, 1, 1, 1, 1])
    # Over a gap in which nothing could be read there is nothing to compare with.
    apart = samples([0, 1, 2, 3, 4, 20, 21, 22, 23, 24], 1.0, [True] * 10, looks)
    assert apart.steady == pytest.approx([1] * 10)
    assert samples([0.0], 1.0, [True]).steady == pytest.approx([1])


def names(*ways: str) -> list[str]:
    return list(named([Recording(way, None, Key(""), 4) for way in ways]))


def test_videos_of_one_name_are_named_by_as_much_of_their_way_as_tells_them_apart():
    assert names("/x/a.mp4", "b.mov", "standard input") == ["a", "b", "standard input"]
    assert names("/x/mon/talk.mp4", "C:\\y\\tue\\talk.mp4", "/x/a.mp4") == ["mon/talk", "tue/talk", "a"]
    assert names("/x/mon/1/talk.mp4", "/x/tue/1/talk.mp4") == ["mon/1/talk", "tue/1/talk"]
    assert names("gêne.mp4") == names(unicodedata.normalize("NFD", "gêne.mp4")) == ["gêne"]
    with pytest.raises(InputError, match=r"x/talk\.mov: another video given is called that too"):
        names("x/talk.mov", "x/talk.mp4")

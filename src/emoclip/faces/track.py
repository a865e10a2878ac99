"""One followed face, and which of the faces found now is which of those followed."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.faces.boxes import ABOUT, Box, Detection, about, blend, centre, moved, overlap, scaled, side
from emoclip.faces.camera import Camera
from emoclip.video import Pixels

Look = NDArray[np.float32]

LOOK_SIDE = 12  # side in pixels of the remembered look
ASIDE = 5  # of its pixels, that a face not found is looked for beside the place where it is expected
SETTLE = 0.7  # share of a new find that enters the place, the rest is where it was expected
REACH = 0.6  # sides of the box that a face may be off the place where it is expected,
WANDER = 1.2  # and as much more for each second in which it was not seen,
WANDER_S = 0.6  # up to so many: later it may be as far off, not farther
GROW = 0.45  # natural logarithm of how much larger or smaller it may be
LONG_S = 0.9  # who was not seen for longer has to look as before,
KNOWN = 0.4  # by this likeness at least, or is somebody new
ALIKE = 0.5  # likeness from which a faint find is that face, not something that hides it, and who is found where all
# changed at once is who was there
UNMOVED = 0.9  # likeness from which nothing changed in a place, and from which who is elsewhere after a cut is the same


@dataclass
class Tracklet:
    """A face through time; places in pixels of the frame, times in seconds, speeds in pixels a second."""

    id: int
    now: Detection  # where it is, smoothed
    now_s: float
    look: Look
    sure: bool  # worth reporting; else it waits for a second find
    before: Detection | None = None  # where it was at the look before `now`
    before_s: float = -1.0
    speed: tuple[float, float] = (0.0, 0.0)  # beside that of the camera
    edge_s: float = -math.inf  # where only one of two looks found it, when it came or went between them
    jumped: bool = False  # since it was seen, its place looked otherwise from one frame to the next
    camera: Camera = field(default_factory=Camera)
    known: bool = False  # reported at the last look
    finds: int = 1
    score: float = field(init=False)  # mean over its finds
    seen_s: float = field(init=False)  # when the detector last found it
    shown_s: float = field(init=False)  # when it was last seen, or partly past the edge

    def __post_init__(self) -> None:
        self.score, self.seen_s, self.shown_s = self.now.score, self.now_s, self.now_s

    def expected(self, time_s: float) -> Detection:
        """Where it should be at another time than that of `now`."""
        return _shifted(self.left(time_s), *self._way(time_s))

    def left(self, time_s: float) -> Detection:
        """Where it is at another time if it did not move but the camera did."""
        return self.camera.carried(self.now, self.now_s, time_s)

    def places(self, time_s: float) -> list[Box]:
        """Where to look for it: as it moved so far, or as the camera did since."""
        bare = Detection(self.now.box, self.now.score)
        left = self.camera.carried(bare, self.now_s, time_s).box
        return [moved(left, *self._way(time_s)), left]

    def see(self, found: Detection, look: Look, time_s: float) -> None:
        """Take in that it was found."""
        self.finds += 1
        self.score += (found.score - self.score) / self.finds
        there, step_s = self.expected(time_s), time_s - self.now_s
        if time_s - self.seen_s <= step_s and overlap(there.box, found.box) > 0.5:
            found = _between(there, found, SETTLE)
        left = self.left(time_s).box
        moves = [(new - old) / step_s for old, new in zip(centre(left), centre(found.box), strict=True)]
        share = 0.5 if self.before else 1.0
        self.speed = tuple(blend(self.speed, moves, share).tolist())
        self.look = np.asarray(blend(self.look, look, 0.3), np.float32)
        self._place(found, time_s)
        self.seen_s, self.shown_s, self.sure, self.jumped = time_s, time_s, True, False

    def hold(self, time_s: float, off: tuple[float, float] = (0.0, 0.0)) -> None:
        """Take it to be so many pixels off the place where it was expected."""
        place = _shifted(self.expected(time_s), *off)
        self.speed = tuple((self.speed + 0.5 * np.array(off) / (time_s - self.now_s)).tolist())
        self._place(place, time_s)

    def traced(self, pictures: Iterable[tuple[float, Pixels]], without: Pixels, width: int) -> float:
        """The last of the times at which it is where it should be, rather than what is there without it.

        pictures: times, away from `now`, and the frame then, (H, W, 3) uint8 of any size; `without` is that of the look
        which did not find it.  width: of the frames.
        """

        def there(time_s: float, picture: Pixels) -> Box:
            scale = picture.shape[1] / width
            return scaled(self.expected(time_s), scale, scale).box

        edge_s, empty = self.now_s, look_of(without, there(self.now_s, without))
        for time_s, picture in pictures:
            box = there(time_s, picture)
            like, gone = sought(picture, box, self.look)[0], likeness(look_of(picture, box), empty)
            if like < ALIKE or (gone > UNMOVED and gone > like):
                break
            edge_s = time_s
        return edge_s

    def at(self, time_s: float, last_s: float, look_s: float) -> Detection | None:
        """Where it was at a time between two looks, None where it was not."""
        if self.now_s == look_s and self.before and self.before_s == last_s:
            before = self.camera.carried(self.before, self.before_s, time_s)
            return _between(before, self.left(time_s), (time_s - last_s) / (look_s - last_s))
        here = (
            time_s >= self.edge_s if self.now_s == look_s else self.now_s == last_s and time_s <= self.edge_s
        )
        return self.expected(time_s) if here else None

    def _way(self, time_s: float) -> tuple[float, float]:
        later_s = time_s - self.now_s
        return self.speed[0] * later_s, self.speed[1] * later_s

    def _place(self, found: Detection, time_s: float) -> None:
        self.before, self.before_s, self.now, self.now_s = self.now, self.now_s, found, time_s


def assign(
    tracks: list[Tracklet], found: list[Detection], looks: list[Look], time_s: float, least: float
) -> list[tuple[Tracklet, int]]:
    """Pair tracks with finds, the likeliest pair first: by where a face should be, its size and what it looks like.

    least: score below which finds are for tracks that are left over, and have to look like them.
    """
    pairs = []
    for track in tracks:
        places = track.places(time_s)
        for i, one in enumerate(found):
            like, faint = likeness(track.look, looks[i]), one.score < least
            costs = [_cost(track, there, one, like, time_s) for there in places]
            if min(costs) < math.inf and not (faint and like < ALIKE):
                pairs.append((faint, min(costs), track.id, i, track))
    given: list[tuple[Tracklet, int]] = []
    taken: set[int] = set()
    for _, _, number, i, track in sorted(pairs, key=lambda pair: pair[:4]):
        if i not in taken and all(other.id != number for other, _ in given):
            given.append((track, i))
            taken.add(i)
    return given


def recognized(tracks: list[Tracklet], looks: dict[int, Look]) -> dict[int, int]:
    """Tell which finds are people of these tracks, wherever they are now: the track's id by the find's key."""
    pairs = [(likeness(track.look, look), track.id, i) for track in tracks for i, look in looks.items()]
    given: dict[int, int] = {}
    for like, number, i in sorted(pairs, reverse=True):
        if like > UNMOVED and i not in given and number not in given.values():
            given[i] = number
    return given


def _cost(track: Tracklet, there: Box, one: Detection, like: float, time_s: float) -> float:
    size = (side(there) + side(one.box)) / 2
    (x, y), (to_x, to_y) = centre(there), centre(one.box)
    away = math.hypot(x - to_x, y - to_y) / size
    larger = abs(math.log(side(one.box) / side(there)))
    gone_s = time_s - track.seen_s
    unseen_s = min(gone_s, WANDER_S)
    if away > REACH + WANDER * unseen_s or larger > GROW + unseen_s / 4:
        return math.inf
    if (gone_s > LONG_S and like < KNOWN) or (track.jumped and like < ALIKE):
        return math.inf
    return away + larger + (1 - like)


def look_of(picture: Pixels, box: Box) -> Look:
    """What a face and the hair and collar about it look like: zero mean and unit norm, so a dot is a likeness.

    picture: (H, W, 3) uint8.  box: in its pixels.
    """
    small = _about(picture, box, LOOK_SIDE).ravel()
    small -= small.mean()
    return np.asarray(small / (np.linalg.norm(small) + 1e-6), np.float32)


def sought(picture: Pixels, box: Box, look: Look) -> tuple[float, tuple[float, float]]:
    """How like a look it is about a box at most, in [-1, 1], and how many pixels (x, y) off the box.

    picture: (H, W, 3) uint8.  box: in its pixels.  look: from `look_of`.
    """
    around = _about(picture, box, LOOK_SIDE + 2 * ASIDE)
    alike = cv2.matchTemplate(around, look.reshape(LOOK_SIDE, LOOK_SIDE, 3), cv2.TM_CCOEFF_NORMED)
    _, most, _, (x, y) = cv2.minMaxLoc(alike)
    cell = ABOUT / LOOK_SIDE
    return float(most), ((x - ASIDE) * cell * (box[2] - box[0]), (y - ASIDE) * cell * (box[3] - box[1]))


def _about(picture: Pixels, box: Box, cells: int) -> NDArray[np.float32]:
    """(cells, cells, 3) about a box, `LOOK_SIDE` of them a look wide and high; past the picture, its edge goes on."""
    x0, y0, x1, y1 = (round(edge) for edge in about(box, cells / LOOK_SIDE))
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = min(x0, width - 1), min(y0, height - 1), max(x1, 1), max(y1, 1)
    part = picture[max(0, y0) : y1, max(0, x0) : x1]
    past = max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width)
    whole = cv2.copyMakeBorder(part, *past, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(whole, (cells, cells), interpolation=cv2.INTER_AREA), np.float32)


def likeness(a: Look, b: Look) -> float:
    """Correlation of two looks, in [-1, 1]."""
    return float((a * b).sum())


def _shifted(one: Detection, x: float, y: float) -> Detection:
    points = None if one.points is None else np.asarray(one.points + (x, y), np.float32)
    return Detection(moved(one.box, x, y), one.score, points)


def _between(a: Detection, b: Detection, share: float) -> Detection:
    box = tuple(blend(a.box, b.box, share).tolist())
    points = b.points if a.points is None or b.points is None else blend(a.points, b.points, share)
    return Detection(box, float(blend(a.score, b.score, share)), points)

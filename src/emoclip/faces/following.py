"""Faces through a video: found every few frames, told who is who, and placed in the frames between."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
from cv2 import absdiff  # of a half-removed OpenCV an ImportError, as it should be

from emoclip.config import FaceConfig
from emoclip.errors import EmoclipError
from emoclip.faces.boxes import Box, Detection, Face, about, covered, overlap, resized, scaled, side
from emoclip.faces.camera import Camera, sweep_of
from emoclip.faces.detectors import (
    CLOSE,
    QUICK,
    Detector,
    EveryWay,
    Twice,
    looked_at,
    open_detector,
    searched_side,
)
from emoclip.faces.track import UNMOVED, Tracklet, assign, likeness, look_of, recognized, sought
from emoclip.video import Frame, Pixels

FAINT = 0.5  # share of the score asked for at which a face that is followed is still seen
SURE = 0.7  # score at which a newcomer in mid-scene needs no second find
CLOSELY = 3  # every so many looks, or one for every so many pixels of the picture searched then, the rarer the dearer,
DEARER = 200  # are for the smallest faces asked for, those between for
COARSE = 10  # faces of this part of the picture's longer side, and those followed
LOOK_AGAIN_S = 0.25  # seconds after which to look, however few frames went by
RETURN_S = 0.5  # within which a face that is back in view is found
WITHIN = 0.95  # share of a face in view from which the edge does not touch it
HOLD_S = 0.7  # a face not found where it should be, leaving or though all looks as before thereabouts, is kept so long
ITSELF = 0.7  # likeness from which all looks as before
PAST_EDGE = 4  # times as long as any other face, one that is partly past the edge keeps its number,
GONE = 0.05  # by more than this share of it, and in the picture by as much
SHAPE = 0.85  # width of a face in its heights, at least, where the edge cuts it off
MORE = "more faces than {}, the {} read; raise --max-faces (from Python, FaceConfig(max_faces=...))"
PROMINENT = 10  # faces in a frame, of which the most prominent person in the end is one
SCENE = 640  # longer side of the picture in which it is seen whether a cut was elsewhere, as in a video call
SMALL = 160  # longer side of the picture in which it is seen whether somebody else is in a face's place,
CLEAR = 0.8  # if this share of what is about the face is in view,
CHANGED = 1.0  # and the picture changed by as many grey levels at all
ALONG = 0.8  # correlation from which the middle of a picture is seen again elsewhere in the next
MOVING = 0.85  # correlation with the scene of the last look below which to look again at once, as in a zoom
BACK_S = 0.5  # before it is first reported, or found again, a face is placed where all looks the same
APART = 0.1  # overlap up to which two faces do not hide each other
FLASH_S = 0.3  # a scene that is back after no longer was never left


Followed = tuple[Frame, list[Face]]
Note = Callable[[str, float], object]


class FaceFollower:
    """Finds and follows the faces of one video; give it every frame, in order.

    It looks at every `detect_every`-th frame, and gives out the frames between when it knows where the faces went.
    A face keeps its track_id while it is followed, through gaps up to `bridge_s`, flashes and crossings; a cut ends
    every track but of who stays as they were.  A faint find counts only where a face is expected, and a face only
    while the mean score of its finds is at least `min_score`.
    Source: the two rounds of Zhang et al., ByteTrack (ECCV 2022), with looks beside motion.
    """

    def __init__(
        self, config: FaceConfig, *, every_way: bool = False, prompt: bool = False, note: Note | None = None
    ) -> None:
        """every_way: look for faces that lie on their side too, which takes three times as long, and for the smallest
        ones each time.

        prompt: give frames out as soon as they were looked at, for a live input; else they wait for half a second more,
        for faces that are found only then.
        note: called with a line for frames with more faces than `max_faces`, and with their time in seconds.
        """
        self.config, self._note = config, note
        detector = open_detector(config.detector)
        self._every_way, self._back_s = every_way, 0.0 if prompt else BACK_S
        self._detector: Detector = EveryWay(detector) if every_way else detector
        self._closely: Detector = self._detector if every_way else Twice(detector)
        self._camera = Camera(1 + PAST_EDGE * config.bridge_s)
        self._tracks: list[Tracklet] = []
        self._ended: list[Tracklet] = []  # by the last cut
        self._next_id = 0
        self._waiting: list[Frame] = []
        self._greys: list[Pixels] = []  # those frames, small
        self._held: deque[tuple[Frame, list[Face], Pixels]] = deque()  # that were looked at, faces, small
        self._keep: Callable[[Frame], bool] = lambda frame: True
        self._looked_s: float | None = None  # when it last looked, and how large that frame was
        self._size = (0, 0)
        self._new_scene = True
        self._looks = 0
        self._picture: Pixels | None = None  # that it was searched in
        self._scene: Pixels | None = None
        self._before: tuple[float, Pixels] | None = None  # the frame before: its time, and small
        self._searched: Pixels | None = None  # the scene of the last look
        # when, scene and tracks before the last cut
        self._left: tuple[float, Pixels, list[Tracklet]] | None = None

    def follow(
        self, frames: Iterable[Frame], keep: Callable[[Frame], bool] = lambda frame: True
    ) -> Iterator[Followed]:
        """Give out each frame with its faces, largest first, some frames late.

        keep: tells of a frame if its pixels are asked for by whoever gets it; else they go once it was searched.
        """
        self._keep = keep
        try:
            for frame in frames:
                known = self.update(frame)
                while known:  # none is held on to for those after it: its picture takes memory
                    yield known.pop(0)
        except EmoclipError:  # of the video: what came before is given out
            yield from self.end()
            raise
        yield from self.end()

    def update(self, frame: Frame) -> list[Followed]:
        """Take in the next frame; return those whose faces are known by now, at most `max_faces` of the largest."""
        grey = frame.grey(SMALL)
        scene = np.asarray(cv2.resize(grey, (32, 18), interpolation=cv2.INTER_AREA), np.uint8)
        self._sweep(frame, grey, scene)
        done: list[Followed] = []
        if self._scene is not None and is_cut(self._scene, scene):
            done = self.end()
            self._camera.start(frame.time_s)
            self._cut(frame, scene)
        elif self._looked_s is not None and self._size != (frame.width, frame.height):
            done = self.end()
            self._camera.start(frame.time_s)
            self._resize(frame.width / self._size[0], frame.height / self._size[1])
        self._scene = scene
        self._waiting.append(frame)
        self._greys.append(grey)
        late_s = 0.0 if self._looked_s is None else frame.time_s - self._looked_s
        due = len(self._waiting) >= self.config.detect_every or late_s >= LOOK_AGAIN_S
        moved_on = self._searched is not None and alike(self._searched, scene) < MOVING
        if self._new_scene or due or moved_on:
            self._look()
        while self._held and frame.time_s - self._held[0][0].time_s >= self._back_s:
            done.append(self._held.popleft()[:2])
        return done

    def end(self) -> list[Followed]:
        """Return the frames that still wait."""
        if self._waiting:
            self._look()
        done = [held[:2] for held in self._held]
        self._held.clear()
        return done

    def _cut(self, frame: Frame, scene: Pixels) -> None:
        left = self._left
        self._left = (frame.time_s, self._scene, self._tracks) if self._scene is not None else None
        back = left is not None and frame.time_s - left[0] <= FLASH_S and not is_cut(left[1], scene)
        picture = frame.small(SCENE)
        scale = max(frame.width, frame.height) / max(picture.shape)

        def stays(track: Tracklet) -> bool:
            box = scaled(track.now, 1 / scale, 1 / scale).box
            return likeness(track.look, look_of(picture, box)) > UNMOVED

        before = self._tracks
        self._tracks = left[2] if left and back else [track for track in before if stays(track)]
        kept = {track.id for track in self._tracks}
        self._ended = [track for track in before if track.sure and track.id not in kept]
        self._new_scene = True

    def _sweep(self, frame: Frame, grey: Pixels, scene: Pixels) -> None:
        """Note how far the picture moved as a whole, as under a moving camera, and where all changed at once."""
        before, self._before = self._before, (frame.time_s, grey)
        moved_on = self._scene is not None and absdiff(self._scene, scene).mean() >= CHANGED
        if before is None or not moved_on or before[1].shape != grey.shape:
            self._camera.follow(frame.time_s)
            return
        scale = grey.shape[1] / frame.width
        places = [track.places(before[0]) for track in self._tracks]
        faces = (resized(box, scale, scale) for box, _ in places)
        self._camera.follow(frame.time_s, sweep_of(before[1], grey, 1 / scale, faces))
        for track, were in zip(self._tracks, places, strict=True):
            there = track.places(frame.time_s)
            seen = min(in_view(about(box), frame) for box in (were[0], there[0]))
            if not track.jumped and side(were[0]) * scale > 3 and seen > CLEAR:
                shrunk = [[resized(box, scale, scale) for box in boxes] for boxes in (were, there)]
                pairs = list(zip(*shrunk, strict=True))
                # The search, which takes long, only where a plain look does not find it.
                if all(in_place(before[1], was, grey, now) < UNMOVED for was, now in pairs):
                    last, small = (np.repeat(each[..., None], 3, axis=2) for each in (before[1], grey))
                    likes = [sought(small, now, look_of(last, was))[0] for was, now in pairs]
                    track.jumped = max(likes) < ITSELF

    def _resize(self, x: float, y: float) -> None:
        for track in self._tracks:
            track.now = scaled(track.now, x, y)
            track.before = scaled(track.before, x, y) if track.before else None
            track.speed = (track.speed[0] * x, track.speed[1] * y)

    def _look(self) -> None:
        """Search the last frame that waits, and place the faces in all of them."""
        frame, waiting, least = self._waiting[-1], self._waiting, self.config.min_score
        # A film is looked at again, and the larger picture takes memory.
        close = self._new_scene and frame.still
        picture = looked_at(frame, self._smallest(frame), CLOSE if close else QUICK)
        scale = frame.width / picture.shape[1]
        finds = (self._closely if close else self._detector).find(picture, least * FAINT)
        if not self._new_scene:  # where nothing moves yet, nothing seems to shrink
            finds = [whole(one, *picture.shape[1::-1]) for one in finds]
        looks = [look_of(picture, one.box) for one in finds]
        found = [scaled(one, scale, scale) for one in finds]
        given = assign(self._tracks, found, looks, frame.time_s, least)
        for track, i in given:
            track.see(found[i], looks[i], frame.time_s)
        for track in self._tracks:
            if 0 < frame.time_s - track.seen_s <= HOLD_S:
                there = track.expected(frame.time_s)
                like, (x, y) = sought(picture, scaled(there, 1 / scale, 1 / scale).box, track.look)
                if like > ITSELF:
                    track.hold(frame.time_s, (x * scale, y * scale))
                elif 0.5 <= in_view(there.box, frame) < WITHIN:
                    track.hold(frame.time_s)
        taken = {i for _, i in given}
        newcomers = [i for i, one in enumerate(found) if one.score >= least and i not in taken]
        jumped = [track for track in self._tracks if track.jumped]
        lost = self._ended if self._new_scene else jumped
        elsewhere = recognized(lost, {i: looks[i] for i in newcomers})
        for track in jumped:
            if track.id in elsewhere.values():
                track.seen_s = -np.inf  # its number goes on there
        for i in newcomers:
            sure = self._new_scene or found[i].score >= SURE
            if (number := elsewhere.get(i)) is None:
                number, self._next_id = self._next_id, self._next_id + 1
            self._tracks.append(Tracklet(number, found[i], frame.time_s, looks[i], sure, camera=self._camera))
        last_s = frame.time_s if self._looked_s is None or self._new_scene else self._looked_s
        self._trace(picture, last_s)
        self._picture = picture
        for each, grey in zip(waiting, self._greys, strict=True):
            self._held.append((each, self._faces(each, last_s, frame.time_s), grey))
            if not self._keep(each):
                each.drop()
        self._tracks = [track for track in self._tracks if self._may_return(track, frame)]
        self._waiting, self._greys, self._new_scene = [], [], False
        self._searched = self._scene
        self._looked_s, self._size = frame.time_s, (frame.width, frame.height)

    def _trace(self, picture: Pixels, last_s: float) -> None:
        """Find out when a face came or went that only one of two looks found, or that is reported from now on."""
        *between, frame = self._waiting
        smaller = cache(lambda at: between[at].small(min(SCENE, max(picture.shape))))
        for track in self._tracks:
            came = track.now_s == frame.time_s and track.before_s != last_s
            without = self._picture if came else picture
            new, track.known = not track.known, self._known(track)
            found = track.now_s == frame.time_s and track.known and not self._new_scene
            if found and self._held and (came or new) and self._back(track, frame):
                track.edge_s = last_s
                continue
            if between and without is not None and (came or track.now_s == last_s):
                order = range(len(between))[:: -1 if came else 1]
                pictures = ((between[at].time_s, smaller(at)) for at in order)
                track.edge_s = track.traced(pictures, without, frame.width)

    def _known(self, track: Tracklet) -> bool:
        return track.sure and track.score >= self.config.min_score

    def _back(self, track: Tracklet, frame: Frame) -> bool:
        """Place a face in the frames before the last look, back to where it is not in place; False if in none."""
        first, _, empty = self._held[0]
        small = self._greys[-1]
        scale = small.shape[1] / frame.width
        here, gone = (resized(one.box, scale, scale) for one in (track.now, track.expected(first.time_s)))
        placed = False
        for earlier, faces, before in reversed(self._held):
            there = track.expected(earlier.time_s)
            if frame.time_s - earlier.time_s > self._back_s or in_view(there.box, earlier) < 0.5:
                break
            if any(one.track_id == track.id or overlap(one.box, there.box) > APART for one in faces):
                break
            place, least = resized(there.box, scale, scale), ITSELF
            # A moving camera blurs; under a still one, what looks otherwise is something else, as in a dissolve.
            if overlap(track.now.box, there.box) > UNMOVED:
                least = max(UNMOVED, in_place(empty, gone, before, place))
            if in_place(small, here, before, place) < least:
                break
            if side(there.box) >= self.config.min_face_px:
                faces.append(Face(track.id, there.box, there.score, there.points))
                faces.sort(key=lambda face: -side(face.box))
                del faces[self._most() :]
            placed = True
        return placed

    def _may_return(self, track: Tracklet, frame: Frame) -> bool:
        """True while its number waits: from when it was seen or, by how the camera moved, partly past the edge."""
        in_frame = in_view(track.left(frame.time_s).box, frame)
        if GONE < in_frame < 1 - GONE:
            track.shown_s = frame.time_s
        hidden_s, unseen_s = frame.time_s - track.shown_s, frame.time_s - track.seen_s
        waits_s = self.config.bridge_s + (RETURN_S if in_frame > GONE else 0.0)
        return hidden_s <= waits_s and unseen_s <= PAST_EDGE * self.config.bridge_s

    def _smallest(self, frame: Frame) -> float:
        """Side in pixels of the smallest face that this look is for."""
        self._looks = 0 if self._new_scene else self._looks + 1
        sides = [side(track.now.box) * 0.75 for track in self._tracks]
        smallest = min([max(frame.width, frame.height) / COARSE, *sides])
        least = self.config.min_face_px
        apart = 1 if self._every_way else max(CLOSELY, round(searched_side(frame, least, QUICK) / DEARER))
        return max(least, 0 if self._looks % apart == 0 else smallest)

    def _faces(self, frame: Frame, last_s: float, look_s: float) -> list[Face]:
        shown = []
        for track in self._tracks:
            place = track.at(frame.time_s, last_s, look_s)
            if place and self._known(track) and side(place.box) >= self.config.min_face_px:
                shown.append(Face(track.id, place.box, place.score, place.points))
        shown.sort(key=lambda face: -side(face.box))
        most = self._most()
        if self.config.mode != "largest" and self._note and len(shown) > most:
            self._note(MORE.format(most, "largest is" if most == 1 else f"{most} largest are"), frame.time_s)
        return shown[:most]

    def _most(self) -> int:
        most = self.config.max_faces
        return min(PROMINENT, most) if self.config.mode == "largest" else most


def in_view(box: Box, frame: Frame) -> float:
    """The share of a box that is in the frame."""
    return covered(box, (0.0, 0.0, float(frame.width), float(frame.height)))


def whole(found: Detection, width: int, height: int) -> Detection:
    """A find at the edge of a picture, its box extended past it to the shape of a face, or leaving would shrink it."""
    x0, y0, x1, y1 = found.box
    wide, high, near = SHAPE * (y1 - y0), (x1 - x0) / SHAPE, 0.05 * (y1 - y0)
    if x0 < near:
        x0 = min(x0, x1 - wide)
    elif x1 > width - near:
        x1 = max(x1, x0 + wide)
    elif y0 < near:
        y0 = min(y0, y1 - high)
    elif y1 > height - near:
        y1 = max(y1, y0 + high)
    return replace(found, box=(x0, y0, x1, y1))


def alike(a: Pixels, b: Pixels) -> float:
    """Correlation of two pictures of a size, in [-1, 1]."""
    x, y = (each.astype(np.float32) - each.mean() for each in (a, b))
    return float((x * y).sum()) / (float(np.linalg.norm(x) * np.linalg.norm(y)) + 1e-6)


def in_place(before: Pixels, was: Box, now: Pixels, there: Box) -> float:
    """How alike two grey pictures of a size are about a box each, as `alike` says; 0 where nothing is in view."""
    x, y = (round((there[at] + there[at + 2] - was[at] - was[at + 2]) / 2) for at in (0, 1))
    x0, y0, x1, y1 = (round(edge) for edge in about(was))
    height, width = before.shape
    x0, y0, x1, y1 = max(0, -x, x0), max(0, -y, y0), min(width, width - x, x1), min(height, height - y, y1)
    if x1 <= x0 or y1 <= y0:
        return 0.0
    return alike(before[y0:y1, x0:x1], now[y0 + y : y1 + y, x0 + x : x1 + x])


def is_cut(before: Pixels, now: Pixels) -> bool:
    """True if two pictures, (18, 32) grey, show other scenes: unlike in layout and brightness, and none panned to."""
    a, b = before.astype(np.float32), now.astype(np.float32)
    if np.abs(a - b).mean() < 8:
        return False
    if alike(before, now) >= 0.5:
        return False
    a, b = a - a.mean(), b - b.mean()
    middle = a[4:-4, 6:-6]
    return bool(middle.std() < 1 or cv2.matchTemplate(b, middle, cv2.TM_CCOEFF_NORMED).max() < ALONG)

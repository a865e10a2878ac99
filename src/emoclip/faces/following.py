"""Faces through a video: found every few frames, followed in between, cut out square."""

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from emoclip.config import FaceConfig
from emoclip.faces.detectors import SAME, TILT, WINDOW, Box, Detection, HaarDetector, inside, overlap
from emoclip.faces.track import Track, follow, likeness, look_of
from emoclip.faces.yunet import yunet_or_haar
from emoclip.video import Frame, Pixels

ROUTINE_SIDE = 384  # longer side in pixels of the grey picture that faces are followed and looked for in
DEEP_SIDE = 640  # the same for the look at a new scene and the occasional one for small faces
THOROUGH_AGAIN_S = 0.5  # seconds between thorough searches of new scenes
LOOK_AGAIN_S = 0.25  # seconds after which to look, however few frames went by
HOLD_S = 0.7  # a face that is followed but not seen by the detector is reported for so long
SURE = 0.8  # score at which a face that turns up in mid-scene needs no second detection
TILTED_MIN = 0.75  # score that a tilted find must have to start a track
APART = 0.1  # overlap below which two faces are apart
SETTLED = 4  # sightings after which a face may be
STEADY = 0.85  # likeness to itself from which every second look at it is enough
STRANGER = 0.3  # likeness to itself below which a face the detector does not see is no longer that face
DARK = 110.0  # grey level that the brightest part of a scene should have at least
ITSELF = 0.6  # likeness to itself from which a lost face is looked for where it should be
CROSSED = 0.35  # overlap above which one face hides the other


@dataclass(frozen=True)
class Face:
    """A face in one frame.

    track_id: the same for one person as long as they are followed, from 0.
    box: x0, y0, x1, y1 in pixels of the frame, square, may reach beyond its border.
    score: in [0, 1], how face-like the detector found it lately (see `detection.HaarDetector`).
    """

    track_id: int
    box: Box
    score: float


class FaceFollower:
    """Finds and follows the faces of one video; feed it every frame, in order.

    A face keeps its track_id while it is followed, through gaps up to `bridge_s`, and through crossings.
    A cut ends every track.  Faces from 1/16 of the picture's longer side are found, in a new scene and at every
    eighth look from 1/27, and none smaller than `min_face_px`.  A newcomer is found within four looks.
    """

    def __init__(self, config: FaceConfig) -> None:
        self.config = config
        self._detector = yunet_or_haar() if config.detector == "yunet" else HaarDetector()
        self._tracks: list[Track] = []
        self._next_id = 0
        self._grey: Pixels | None = None
        self._scene: Pixels | None = None
        self._time_s = 0.0
        self._look_s = 0.0
        self._look_index = 0
        self._looks = 0
        self._gain = 1.0
        self._thorough_s = -THOROUGH_AGAIN_S

    def update(self, frame: Frame) -> list[Face]:
        """Return the faces of the next frame, largest first; at most `max_faces`."""
        grey = frame.grey(ROUTINE_SIDE)
        step_s, self._time_s = frame.time_s - self._time_s, frame.time_s
        scene = np.asarray(cv2.resize(grey, (32, 18), interpolation=cv2.INTER_AREA), np.uint8)
        self._gain = DARK / max(float(scene.max()), 8.0)
        new_scene = self._grey is None or self._grey.shape != grey.shape or _is_cut(self._scene, scene)
        if new_scene:
            self._tracks, self._looks = [], 0
        elif self._grey is not None:
            follow([track for track in self._tracks if not track.lost], self._grey, grey, step_s)
            for track in self._tracks:
                if track.lost:
                    track.guess(step_s)
        self._grey, self._scene = grey, scene
        self._look(frame, grey)
        self._part(grey)
        self._drop(grey)
        scale = frame.width / grey.shape[1]
        shown = [track for track in self._tracks if self._reported(track, scale)]
        shown.sort(key=lambda track: -track.side)
        return [Face(track.id, _scaled(track.box, scale), track.score) for track in shown]

    def _look(self, frame: Frame, grey: Pixels) -> None:
        """Check the faces followed where they should be, and now and then search the whole picture."""
        now_s = frame.time_s
        missing = not self._tracks or any(track.lost for track in self._tracks)
        every = self.config.detect_every // 2 if self._tracks and missing else self.config.detect_every
        due = (
            self._looks == 0
            or frame.index - self._look_index >= every
            or now_s - self._look_s >= LOOK_AGAIN_S
        )
        for track in self._tracks:
            back = track.lost and due and likeness(track.look, look_of(grey, track.box)) > ITSELF
            due_here = due and not (self._looks % 2 and self._steady(track, grey, now_s))
            if back or (not track.lost and (due_here or track.doubtful or not track.sure)):
                self._check(track, grey, now_s)
        if not due:
            return
        self._look_index, self._look_s = frame.index, now_s
        look, self._looks = self._looks, self._looks + 1
        if look == 0:
            found = self._search(frame, grey, DEEP_SIDE, (0.0, -TILT, TILT), thorough=self._rested(now_s))
        elif look % 8 == 0:
            found = self._search(frame, grey, DEEP_SIDE, (0.0,))
        elif missing:
            found = self._search(frame, grey, ROUTINE_SIDE, ((0.0, -TILT, 0.0, TILT)[look % 4],))
        elif look % 4 == 0:
            found = self._search(frame, grey, ROUTINE_SIDE // 2, (0.0,))
        else:
            return
        self._match(found, grey, now_s, new_scene=look == 0)

    def _rested(self, now_s: float) -> bool:
        """True unless the last thorough search was just now, as where every frame looks like a cut."""
        rested = now_s - self._thorough_s >= THOROUGH_AGAIN_S
        if rested:
            self._thorough_s = now_s
        return rested

    def _steady(self, track: Track, grey: Pixels, now_s: float) -> bool:
        """True for a face followed so well that every second look is enough for it."""
        settled = track.seen >= SETTLED and not track.met and now_s - track.seen_s <= HOLD_S / 2
        return settled and likeness(track.look, look_of(grey, track.box)) > STEADY

    def _lit(self, grey: Pixels) -> Pixels:
        """Brighten a dark picture: the cascades see little in the lowest grey levels."""
        if self._gain <= 1:
            return grey
        return np.asarray(cv2.convertScaleAbs(grey, alpha=self._gain), np.uint8)

    def _check(self, track: Track, grey: Pixels, now_s: float) -> None:
        lit = self._lit(grey)
        for tilt in (track.tilt, *(tilt for tilt in (0.0, -TILT, TILT) if tilt != track.tilt)):
            found = self._detector.check(lit, track.box, tilt)
            if found and found.score >= self.config.min_score and overlap(found.box, track.box) > 0.3:
                track.see(found, now_s)
                return
        if track.doubtful or likeness(track.look, look_of(grey, track.box)) < STRANGER:
            track.lose(now_s)

    def _search(
        self, frame: Frame, grey: Pixels, side: int, tilts: tuple[float, ...], *, thorough: bool = False
    ) -> list[Detection]:
        """Search at the resolution where the smallest face asked for is as small as the detector can see."""
        longest = max(frame.width, frame.height)
        side = min(side, max(WINDOW * 2, round(longest * WINDOW / self.config.min_face_px)))
        picture = self._lit(frame.grey(side))
        scale = grey.shape[1] / picture.shape[1]
        known = [track.box for track in self._tracks if track.seen_s == frame.time_s and not track.met]
        picture = _without(picture, [_scaled(box, 1 / scale) for box in known])
        found: list[Detection] = []
        for tilt in tilts:
            for one in self._detector.search(
                picture, tilt=tilt, limit=self.config.max_faces, thorough=thorough
            ):
                box = _scaled(one.box, scale)
                good = one.score >= max(self.config.min_score, TILTED_MIN if tilt else 0.0)
                if good and all(inside(box, other.box) < SAME for other in found):
                    found.append(Detection(box, one.score, tilt))
        return found

    def _match(self, found: list[Detection], grey: Pixels, now_s: float, *, new_scene: bool) -> None:
        """Give the detections to the faces lost, the likeliest pair first; what is left over is new."""
        alive = [track for track in self._tracks if not track.lost]
        fresh = [one for one in found if all(inside(one.box, track.box) < SAME for track in alive)]
        fresh.sort(key=lambda one: one.box[0] - one.box[2])
        looks = [look_of(grey, one.box) for one in fresh]
        pairs = []
        for track in self._tracks:
            # A face that comes out from behind another is found askew: where it was expected it is as good a witness.
            there = likeness(track.look, look_of(grey, track.box)) if track.lost else 0.0
            for i, one in enumerate(fresh):
                fit = _fit(track, one, max(there, likeness(track.look, looks[i]))) if track.lost else None
                if fit is not None:
                    pairs.append((fit, track.id, i, track))
        given: set[int] = set()
        for _, _, i, track in sorted(pairs, key=lambda pair: -pair[0]):
            if track.lost and i not in given:
                track.see(fresh[i], now_s, jump=True)
                given.add(i)
        for i, one in enumerate(fresh):
            if i not in given and len(self._tracks) < self.config.max_faces:
                sure = new_scene or one.score >= SURE
                track = Track(
                    self._next_id, one.box, one.score, one.tilt, now_s, looks[i], sure, seen_box=one.box
                )
                self._tracks.append(track)
                self._next_id += 1

    def _part(self, grey: Pixels) -> None:
        """Keep people apart who cross: the hidden one waits, and afterwards each is who they looked like before."""
        alive = [track for track in self._tracks if not track.lost]
        for a, b in combinations(alive, 2):
            shared = overlap(a.box, b.box)
            if shared > APART:
                a.met.add(b.id)
                b.met.add(a.id)
            if shared > CROSSED:
                hidden = min(a, b, key=lambda track: likeness(track.look, look_of(grey, track.box)))
                hidden.lose(self._time_s)
            elif shared == 0 and b.id in a.met and a.seen_s == b.seen_s == self._time_s:
                a.met.discard(b.id)
                b.met.discard(a.id)
                here, there = look_of(grey, a.box), look_of(grey, b.box)
                kept = likeness(a.look, here) + likeness(b.look, there)
                if likeness(a.look, there) + likeness(b.look, here) > kept + 0.1:
                    a.id, b.id, a.look, b.look = b.id, a.id, b.look, a.look
        for track in alive:
            if track.seen_s == self._time_s and not track.met:
                track.look = track.look * 0.8 + look_of(grey, track.box) * 0.2

    def _drop(self, grey: Pixels) -> None:
        height, width = grey.shape
        kept = []
        for track in self._tracks:
            x, y = (track.box[0] + track.box[2]) / 2, (track.box[1] + track.box[3]) / 2
            inside = 0 <= x < width and 0 <= y < height
            # Behind somebody else a face may stay for longer than it would be gone for otherwise.
            patience_s = self.config.bridge_s * (3 if track.lost and track.met else 1)
            if self._time_s - track.seen_s <= patience_s and (inside or track.lost):
                kept.append(track)
        self._tracks = kept
        for track in kept:
            track.met &= {other.id for other in kept}

    def _reported(self, track: Track, scale: float) -> bool:
        fresh = self._time_s - track.seen_s <= HOLD_S
        return track.sure and not track.lost and fresh and track.side * scale >= self.config.min_face_px


def square_crop(image: Pixels, box: Box, margin: float) -> Pixels:
    """Cut a square around `box`, with `margin` times its longer side added on each side.

    image: (H, W, 3) uint8.  Returns (S, S, 3) uint8; what lies beyond the border repeats the border.
    """
    side = max(box[2] - box[0], box[3] - box[1])
    size = max(1, round(side * (1 + 2 * margin)))
    x = round((box[0] + box[2]) / 2 - size / 2)
    y = round((box[1] + box[3]) / 2 - size / 2)
    height, width = image.shape[:2]
    columns = np.clip(np.arange(x, x + size), 0, width - 1)
    rows = np.clip(np.arange(y, y + size), 0, height - 1)
    if x >= 0 and y >= 0 and x + size <= width and y + size <= height:
        return np.ascontiguousarray(image[y : y + size, x : x + size])
    return image[rows[:, None], columns]


def _without(grey: Pixels, boxes: list[Box]) -> Pixels:
    """Flatten faces just seen: over half of a search goes into being sure of those that are known."""
    flat = grey.copy() if boxes else grey
    for x0, y0, x1, y1 in boxes:
        part = flat[max(0, round(y0)) : max(0, round(y1)), max(0, round(x0)) : max(0, round(x1))]
        if part.size:
            part[:] = round(float(part.mean()))
    return flat


def _is_cut(before: Pixels | None, now: Pixels) -> bool:
    """True if two pictures, (18, 32) grey, show different scenes: neither like in layout nor in brightness."""
    if before is None:
        return True
    a, b = before.astype(np.float32), now.astype(np.float32)
    if np.abs(a - b).mean() < 8:
        return False
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum()) < 0.5 * float(np.linalg.norm(a) * np.linalg.norm(b)) + 1e-6


def _fit(track: Track, one: Detection, like: float) -> float | None:
    """How well a detection fits a lost face, or None if it cannot be it."""
    x = (one.box[0] + one.box[2] - track.box[0] - track.box[2]) / 2
    y = (one.box[1] + one.box[3] - track.box[1] - track.box[3]) / 2
    away = float(np.hypot(x, y)) / track.side
    larger = (one.box[2] - one.box[0]) / track.side
    if away > 1.5 or not 0.6 < larger < 1.7 or like < STRANGER:
        return None
    return 2 * like - away


def _scaled(box: Box, scale: float) -> Box:
    return (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)

"""Facial actions read from mesh points and the shade of the skin, and sentences that say which are seen.

Finer than `describe.py`: furrows, teeth, lids and lips besides brows and mouth, and actions that go together ("wide
eyes and an open mouth").  The actions follow the Facial Action Coding System (Ekman & Friesen 1978); their units are
named in comments.  No sentence names an emotion, nor a word for a face that implies one (smile, frown, scowl).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.training.describe import joined

Floats = NDArray[np.float32]

# Mesh numbers of the geometry file's points, in its order.
POINTS = (
    33, 133, 159, 145, 160, 144, 158, 153, 263, 362, 386, 374, 387, 373, 385, 380, 70, 63, 105, 66, 107,
    55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276, 1, 2, 4, 5, 6, 98, 327, 49, 279,
    168, 61, 291, 0, 17, 13, 14, 37, 267, 39, 269, 40, 270, 84, 314, 91, 321, 78, 308, 82, 312, 87, 317,
    152, 10, 234, 454, 172, 397, 148, 377, 50, 280, 205, 425, 468, 473,
)  # fmt: skip
_ROW = {number: row for row, number in enumerate(POINTS)}
_SIDE = 96  # crops are levelled to this side, the outer eye corners 48 pixels apart
SHAPES = (
    "corner lowness", "corner height", "lip to nose", "upper lip", "lower lip", "gap", "square", "width", "chin",
    "oblique", "arch", "inner brow", "middle brow", "outer brow", "between brows", "lids", "lower lid", "upper lid",
    "cheek", "nose wings", "nose width", "jaw", "bowed",
)  # fmt: skip
SHADES = (
    "glabella across", "glabella along", "nose root", "fold", "crow", "chin skin", "teeth", "dark mouth", "cheek shade",
    "under eye", "nose side",
)  # fmt: skip
READINGS = SHAPES + SHADES


def shapes(points: Floats) -> Floats:
    """Return (N, 23) in the order of SHAPES from mesh points (N, 82, 2); up, wide, open and raised are positive.

    Lengths are in outer-eye distances with the eyes levelled.
    """
    right, left = points[:, _ROW[33]], points[:, _ROW[263]]
    across = left - right
    length = np.hypot(across[:, 0], across[:, 1])[:, None]
    cos, sin = (across / length).T
    from_eyes = (points - ((right + left) / 2)[:, None]) / length[:, None]
    level_x = from_eyes[..., 0] * cos[:, None] + from_eyes[..., 1] * sin[:, None]
    level_y = from_eyes[..., 1] * cos[:, None] - from_eyes[..., 0] * sin[:, None]

    def y(*numbers: int) -> Floats:
        return np.asarray(np.mean([level_y[:, _ROW[number]] for number in numbers], axis=0), np.float32)

    def x(number: int) -> Floats:
        return np.asarray(level_x[:, _ROW[number]], np.float32)

    gap = y(14) - y(13)
    values = {
        "corner lowness": y(61, 291) - y(13, 14),
        "corner height": y(0) - y(61, 291),
        "lip to nose": y(2) - y(0),
        "upper lip": y(0) - y(13),
        "lower lip": y(14) - y(17),
        "gap": gap,
        "square": y(87, 317) - y(82, 312) - 0.5 * gap,
        "width": x(291) - x(61),
        "chin": y(17) - y(152),
        "oblique": y(70, 300) - 0.5 * y(107, 336) - 0.5 * y(105, 334),
        "arch": (y(70, 300) + y(107, 336)) / 2 - y(105, 334),
        "inner brow": y(133, 362) - y(55, 285),
        "middle brow": y(159, 386) - y(52, 282),
        "outer brow": y(33, 263) - y(46, 276),
        "between brows": x(285) - x(55),
        "lids": y(145, 374) - y(159, 386),
        "lower lid": y(33, 133, 263, 362) - y(145, 374),
        "upper lid": y(33, 133, 263, 362) - y(159, 386),
        "cheek": y(145, 374) - y(50, 280),
        "nose wings": y(168) - y(98, 327),
        "nose width": x(327) - x(98),
        "jaw": y(152) - y(2),
        "bowed": y(4) - y(234, 454),
    }
    return np.stack([values[name] for name in SHAPES], axis=1)


def shades(image: NDArray[np.uint8], points: Floats) -> Floats:
    """Return (11,) in the order of SHADES: edges, folds and light of one grey crop (H, W) with its points (82, 2).

    Edge strengths and shades are in standard deviations of the face's own grey values.
    """
    face, at = _levelled(image, points)

    def p(*numbers: int) -> NDArray[np.float64]:
        return np.asarray(np.mean([at[_ROW[number]] for number in numbers], axis=0))

    def mean(values: NDArray[Any], centre: NDArray[np.float64], half_x: float, half_y: float) -> float:
        x0, x1 = np.clip([centre[0] - half_x, centre[0] + half_x + 1], 0, _SIDE).astype(int)
        y0, y1 = np.clip([centre[1] - half_y, centre[1] + half_y + 1], 0, _SIDE).astype(int)
        return float(values[y0:y1, x0:x1].mean()) if x1 - x0 > 1 and y1 - y0 > 1 else 0.0

    contrast = float(face[10:86, 14:82].std()) + 4
    smooth = cv2.GaussianBlur(face, (0, 0), 1.0)
    across = np.abs(cv2.Sobel(smooth, cv2.CV_32F, 1, 0)) / 8 / contrast
    along = np.abs(cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8 / contrast
    edges = np.hypot(across, along)
    ripple = np.abs(cv2.GaussianBlur(face, (0, 0), 1.2) - cv2.GaussianBlur(face, (0, 0), 3)) / contrast
    cheek = (mean(face, p(50), 3, 3) + mean(face, p(280), 3, 3)) / 2
    mouth = np.zeros((_SIDE, _SIDE), np.uint8)
    ring = [at[_ROW[number]] for number in (78, 82, 13, 312, 308, 317, 14, 87)]
    cv2.fillPoly(mouth, [np.array(ring).astype(np.int32)], 1)
    inside = face[mouth > 0]
    share = min(1.0, len(inside) / 60) if len(inside) > 6 else 0.0
    bright, dark = np.percentile(inside, [85, 15]) if share else (0.0, 0.0)
    fold_right, fold_left = p(98, 61) - (2, 0), p(327, 291) + (2, 0)
    values = {
        "glabella across": mean(across, p(55, 285), 5, 5),
        "glabella along": mean(along, p(55, 285), 5, 5),
        "nose root": mean(along, p(168, 6), 5, 6),
        "fold": mean(ripple, fold_right, 4, 4) + mean(ripple, fold_left, 4, 4),
        "crow": mean(edges, p(33) - (6, 0), 3, 5) + mean(edges, p(263) + (6, 0), 3, 5),
        "chin skin": mean(ripple, p(17, 152), 8, 4),
        "teeth": (bright - cheek) / contrast * share,
        "dark mouth": (cheek - dark) / contrast * share,
        "cheek shade": ((mean(face, p(205), 3, 3) + mean(face, p(425), 3, 3)) / 2 - cheek) / contrast,
        "under eye": mean(along, p(145) + (0, 5), 6, 3) + mean(along, p(374) + (0, 5), 6, 3),
        "nose side": mean(edges, p(98) - (3, 4), 3, 4) + mean(edges, p(327) + (3, -4), 3, 4),
    }
    return np.array([values[name] for name in SHADES], np.float32)


def _levelled(image: NDArray[np.uint8], points: Floats) -> tuple[Floats, NDArray[np.float64]]:
    right, left = points[_ROW[33]].astype(float), points[_ROW[263]].astype(float)
    across = left - right
    scale = _SIDE / 2 / np.hypot(*across)
    cos, sin = scale * across / np.hypot(*across)
    turn = np.array([[cos, sin], [-sin, cos]])
    shift = np.array([_SIDE / 2, 0.355 * _SIDE]) - turn @ ((right + left) / 2)
    matrix = np.column_stack([turn, shift])
    face = cv2.warpAffine(
        image, matrix, (_SIDE, _SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return face.astype(np.float32), points @ turn.T + shift


def readings(images: NDArray[np.uint8], points: Floats) -> Floats:
    """Return (N, 34) in the order of READINGS; NaN rows where points are NaN."""
    found = np.isfinite(points).all(axis=(1, 2))
    values = np.full((len(images), len(READINGS)), np.nan, np.float32)
    values[found, : len(SHAPES)] = shapes(points[found])
    for row in np.nonzero(found)[0]:
        values[row, len(SHAPES) :] = shades(images[row], points[row])
    return values


# What an action is made of: readings and their weights.
_SIMPLE: Mapping[str, Mapping[str, float]] = {
    "brows down": {"inner brow": -1, "middle brow": -0.7, "between brows": -0.5, "glabella across": 0.8,
                   "glabella along": 0.5},  # AU4
    "furrow": {"glabella across": 1, "glabella along": 0.7, "nose root": 0.3},  # AU4 in the skin
    "brows up": {"inner brow": 1, "middle brow": 1, "outer brow": 1, "arch": 0.5},  # AU1+2
    "inner brows up": {"oblique": 1, "outer brow": -0.5, "arch": -0.5},  # AU1
    "lids up": {"upper lid": 1, "lids": 1},  # AU5
    "lids down": {"upper lid": -1, "lids": -1},  # AU43
    "lids tight": {"lower lid": 1, "lids": -0.7, "under eye": 0.5},  # AU7
    "cheeks up": {"cheek": 0.7, "lower lid": 1, "crow": 0.3, "fold": 0.5, "under eye": 0.5},  # AU6
    "nose wrinkled": {"nose side": 1, "nose root": 0.7, "nose wings": 0.7, "lip to nose": 0.5,
                      "glabella across": 0.3},  # AU9
    "upper lip up": {"lip to nose": 1, "fold": 0.7, "nose wings": 0.5, "nose side": 0.5},  # AU10
    "corners up": {"width": 1, "corner lowness": -1, "corner height": 0.7, "nose width": 0.5},  # AU12
    "teeth between raised corners": {"width": 1, "corner lowness": -0.7, "corner height": 0.7, "teeth": 0.7,
                                     "lip to nose": 0.5},  # AU12+25
    "corners not up": {"width": -1, "corner lowness": 1, "corner height": -0.7, "nose width": -0.5},
    "corners level": {"corner lowness": 1, "corner height": -1},
    "corners down": {"corner lowness": 1, "corner height": -0.5, "width": -0.3},  # AU15
    "chin up": {"chin": 1, "chin skin": 0.7, "gap": -0.5},  # AU17
    "lips stretched": {"width": 0.7, "corner lowness": 0.6, "gap": 0.5, "nose width": 0.2},  # AU20
    "lips pressed": {"upper lip": 0.6, "lower lip": 0.6, "gap": -1},  # AU23, AU24
    "mouth open": {"gap": 1},  # AU25
    "mouth closed": {"gap": -1},
    "jaw dropped": {"gap": 1, "dark mouth": 1, "width": -0.7, "jaw": 0.5, "teeth": -0.4},  # AU26, AU27
    "mouth square": {"gap": 0.7, "square": 0.5, "width": -0.3, "teeth": 0.5},  # AU22+25
    "bowed": {"bowed": 1, "lids": -0.5},
    "fold": {"fold": 1, "width": -0.5},
    "cheeks shaded": {"cheek shade": -1},
}  # fmt: skip
_MOVING = ("brows down", "corners up", "brows up", "lids up", "lids tight", "nose wrinkled", "upper lip up",
           "corners down", "chin up", "lips stretched", "mouth open")  # fmt: skip
# Actions seen together: as strong as the weakest of them.
_TOGETHER: Mapping[str, Sequence[str]] = {
    "brows up and furrowed": ("brows up", "furrow"),
    "brows down, lids tight": ("brows down", "lids tight", "corners not up"),
    "brows up, lids up": ("brows up", "lids up"),
    "brows down, lids up": ("brows down", "lids up"),
    "nose wrinkled, corners not up": ("nose wrinkled", "corners not up"),
    "upper lip up, corners not up": ("upper lip up", "corners not up"),
    "nose wrinkled, brows down": ("nose wrinkled", "brows down", "corners not up"),
    "nose and upper lip up": ("nose wrinkled", "upper lip up"),
    "nose wrinkled, eyes narrow": ("nose wrinkled", "lids tight", "brows down"),
    "nose wrinkled, mouth open": ("nose wrinkled", "mouth open", "corners level"),
    "eyes narrow, mouth open": ("lids tight", "mouth open", "corners level"),
    "brows down, mouth open": ("brows down", "mouth open", "corners not up"),
    "brows down, mouth wide": ("brows down", "lips stretched"),
    "corners up, cheeks up": ("corners up", "cheeks up"),
    "jaw dropped, brows up": ("jaw dropped", "brows up"),
    "jaw dropped, lids up": ("jaw dropped", "lids up"),
    "jaw dropped, lids up, furrow": ("jaw dropped", "lids up", "furrow"),
    "mouth stretched, lids up": ("lips stretched", "lids up"),
    "mouth open, lids up": ("mouth open", "lids up"),
    "mouth closed, lids up": ("mouth closed", "lids up"),
    "mouth closed, lids down": ("mouth closed", "lids down"),
    "mouth closed, furrow": ("mouth closed", "furrow", "corners not up"),
    "corners down, lids down": ("corners down", "lids down"),
    "corners down, inner brows up": ("corners down", "inner brows up"),
    "corners down, chin up": ("corners down", "chin up"),
    "inner brows up, furrow": ("inner brows up", "furrow"),
    "mouth open, lids down": ("mouth open", "lids down", "corners not up"),
    "mouth closed, lids down, nose": ("mouth closed", "lids down", "nose wrinkled"),
    "still, mouth closed": ("still", "mouth closed"),
}
PHRASES: Mapping[str, tuple[str, ...]] = {
    "brows down": ("the brows pulled down", "lowered brows", "low, heavy brows"),
    "furrow": ("a furrow between the brows", "the brows knitted", "furrowed brows"),
    "brows up": ("the brows raised high", "raised brows", "highly arched brows"),
    "inner brows up": ("the inner brows raised", "the inner ends of the brows drawn up", "slanting brows"),
    "lids up": ("the eyes wide open", "wide, staring eyes", "the upper lids raised"),
    "lids down": ("drooping eyelids", "lowered eyelids", "heavy lids"),
    "lids tight": ("the eyes narrowed", "tightened lower lids", "squinting eyes"),
    "cheeks up": ("the cheeks raised and the eyes crinkled", "crinkled eyes", "the cheeks pushed up"),
    "nose wrinkled": ("the nose wrinkled", "a wrinkled nose", "the nose drawn up"),
    "upper lip up": ("the upper lip raised", "the upper lip curled up", "the upper lip lifted"),
    "corners up": ("the corners of the mouth pulled up", "the lip corners drawn back and up", "upturned lip corners"),
    "teeth between raised corners": ("the mouth broad with the upper teeth showing", "a broad row of teeth"),
    "corners not up": ("lip corners that are not raised", "a mouth without raised corners"),
    "corners level": ("a straight mouth", "the lip corners level"),
    "corners down": ("the corners of the mouth turned down", "the lip corners pulled down"),
    "chin up": ("the chin pushed up", "a wrinkled, raised chin"),
    "lips stretched": ("the lips stretched sideways", "a mouth stretched to the sides"),
    "lips pressed": ("the lips pressed tight", "thin, pressed lips"),
    "mouth open": ("an open mouth", "the mouth open", "parted lips"),
    "mouth closed": ("a closed mouth", "the lips together", "the mouth shut"),
    "jaw dropped": ("the jaw dropped", "the mouth hanging open", "a round, wide open mouth"),
    "mouth square": ("a square open mouth", "bared teeth"),
    "bowed": ("a downward look", "the head bowed"),
    "fold": ("deep folds beside the nose", "folds from nose to mouth"),
    "cheeks shaded": ("sunken, shaded cheeks", "hollow cheeks"),
    "still": ("a resting face", "nothing raised or tightened", "a still, slack face"),
    "brows up and furrowed": ("the brows raised and drawn together", "raised but furrowed brows"),
    "brows down, lids tight": ("narrowed eyes under lowered brows", "a hard stare from under low brows"),
    "brows up, lids up": ("wide eyes under raised brows",),
    "brows down, lids up": ("wide eyes under lowered brows", "staring from under lowered brows"),
    "nose wrinkled, corners not up": ("the nose wrinkled above unraised lip corners",),
    "upper lip up, corners not up": ("the upper lip raised without the corners",),
    "nose wrinkled, brows down": ("the nose wrinkled and the brows pulled down",),
    "nose and upper lip up": ("the nose and the upper lip drawn up together",),
    "nose wrinkled, eyes narrow": ("the whole middle of the face screwed up",),
    "nose wrinkled, mouth open": ("the nose wrinkled over an open, straight mouth",),
    "eyes narrow, mouth open": ("narrowed eyes and an open, straight mouth",),
    "brows down, mouth open": ("an open mouth under lowered brows",),
    "brows down, mouth wide": ("a mouth stretched wide under lowered brows",),
    "corners up, cheeks up": ("raised lip corners under raised cheeks",),
    "jaw dropped, brows up": ("raised brows and a dropped jaw",),
    "jaw dropped, lids up": ("wide eyes and a dropped jaw",),
    "jaw dropped, lids up, furrow": ("wide eyes, a dropped jaw and a furrow between the brows",),
    "mouth stretched, lids up": ("wide eyes and lips stretched sideways",),
    "mouth open, lids up": ("wide eyes and parted lips",),
    "mouth closed, lids up": ("open eyes and a closed mouth",),
    "mouth closed, lids down": ("drooping eyelids and a closed mouth",),
    "mouth closed, furrow": ("a furrow between the brows and a closed, flat mouth",),
    "corners down, lids down": ("drooping eyelids and lowered lip corners",),
    "corners down, inner brows up": ("slanting brows and lowered lip corners",),
    "corners down, chin up": ("lowered lip corners over a raised chin",),
    "inner brows up, furrow": ("the inner brows raised and drawn together",),
    "mouth open, lids down": ("drooping eyes and an open mouth with unraised corners",),
    "mouth closed, lids down, nose": ("drooping eyelids, a drawn-up nose and a closed mouth",),
    "still, mouth closed": ("a resting face with a closed mouth", "level brows, still eyes and a closed mouth"),
}  # fmt: skip
ACTIONS = tuple(PHRASES)
_TEMPLATES = ("{}", "a face with {}", "a person with {}", "someone with {}", "a close-up of a face, {}")


def actions(values: Floats) -> Floats:
    """Return (N, len(ACTIONS)) how strong every action is, in spreads over these faces, at most 3 either way.

    values: (N, 34) of `readings`.  NaN rows, where no mesh was found, give zeros.
    """
    low, middle, high = np.nanpercentile(values, [16, 50, 84], axis=0)
    z = np.nan_to_num(np.clip((values - middle) / ((high - low) / 2), -3, 3))
    found = np.asarray(np.isfinite(values).all(axis=1))
    column = {name: z[:, index] for index, name in enumerate(READINGS)}

    def scaled(amount: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((amount - amount[found].mean()) / amount[found].std())

    strength = {
        action: scaled(np.sum([weight * column[name] for name, weight in parts.items()], axis=0))
        for action, parts in _SIMPLE.items()
    }
    moving = np.stack([strength[action] for action in _MOVING])
    strength["still"] = scaled(-np.sqrt((moving**2).mean(axis=0)))
    for action, parts in _TOGETHER.items():
        strength[action] = scaled(np.min([strength[part] for part in parts], axis=0))
    together = np.stack([strength[action] for action in ACTIONS], axis=1)
    return np.where(found[:, None], np.clip(together, -3, 3), 0).astype(np.float32)


def say(strengths: Floats, generator: np.random.Generator) -> str:
    """Return one sentence about a face: one to five actions, the stronger the likelier, in any order.

    strengths: (len(ACTIONS),) of one face.
    """
    clear = np.nonzero(np.asarray(strengths > 0.4))[0]
    if not len(clear):
        clear = np.array([np.argmax(strengths)])
    drawn = 1.5 * strengths[clear] + generator.gumbel(size=len(clear))
    chosen = clear[np.argsort(-drawn)][: generator.integers(1, 6)]
    words = [
        PHRASES[ACTIONS[action]][generator.integers(len(PHRASES[ACTIONS[action]]))]
        for action in generator.permutation(chosen)
    ]
    return _TEMPLATES[generator.integers(len(_TEMPLATES))].format(joined(words))

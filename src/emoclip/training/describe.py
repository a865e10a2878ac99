"""Face-mesh measures to sentences: what sets this face apart from the population and from itself upright.

No human wrote a caption for these crops; a sentence per sample like "brows pulled together and low, lips pressed,
staring" is made instead, graded and left/right-aware, so that uncaptioned faces can be trained on in the paper's
way (EmoCLIP sec. III-B).  Sentences say what is seen and never name an emotion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoclip.training.mini.faces import MEASURES

_AT = {name: index for index, name in enumerate(MEASURES)}


@dataclass(frozen=True)
class Population:
    """The middle and spread of each measure over many faces: median, and half the 16-84 percentile range."""

    middle: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def of(cls, measures: NDArray[np.float32]) -> Population:
        """Measure a population.  measures: (N, 22), NaN rows are left out."""
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers that no face has
            low, middle, high = np.nanpercentile(measures, [16, 50, 84], axis=0)
            return cls(middle.astype(np.float32), ((high - low) / 2).astype(np.float32))

    def z(self, measures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return measures (..., 22) as distances from the middle in spreads, at most 4 either way."""
        # A column may be one number throughout.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            distances = (measures - self.middle) / self.spread
        return np.asarray(np.clip(np.where(measures == self.middle, 0, distances), -4, 4), np.float32)


@dataclass(frozen=True)
class Cue:
    """One thing seen: how strong it is (1 = clearly off the middle) and ways to say it, by grade."""

    part: str
    strength: float
    phrases: tuple[str, ...]


# Ways to say each cue, mild then strong; {side} and {other} are "left" and "right", the subject's own.
_PHRASES: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "mouth open": (
        ("the lips parted", "a slightly open mouth", "the mouth a little open"),
        ("the mouth wide open", "a wide open mouth", "the jaw dropped", "the mouth gaping open"),
    ),
    "teeth": (
        ("the lips drawn apart so that the teeth show", "the teeth showing"),
        ("the lips stretched back over bared teeth", "a broad open mouth with the teeth bared"),
    ),
    "mouth closed": (
        ("a closed mouth", "the lips together", "the mouth closed"),
        ("the lips pressed together", "lips pressed tight", "a thin, tightened mouth"),
    ),
    "mouth wide": (
        ("a widened mouth", "the mouth drawn wide"),
        ("the mouth stretched very wide", "the lips stretched far to the sides"),
    ),
    "mouth narrow": (
        ("a narrow mouth", "the lips drawn together"),
        ("the lips pushed forward and rounded", "a pursed, very narrow mouth"),
    ),
    "corners up": (
        ("the corners of the mouth slightly raised", "the lip corners a little upturned"),
        ("the corners of the mouth pulled up", "the lip corners strongly raised", "the mouth curved upward"),
    ),
    "corners down": (
        ("the corners of the mouth slightly lowered", "the lip corners a little downturned"),
        ("the corners of the mouth turned down", "the lip corners pulled down", "the mouth curved downward"),
    ),
    "corner one-sided": (
        (
            "the {side} corner of the mouth a little higher than the other",
            "one corner of the mouth slightly raised",
            "a slightly lopsided mouth",
        ),
        (
            "one corner of the mouth tightened and raised",
            "the {side} lip corner pulled up on one side only",
            "a one-sided, crooked mouth, its {side} corner raised",
        ),
    ),
    "upper lip raised": (
        ("the upper lip slightly raised",),
        ("the upper lip raised towards the nose", "the upper lip curled up"),
    ),
    "thick lips": (("full, relaxed lips",), ("the lips pushed out, pouting",)),
    "eyes wide": (
        ("the eyes wide", "open, alert eyes", "the eyes opened a little wide"),
        ("the eyes wide open", "staring, wide-open eyes", "the upper lids raised high"),
    ),
    "eyes narrow": (
        ("narrowed eyes", "the eyes slightly squinting", "lowered eyelids"),
        ("the eyes nearly closed", "the eyes squeezed to slits", "the eyes shut", "drooping, heavy eyelids"),
    ),
    "wink": (
        ("the {side} eye more closed than the other",),
        ("the {side} eye closed and the {other} open", "one eye shut"),
    ),
    "brows raised": (
        ("the brows slightly raised", "lifted brows"),
        ("the brows raised high", "highly arched brows", "strongly raised eyebrows"),
    ),
    "brows lowered": (
        ("the brows slightly lowered", "low brows"),
        ("the brows pulled down over the eyes", "strongly lowered brows", "a heavy, lowered brow"),
    ),
    "inner brows raised": (
        ("the inner ends of the brows a little raised",),
        ("the inner brows drawn up, slanting outward", "the inner ends of the brows raised"),
    ),
    "inner brows lowered": (
        ("the inner ends of the brows lowered",),
        ("the brows slanting down towards the nose", "the inner brows pulled down"),
    ),
    "brows together": (
        ("the brows drawn slightly together",),
        ("the brows knitted together", "the brows pulled together", "a furrow between the brows"),
    ),
    "brow one-sided": (
        ("the {side} brow a little higher than the other",),
        ("one eyebrow raised", "the {side} eyebrow raised above the other"),
    ),
    "cheeks raised": (
        ("the cheeks slightly raised",),
        ("the cheeks raised and full", "the cheeks pushed up under the eyes"),
    ),
    "cheeks flat": (("flat cheeks",), ("the cheeks slack and drawn down",)),
    "nose wrinkled": (
        ("the nose a little drawn up",),
        ("the nose wrinkled", "the nostrils drawn up and the nose wrinkled"),
    ),
    "nose wide": (("widened nostrils",), ("the nostrils flared wide",)),
    "jaw": (("the jaw lowered",), ("the jaw hanging low", "the chin dropped far")),
    "roll": (
        ("the head tilted slightly to the {side}",),
        ("the head tilted to the {side}", "the head leaning to the {side} shoulder"),
    ),
    "yaw": (
        ("the head turned slightly to the {side}",),
        ("the head turned to the {side}", "the face turned away to the {side}"),
    ),
    "head down": (("the head slightly bowed",), ("the head bowed down", "the head lowered")),
    "head up": (("the chin a little raised",), ("the head tilted back", "the chin lifted")),
    "gaze": (
        ("the eyes glancing to the {side}",),
        ("the eyes turned to the {side}", "looking away to the {side}"),
    ),
}
_LESSER = {"roll", "yaw", "head down", "head up", "gaze", "nose wide", "jaw", "thick lips"}
_TEMPLATES = (
    "a face with {cues}",
    "{cues}",
    "a person with {cues}",
    "someone with {cues}",
    "this face shows {cues}",
    "a close-up of a face, {cues}",
)
_CALM = (
    "relaxed brows, calm eyes and a closed, resting mouth",
    "a still face, nothing raised or tightened",
    "a resting face with the brows level and the lips loosely closed",
    "even brows, a level mouth and relaxed eyes",
)


def cues(measures: NDArray[np.float32], population: Population) -> list[Cue]:
    """Return what sets one face apart, strongest first.

    measures: (22,) in the order of `faces.MEASURES`.  A mesh leans with the head, so corner and brow sides are
    compared with each other before they are called one-sided, and less so the more the head is turned.
    """
    z = population.z(measures)
    found: list[tuple[str, float, str]] = []

    def value(name: str) -> float:
        return float(z[_AT[name]])

    def pair(name: str) -> tuple[float, float]:
        return value(f"{name}_right"), value(f"{name}_left")

    def sided(part: str, amount: float, above: str, below: str) -> None:
        found.append((part, abs(amount), above if amount > 0 else below))

    def both_ways(up: str, down: str | None, amount: float, side: str = "") -> None:
        if amount > 0:
            found.append((up, amount, side))
        elif down is not None:
            found.append((down, -amount, side))

    turned = min(1.0, abs(value("head_yaw_proxy")) / 2.5)
    openness, width = float(measures[_AT["mouth_open"]]), value("mouth_width")
    corner_right, corner_left = pair("lip_corner_raise")
    eye_right, eye_left = pair("eye_open")
    inner_right, inner_left = pair("brow_inner_raise")
    outer_right, outer_left = pair("brow_outer_raise")
    inner, outer = (inner_right + inner_left) / 2, (outer_right + outer_left) / 2

    if openness < 0.02:
        found.append(("mouth closed", 0.7 + max(0.0, -value("lip_thickness")), ""))
    elif width > 0.5 and openness < 0.3 and value("mouth_open") > 0.3:
        found.append(("teeth", (width + value("mouth_open")) / 2, ""))
    else:
        found.append(("mouth open", value("mouth_open"), ""))
    both_ways("mouth wide", "mouth narrow", width)
    both_ways("corners up", "corners down", (corner_right + corner_left) / 2)
    sided("corner one-sided", (corner_left - corner_right) * (1 - turned), "left", "right")
    found.append(("upper lip raised", -value("upper_lip_raise"), ""))  # the gap under the nose
    found.append(("thick lips", value("lip_thickness") if openness < 0.1 else 0.0, ""))
    both_ways("eyes wide", "eyes narrow", (eye_right + eye_left) / 2)
    sided("wink", (eye_left - eye_right) * (1 - turned) / 2, "right", "left")
    both_ways("brows raised", "brows lowered", (inner + outer) / 2)
    both_ways("inner brows raised", "inner brows lowered", 1.5 * (inner - outer))
    found.append(("brows together", -value("brow_gap"), ""))
    uneven = outer_left + inner_left - outer_right - inner_right
    sided("brow one-sided", uneven / 2 * (1 - turned), "left", "right")
    both_ways("cheeks raised", "cheeks flat", value("cheek_raise"))
    found.append(("nose wrinkled", -value("nose_wing_height") - max(0.0, width), ""))
    found.append(("nose wide", value("nose_width"), ""))
    found.append(("jaw", value("jaw_drop") - 0.5, ""))
    sided("roll", 0.8 * value("head_roll_deg"), "right", "left")
    sided("yaw", 0.8 * value("head_yaw_proxy"), "left", "right")
    both_ways("head down", "head up", value("head_pitch_proxy") * 0.8)
    sided("gaze", 0.8 * (sum(pair("gaze")) / 2), "left", "right")

    graded = []
    for part, strength, side in found:
        if strength > 0.6:
            words = _PHRASES[part][1 if strength > 1.4 else 0]
            other = "right" if side == "left" else "left"
            graded.append(Cue(part, strength, tuple(w.format(side=side, other=other) for w in words)))
    if any(cue.part == "mouth open" for cue in graded):  # which says it of the jaw too
        graded = [cue for cue in graded if cue.part != "jaw"]
    return sorted(graded, key=lambda cue: -cue.strength * (0.6 if cue.part in _LESSER else 1.0))


def describe(
    measures: NDArray[np.float32], population: Population, count: int = 1, seed: int = 0
) -> list[str]:
    """Return `count` sentences about one face, the same for the same seed.

    measures: (22,) in the order of `faces.MEASURES`; NaN where nothing was measured gives no sentence at all.
    """
    if not np.isfinite(measures).all():
        return []
    generator = np.random.default_rng(seed)
    found = cues(measures, population)
    sentences = []
    for _ in range(count):
        template = _TEMPLATES[generator.integers(len(_TEMPLATES))]
        if not found:
            sentences.append(template.format(cues=_CALM[generator.integers(len(_CALM))]))
            continue
        # The strongest cue always, the others the likelier the stronger they are.
        wanted = int(generator.integers(2, 5))
        chosen = [found[0]]
        for cue in found[1:]:
            if len(chosen) < wanted and generator.random() < 0.45 + 0.2 * min(2.0, cue.strength):
                chosen.append(cue)
        if generator.random() < 0.5:
            generator.shuffle(chosen)  # type: ignore[arg-type]  # a list shuffles in place
        words = [cue.phrases[generator.integers(len(cue.phrases))] for cue in chosen]
        sentences.append(template.format(cues=joined(words)))
    return sentences


def joined(words: list[str]) -> str:
    """Join with commas and a last "and"."""
    if len(words) == 1:
        return words[0]
    return ", ".join(words[:-1]) + " and " + words[-1]

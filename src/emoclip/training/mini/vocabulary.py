"""The words that training uses: our lexicon with its held-out part, and dictionary text to learn words from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from emoclip.errors import InputError
from emoclip.prompts import description, templated

CLASSES_WITH_CONTEMPT = (
    "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt",
)  # fmt: skip
WORDNET = Path("/usr/share/wordnet")  # where Debian's wordnet-base puts it


@dataclass(frozen=True)
class Lexicon:
    """Words per class for training, the words held out with their class, and cue sentences per further state."""

    words: dict[str, list[str]]
    held_out: dict[str, str]
    states: dict[str, list[str]]


def lexicon() -> Lexicon:
    """Read the lexicon.  A training phrase that contains a held-out word or phrase is left out."""
    content: dict[str, Any] = yaml.safe_load(
        files("emoclip.training").joinpath("recipes/mini/vocabulary.yaml").read_text(encoding="utf-8")
    )
    held_out = {word: name for name in CLASSES_WITH_CONTEMPT for word in content["held_out"][name]}
    words = {
        name: [w for w in content["classes"][name] if not any(contains(w, held) for held in held_out)]
        for name in CLASSES_WITH_CONTEMPT
    }
    return Lexicon(words, held_out, content["states"])


def contains(text: str, phrase: str) -> bool:
    """Whether `phrase` occurs in `text` as whole words, case aside."""
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None


def class_captions(name: str, words: list[str]) -> list[str]:
    """Return what a class is called in training: its sentences first, then its words in every template."""
    return [*(description(name) or ()), *(t for word in words for t in templated(word))]


# WordNet's files on what people are, feel and do: all adjectives, adverbs, verbs of body, thought, speech, emotion,
# perception and dealings, nouns of traits, feelings and states.
OF_PEOPLE = (0, 1, 2, 7, 12, 26, 29, 31, 32, 37, 39, 41)


def glosses(folder: Path = WORDNET, subjects: tuple[int, ...] = OF_PEOPLE) -> Iterator[tuple[list[str], str]]:
    """Yield (lemmas, gloss) of WordNet's synsets in the lexicographer files `subjects`.

    Raises InputError where WordNet is not installed.
    """
    for part in ("adj", "adv", "verb", "noun"):
        path = folder / f"data.{part}"
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; install WordNet (Debian: wordnet-base) or name its folder"
            )
        for line in path.read_text(encoding="latin-1").splitlines():
            if line.startswith("  ") or "|" not in line:
                continue
            fields, gloss = line.split("|", 1)
            columns = fields.split()
            if int(columns[1]) not in subjects:
                continue
            count = int(columns[3], 16)
            lemmas = [re.sub(r"\(\w+\)$", "", columns[4 + 2 * i]).replace("_", " ") for i in range(count)]
            yield lemmas, gloss.strip()

"""Label sets, descriptions, templates and compound emotions: from what users type to sentences."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from emoclip.characters import composed, is_encodable, percent
from emoclip.errors import ConfigError, InputError, LabelError, kind_of
from emoclip.files import is_pipe
from emoclip.prompts import taught as taught_labels
from emoclip.prompts.labelfile import read_mapping
from emoclip.prompts.taught import Taught

MAX_LABEL_CHARS = 1000
MAX_SENTENCE_CHARS = 10_000
MAX_LABELS = 10_000
NONE = "none of these"
WORDS = 6  # a longer label is a sentence of its own
_PROMPT_FILE = re.compile(r"\.(ya?ml|json)$", re.IGNORECASE)
_DENIED = re.compile(r"not\s+(?!not\b)(\S.*)", re.IGNORECASE)  # twice is not worked out
_NEGATION = re.compile(  # "can't stop laughing" denies nothing
    r"\b(?:not|no|never|without|hardly|barely)\s+|\b(?:not|non)\s*[-:]\s*"
    r"|(?:n['\u2019]t|(?<=\bcan)not)\b(?!\s+(?:stop|help)\b)|\b(?:is|are|was|does|did)nt\s+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Prompt:
    """One label and its sentences.

    parts: one tuple of sentences per part of a compound label (`happy+surprised` has two), one part otherwise.
    The label's text embedding is the mean over parts of the mean over a part's sentences (paper sec. III-C:
    a compound emotion is the average of its components).  The label `none of these` has no part: it stands for a face
    that fits no other label, and its score is the model package's own threshold.
    denied: the sentences of X, for a label that is typed as `not X`.
    """

    label: str
    parts: tuple[tuple[str, ...], ...]
    denied: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """At least two prompts with distinct labels, in the user's order.

    taught: what was learnt of them from codings, which then takes the place of the sentences.
    file: the name of the file they are from.
    """

    prompts: tuple[Prompt, ...]
    taught: Taught | None = None
    file: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if len(self.prompts) < 2:
            raise LabelError(
                f"labels: {len(self.prompts)} given, at least 2 are needed; "
                'give several, e.g. "smiling, crying", or a set: seven, eight, mafw11'
            )
        if len(self.prompts) > MAX_LABELS:
            raise LabelError(
                f"labels: {len(self.prompts)} given, at most {MAX_LABELS} are allowed; give fewer"
            )
        for prompt in self.prompts:
            _check_text(prompt)
            if len(prompt.label) > MAX_LABEL_CHARS:
                raise LabelError(
                    f"labels: {prompt.label[:40]!r}... has {len(prompt.label)} characters, at most "
                    f"{MAX_LABEL_CHARS} are allowed; shorten it, or put a long text into a prompt file"
                )
        seen: set[str] = set()
        for label in self.labels:
            same = composed(label).casefold()
            if same in seen:
                raise LabelError(f"labels: {label!r} is given twice; remove one")
            seen.add(same)

    def check_asked(self, *, scores: bool, baseline: bool) -> None:
        """Raise ConfigError for what labels that were taught cannot be asked."""
        reasons = (
            ("scores", scores, "which say already how often the coders would mark each"),
            ("baseline", baseline, "and were learnt with each person's rest left in"),
        )
        for name, given, reason in reasons:
            if self.taught and given:
                raise ConfigError(
                    f"labels that were taught have probabilities alone, {reason}; leave {name} out"
                )

    def teachers(self) -> dict[str, Any] | None:
        """What taught the labels, as results tell it: the set's name and hash, the codings' and videos'; else None."""
        if self.taught is None:
            return None
        hashes = {name: list(getattr(self.taught, name)) for name in ("codings", "videos")}
        return {"name": percent(Path(self.file).stem), "sha256": self.taught.sha256, **hashes}

    @property
    def labels(self) -> list[str]:
        """The labels in order."""
        return [prompt.label for prompt in self.prompts]


def _check_text(prompt: Prompt) -> None:
    for text in (prompt.label, *(sentence for part in prompt.parts for sentence in part)):
        if not is_encodable(text):
            raise LabelError(
                f"labels: {text[:40]!r} is no valid text (half a surrogate pair); write it again"
            )
        if len(text) > MAX_SENTENCE_CHARS:
            raise LabelError(
                f"labels: a sentence of {prompt.label[:40]!r} has {len(text)} characters, at most "
                f"{MAX_SENTENCE_CHARS} are allowed; shorten it"
            )


@cache
def _assets() -> dict[str, Any]:
    text = files("emoclip").joinpath("assets/label_sets.yaml").read_text(encoding="utf-8")
    assets: dict[str, Any] = yaml.safe_load(text)
    return assets


def label_sets() -> dict[str, list[str]]:
    """Return the named label sets, each in its documented order."""
    return {name: list(labels) for name, labels in _assets()["sets"].items()}


def canonical(label: str) -> str:
    """Return the class name that `label` is another name of (`angry` -> `anger`), or `label` itself."""
    key = label.strip().casefold()
    return str(_assets()["aliases"].get(key, key if key in _assets()["descriptions"] else label.strip()))


def one_class_twice(labels: Sequence[str]) -> str | None:
    """Say which label is given twice, or which two are names of one class (`angry` and `anger`); None if none."""
    first: dict[str, str] = {}
    for label in labels:
        if (name := canonical(label)) in first:
            same = first[name] == label
            return (
                f"{label!r} is given twice"
                if same
                else f"{first[name]!r} and {label!r} are names of one class"
            )
        first[name] = label
    return None


def description(label: str) -> tuple[str, ...] | None:
    """Return our sentences for a class of the label sets (aliases allowed), or None for any other label."""
    sentences = _assets()["descriptions"].get(canonical(label))
    return tuple(sentences) if sentences else None


def templated(label: str) -> tuple[str, ...]:
    """Return a plain label put into every template; a label that is a sentence already stays as it is."""
    if len(label.split()) > WORDS:
        return (label,)
    return tuple(template.replace("{}", label) for template in _assets()["templates"])


# What `resolve` takes: text, a list, a set, an array of text ...
Labels = str | Path | Iterable[str] | Mapping[str, str | Sequence[str]] | PromptSet


def resolve(labels: Labels) -> PromptSet:
    """Turn what a user gave as labels into prompts; prompts stay what they are.

    labels: a set's name (`seven`, `eight`, `mafw11`: our class sentences), a prompt file (.yaml, .yml or .json:
    label -> one or more sentences), labels that were taught (.labels), comma-separated text, a list (tuple, array ...)
    of labels, a set of them, which has no order and is sorted, or a mapping like the file's.
    `a+b` is a compound of a and b, `not a` denies a; `none of these` takes the faces that fit no other label.
    Raises InputError, of labels that are typed LabelError.
    """
    if isinstance(labels, PromptSet):
        return labels
    if isinstance(labels, Mapping):
        return _from_mapping(labels, "labels")
    if isinstance(labels, (str, Path)) and taught_labels.is_taught(labels):
        return _read_taught(Path(str(labels).strip()))
    if isinstance(labels, Path) or (isinstance(labels, str) and _PROMPT_FILE.search(labels.strip())):
        return read_prompt_file(Path(labels))
    if isinstance(labels, str):
        with suppress(UnicodeError):  # a command line under LC_ALL=C comes as single bytes
            labels = labels.encode("utf-8", "surrogateescape").decode()
        if name := _set_name(labels):
            return class_prompts(_assets()["sets"][name] + [NONE] * (NONE in labels.casefold()))
        if "," not in labels and (end := Path(labels).suffix) and os.path.isfile(labels):  # noqa: PTH113 (any text)
            raise InputError(
                f"labels: {labels} is a file; a prompt file's name ends in .yaml or .json, not {end}"
            )
        if is_pipe(labels):
            raise InputError(f"labels: {labels} is a pipe; write the labels to a .yaml or .json file")
        labels = [part for part in labels.split(",") if part.strip()]  # a comma too many is no label
    if not isinstance(labels, Iterable):
        raise InputError(
            f"labels: {kind_of(labels)} is no list of labels; give a list of words, or a set's name"
        )
    once = isinstance(labels, Iterator)
    # A set's own order changes from run to run.
    labels = sorted(labels, key=str) if isinstance(labels, (set, frozenset)) else list(labels)
    if once and not labels:
        raise LabelError("labels: the iterator is empty; one can be read only once, so give a list")
    if not all(isinstance(label, str) for label in labels):
        raise InputError("labels: every label must be text; write numbers as text")
    stripped = [label.strip() for label in labels]
    if "" in stripped:
        raise LabelError(
            f"labels: number {stripped.index('') + 1} of {len(stripped)} is empty; leave it out, or give it a word"
        )
    for label in stripped:
        if label.casefold() in _assets()["sets"]:
            raise LabelError(
                f"labels: {label!r} is a label set; name it alone, as text, {label!r} or '{label}, {NONE}', or spell "
                "its labels out"
            )
        if _PROMPT_FILE.search(label) or taught_labels.is_taught(label):
            raise LabelError(f"labels: {label} is a file of labels; name it alone, as text")
    return PromptSet(tuple(map(_typed, stripped)))


def _set_name(labels: str) -> str | None:
    name, rest = (part.strip().casefold() for part in labels.partition(",")[::2])
    return name if name in _assets()["sets"] and rest in ("", NONE) else None


def class_prompts(labels: Sequence[str]) -> PromptSet:
    """Return prompts that use our sentence for every class we have one for, templates for the others."""

    def sentences(label: str) -> tuple[str, ...]:
        return description(label) or templated(label)

    return PromptSet(tuple(Prompt(label, _parts(label, sentences)) for label in labels))


def read_prompt_file(path: Path) -> PromptSet:
    """Read a YAML or JSON file of label -> one or more sentences.  Raises InputError naming the file."""
    if taught_labels.is_taught(path):
        raise InputError(
            f"{path}: labels that were taught are more than sentences, and only `predict` and `timeline` can ask them; "
            "name a prompt file (.yaml, .json) here"
        )
    mapping = read_mapping(path)
    try:
        return replace(_from_mapping(mapping, "labels"), file=path.name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_taught(path: Path) -> PromptSet:
    labels, taught = taught_labels.read(path)
    prompts = (Prompt(label, tuple(map(tuple, parts))) for label, parts in labels.items())
    return PromptSet(tuple(prompts), taught, path.name)


def _from_mapping(mapping: Mapping[Any, Any], name: str) -> PromptSet:
    prompts = []
    for label, value in mapping.items():
        sentences = [value] if isinstance(value, str) else value
        if not (isinstance(label, str) and label.strip()):
            raise InputError(f"{name}: the label {str(label)[:40]!r} is empty or not text; mend it")
        if not isinstance(sentences, list | tuple) or not sentences:
            raise InputError(f"{name}: the label {label[:40]!r} has no sentence; give one or a list of them")
        if not all(isinstance(sentence, str) and sentence.strip() for sentence in sentences):
            raise InputError(f"{name}: the label {label[:40]!r} has a sentence that is empty or not text")
        prompts.append(Prompt(label.strip(), (tuple(sentence.strip() for sentence in sentences),)))
    return PromptSet(tuple(prompts))


def _typed(label: str) -> Prompt:
    parts = _parts(label, templated)
    denied = _DENIED.fullmatch(label) if len(parts) == 1 and len(label.split()) <= WORDS else None
    if denied and denied[1].casefold() == NONE:
        raise LabelError(f"labels: {label!r} denies nothing that a face shows; leave it out")
    return Prompt(label, parts, templated(denied[1]) if denied else ())


def affirmed(prompt: Prompt) -> dict[str, str]:
    """Return the sentences in which something is denied, each with what it says without that ("no smile": "smile").

    Of words that are read in templates too, the words alone.  Our own sentences of classes are none of the user's.
    """
    ours = map(tuple, _assets()["descriptions"].values())
    worded = [
        part[:1] if part == templated(part[0]) else part for part in prompt.parts if part not in {*ours}
    ]
    bare = {sentence: _NEGATION.sub("", sentence).strip() for part in worded for sentence in part}
    return {sentence: without for sentence, without in bare.items() if without not in ("", sentence)}


def _parts(label: str, sentences: Any) -> tuple[tuple[str, ...], ...]:
    if label.casefold() == NONE:
        return ()
    names = [part.strip() for part in label.split("+")]
    if len(names) > 1 and not all(names):
        raise LabelError(
            f"labels: the compound label {label!r} has an empty part; write it as 'happy+surprised'"
        )
    return tuple(sentences(name) for name in names)

"""Labels and their sentences: as typed, from a file, or taught by codings, and whether a model tells them apart."""

from emoclip.prompts.distinct import OVERLOOKED, Doubts, doubts
from emoclip.prompts.labelfile import WordsLoader
from emoclip.prompts.labels import (
    NONE,
    Labels,
    Prompt,
    PromptSet,
    affirmed,
    canonical,
    class_prompts,
    description,
    label_sets,
    one_class_twice,
    read_prompt_file,
    resolve,
    templated,
)
from emoclip.prompts.taught import Taught

__all__ = [
    "NONE",
    "OVERLOOKED",
    "Doubts",
    "Labels",
    "Prompt",
    "PromptSet",
    "Taught",
    "WordsLoader",
    "affirmed",
    "canonical",
    "class_prompts",
    "description",
    "doubts",
    "label_sets",
    "one_class_twice",
    "read_prompt_file",
    "resolve",
    "templated",
]

"""Data sets through a model: which frames it sees, its embeddings, scores, and reports of them."""

from emoclip.evaluation.embeddings import Embeddings, default_folder, open_store
from emoclip.evaluation.sampling import PAPER_LENGTH, Sampling
from emoclip.evaluation.scores import Task, absences, classify, embed_task, make_task
from emoclip.evaluation.wordings import class_prompts, compare_wordings

__all__ = [
    "PAPER_LENGTH",
    "Embeddings",
    "Sampling",
    "Task",
    "absences",
    "class_prompts",
    "classify",
    "compare_wordings",
    "default_folder",
    "embed_task",
    "make_task",
    "open_store",
]

"""Tokenizers for the `tokenizers` library: CLIP's, from the vocabulary that open_clip carries, and whole words."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP
from open_clip.tokenizer import bytes_to_unicode, default_bpe
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

START, END = "<start_of_text>", "<end_of_text>"
VOCABULARY_SIZE = 49408
_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CASED = r"[\p{Lu}\p{Ll}\p{Lt}]"
# html.unescape knows 2,231 names; these are the ones that survive in captions.
_ENTITIES = {
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "&#39;": "'",
    "&apos;": "'",
    "&nbsp;": " ",
    "&amp;": "&",
}


def whole_words(words: Iterable[str], length: int) -> Tokenizer:
    """Return a tokenizer of lower-cased whole words, in their order, padded and cut to `length`; others are [UNK]."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=0, pad_token="[PAD]")
    return tokenizer


def token_ids(tokenizer: Tokenizer, sentences: Sequence[str]) -> Tensor:
    """Return (N, L) int64, for a tokenizer that pads."""
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(sentences))])


def clip_tokenizer(context_length: int = 77) -> Tokenizer:
    """Return CLIP's lower-cased byte-level BPE with padding (zeros) and truncation set inside.

    Gives the ids of open_clip's `SimpleTokenizer` for any text, but for mojibake, which ftfy repairs there and
    which stays as it is here.  An overlong text keeps its first `context_length` - 2 tokens and the end token.
    """
    merges = _merges(Path(default_bpe()))
    symbols = list(bytes_to_unicode().values())
    ends, pairs = (f"{symbol}</w>" for symbol in symbols), ("".join(pair) for pair in merges)
    words = [*symbols, *ends, *pairs, START, END]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=END, continuing_subword_prefix="", end_of_word_suffix="</w>")
    )
    tokenizer.normalizer = _cleaning()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=True, special=True) for token in (START, END)])
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(length=context_length, pad_id=0, pad_token="!")
    return tokenizer


def _merges(path: Path) -> list[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    # A version line, then what fills CLIP's vocabulary beside 2 x 256 symbols and 2 special tokens; the file goes on.
    pairs = (line.split() for line in lines[1 : VOCABULARY_SIZE - 512 - 2 + 1])
    return [(first, second) for first, second in pairs]


def _cleaning() -> normalizers.Sequence:
    """ftfy.fix_text, html.unescape twice, whitespace runs to one space, lower case: open_clip's cleaning, in order."""
    controls = "".join(f"\\x{{{ord(char):x}}}" for char in map(chr, sorted(CONTROL_CHARS)))
    steps: list[normalizers.Normalizer] = [normalizers.Replace(Regex(r"\x1b\[[\d;]*[a-zA-Z]"), "")]
    tables = {**_c1_controls(), **LIGATURES, **WIDTH_MAP}
    steps += [normalizers.Replace(chr(char), text) for char, text in tables.items()]
    steps += [
        normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
        normalizers.Replace(Regex(f"[{controls}]"), ""),
        normalizers.NFC(),
    ]
    steps += [normalizers.Replace(name, char) for _ in range(2) for name, char in _ENTITIES.items()]
    steps += [
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
        # Lower-casing here is letter by letter; Python's knows the Greek sigma at the end of a word.
        normalizers.Replace(Regex(rf"(?<={_CASED})Σ(?!{_CASED})"), "ς"),
        normalizers.Lowercase(),
    ]
    return normalizers.Sequence(steps)


def _c1_controls() -> dict[int, str]:
    # As in HTML5: nobody means these control characters, they come from Windows-1252 read as Latin-1.
    meant = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
    return {code: char for code, char in meant.items() if char}

"""What an ONNX file asks of an engine, read before one sees it.

Engines open whatever files a graph names while they load it, so what it names has to be known first.  The few fields
that matter are read here from the wire format: the `onnx` package, which reads them all, is no part of the base
install.  Only plain graphs pass: no control flow, no functions and no operators beside ONNX's own, so that as many
steps are computed as there are nodes, and no message is read deeper than a fixed number of levels.
Source: onnx.proto (github.com/onnx/onnx), protobuf.dev/programming-guides/encoding.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MOST_FIELDS = 1_000_000  # of one file; CLIP's largest tower has some ten thousand
CONTROL_FLOW = {b"If", b"Loop", b"Scan", b"SequenceMap"}
SPAN = ("offset", "length")  # where in a file of weights a tensor lies, in bytes
FLOAT, INT64 = 1, 7  # onnx.TensorProto.DataType

Content = memoryview | int


@dataclass(frozen=True)
class Value:
    """An input or output.  kind: TensorProto.DataType, 0 if untold.  dims: None where a size is free."""

    kind: int
    dims: tuple[int | None, ...] | None


@dataclass
class Graph:
    """What one file holds.  files: names of the files its weights lie in, with the bytes that each must have."""

    inputs: dict[str, Value] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)


def read(path: Path) -> Graph:
    """Read what a graph takes, gives and refers to.

    Raises ValueError, in words without the path, for a file that is damaged, no ONNX, or not a plain graph; OSError.
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise ValueError("is empty")
        # Mapped, and never closed by hand: weights are passed over without being read.
        return _Reader().model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


class _Reader:
    """Reads one file; what its methods are called is the message of onnx.proto that they read."""

    def __init__(self) -> None:
        self._left = MOST_FIELDS
        self._graph = Graph()

    def model(self, data: memoryview) -> Graph:
        graphs = 0
        for number, content in self._fields(data):
            if number == 7:
                graphs += 1
                self._graph_proto(content)
            elif number in (20, 25):
                raise ValueError("holds training steps" if number == 20 else "holds functions of its own")
        if graphs != 1:
            raise ValueError("is no ONNX model (it holds no graph)")
        return self._graph

    def _graph_proto(self, data: Content) -> None:
        weights = set()
        for number, content in self._fields(data):
            if number == 1:
                self._node(content)
            elif number == 5:
                weights.add(self._tensor(content))
            elif number == 15:
                self._sparse(content)
            elif number in (11, 12):
                name, value = self._value_info(content)
                (self._graph.inputs if number == 11 else self._graph.outputs)[name] = value
        for name in weights & self._graph.inputs.keys():
            del self._graph.inputs[name]  # the values of weights, which old files list as inputs too

    def _node(self, data: Content) -> None:
        operator = domain = b""
        for number, content in self._fields(data):
            if number == 4:
                operator = _bytes(content)
            elif number == 7:
                domain = _bytes(content)
            elif number == 5:
                self._attribute(content)
        if operator in CONTROL_FLOW:
            raise ValueError(f"has control flow ({operator.decode()})")
        if domain not in (b"", b"ai.onnx"):
            raise ValueError(f"needs an operator beside ONNX's own ({_shown(domain)}.{_shown(operator)})")

    def _attribute(self, data: Content) -> None:
        for number, content in self._fields(data):
            if number in (5, 10):
                self._tensor(content)
            elif number in (22, 23):
                self._sparse(content)
            elif number in (6, 11):
                raise ValueError("has control flow (a graph inside a node)")

    def _sparse(self, data: Content) -> None:
        for number, content in self._fields(data):
            if number in (1, 2):
                self._tensor(content)

    def _tensor(self, data: Content) -> str:
        name, told = "", []
        for number, content in self._fields(data):
            if number == 8:
                name = _text(content)
            elif number == 13:
                entry = {key: _text(value) for key, value in self._fields(content)}
                told.append((entry.get(1, ""), entry.get(2, "")))
        places = [value for key, value in told if key == "location"]
        end = sum(max((_size(value) for each, value in told if each == key), default=0) for key in SPAN)
        for place in places:
            self._graph.files[place] = max(self._graph.files.get(place, 0), end)
        return name

    def _value_info(self, data: Content) -> tuple[str, Value]:
        name, kind, dims = "", 0, None
        for number, content in self._fields(data):
            if number == 1:
                name = _text(content)
            elif number == 2:
                for tensor in self._within(content, 1):
                    for part, inner in self._fields(tensor):
                        if part == 1 and isinstance(inner, int):
                            kind = inner
                        elif part == 2:
                            dims = tuple(self._dim(dim) for dim in self._within(inner, 1))
        return name, Value(kind, dims)

    def _dim(self, data: Content) -> int | None:
        sizes = [size for size in self._within(data, 1) if isinstance(size, int)]
        return sizes[-1] if sizes else None

    def _within(self, data: Content, wanted: int) -> Iterator[Content]:
        return (content for number, content in self._fields(data) if number == wanted)

    def _fields(self, data: Content) -> Iterator[tuple[int, Content]]:
        """Yield number and content of each field of a message: an int, or the bytes, of which nothing is copied."""
        if isinstance(data, int):
            raise ValueError("is damaged (a number where a message belongs)")
        at = 0
        while at < len(data):
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"has more than {MOST_FIELDS:,} parts")
            key, at = _varint(data, at)
            number, wire = key >> 3, key & 7
            # A longer key than 32 bits is one that readers cut in different ways.
            if not number or key >= 2**32:
                raise ValueError("is no ONNX model, or damaged (a field without a number)")
            if wire == 0:
                value, at = _varint(data, at)
                yield number, value
                continue
            if wire not in (1, 2, 5):
                raise ValueError("is no ONNX model, or damaged (an unknown kind of field)")
            size, at = _varint(data, at) if wire == 2 else (8 if wire == 1 else 4, at)
            if at + size > len(data):
                raise ValueError("is damaged (it ends too early)")
            if wire == 2:
                yield number, data[at : at + size]
            at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("is no ONNX model, or damaged (a number without an end)")


def _bytes(content: Content) -> bytes:
    return b"" if isinstance(content, int) else bytes(content[:4096])


def _text(content: Content) -> str:
    try:
        return _bytes(content).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is damaged (a name that is no text)") from None


def _size(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise ValueError(f"is damaged (the place {digits[:40]!r} in a file of weights)")
    return int(digits)


def _shown(name: bytes) -> str:
    return ascii(name[:60].decode("utf-8", "replace"))[1:-1]

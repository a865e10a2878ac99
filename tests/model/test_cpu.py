"""What processors say of themselves, as Linux and macOS print it."""

import pytest

from emoclip.model import cpu as processors
from emoclip.model.cpu import Processor, cores, processor

CPUINFO = {
    "vnni": "model name\t: Intel(R) Xeon(R) Gold 6248\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni\n\nflags\t: x\n",
    "amx": "model name\t: Xeon\nflags\t\t: avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8\n",
    "zen3": "model name\t: AMD EPYC 7763\nflags\t\t: fpu sse2 avx avx2 fma\n",
    "arm": "BogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimdhp asimddp i8mm bf16\nCPU part\t: 0xd40\n",
}


def hide_cpuinfo(monkeypatch, error):
    def read_text(*_):
        raise error

    monkeypatch.setattr(processors.Path, "read_text", read_text)


@pytest.mark.parametrize(
    ("name", "int8", "bf16"), [("vnni", 1, 0), ("amx", 1, 1), ("zen3", 0, 0), ("arm", 1, 1)]
)
def test_linux(name, int8, bf16, monkeypatch):
    monkeypatch.setattr(processors.Path, "read_text", lambda *_: CPUINFO[name])
    found = processor.__wrapped__()
    assert (found.int8, found.bf16) == (bool(int8), bool(bf16))
    assert found.name
    for system, x86 in (("x86_64", True), ("AMD64", True), ("aarch64", False)):
        monkeypatch.setattr(processors.platform, "machine", lambda system=system: system)
        assert processor.__wrapped__().overflows == (x86 and not int8)


APPLE = {
    "machdep.cpu.brand_string": "Apple M2",
    "hw.optional.arm.feat_dotprod": "1",
    "hw.optional.arm.feat_bf16": "1",
}
INTEL = {
    "machdep.cpu.brand_string": "Intel(R) Core(TM) i7-1068NG7 CPU",
    "machdep.cpu.features": "FPU SSE2 AVX1.0",
    "machdep.cpu.leaf7_features": "AVX2 AVX512F AVX512VNNI",
}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (APPLE, Processor("Apple M2", True, True)),
        (INTEL, Processor("Intel(R) Core(TM) i7-1068NG7 CPU", True, False)),
    ],
)
def test_macos(told, expected, monkeypatch):
    hide_cpuinfo(monkeypatch, FileNotFoundError)
    monkeypatch.setattr(processors, "_sysctl", lambda name: told.get(name, ""))
    assert processor.__wrapped__() == expected


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_system_that_tells_nothing_is_no_error(monkeypatch, error):
    hide_cpuinfo(monkeypatch, error)
    monkeypatch.setattr(processors.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError))
    assert processor.__wrapped__().bf16 is False


def test_this_machine():
    assert processor().name
    assert cores() >= 1

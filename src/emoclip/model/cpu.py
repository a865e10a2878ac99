"""What this machine's processor can do natively, and how many of its cores are ours."""

import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Instructions that multiply 8-bit numbers into 32-bit sums, and bfloat16 numbers, as Linux and macOS name them.
_INT8 = {
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimddp",
    "i8mm",
    "avx512vnni",
    "hw.optional.arm.feat_dotprod",
}
_BF16 = {"avx512_bf16", "amx_bf16", "bf16", "hw.optional.arm.feat_bf16"}
_X86 = {"x86_64", "amd64", "i386", "i686", "x86"}
_SYSCTLS = ("machdep.cpu.features", "machdep.cpu.leaf7_features", *(n for n in _INT8 | _BF16 if "." in n))


@dataclass(frozen=True)
class Processor:
    """name: as the system gives it.  int8, bf16: whether products of such numbers are native; False where unknown.

    overflows: whether the engines' fast 8-bit kernels add pairs of products in 16 bits, as on x86 without VNNI.
    """

    name: str
    int8: bool
    bf16: bool
    overflows: bool = False


@cache
def processor() -> Processor:
    """Return what this processor can do; on a system that does not tell, what OpenCV finds out."""
    linux = Path("/proc/cpuinfo")
    try:
        words, name = _linux(linux.read_text("utf-8", "replace"))
    except OSError:  # absent, or kept from us
        words, name = _macos()
    name = name or platform.processor() or platform.machine()
    if words:
        int8, bf16 = bool(words & _INT8), bool(words & _BF16)
    else:
        import cv2

        known = [getattr(cv2, flag, None) for flag in ("CPU_AVX_512VNNI", "CPU_NEON_DOTPROD")]
        int8, bf16 = any(flag and cv2.checkHardwareSupport(flag) for flag in known), False
    return Processor(name, int8, bf16, overflows=not int8 and platform.machine().casefold() in _X86)


def cores() -> int:
    """Return how many cores this process may use, which is fewer than the machine has under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _linux(text: str) -> tuple[set[str], str]:
    found = {"flags": "", "features": "", "model name": ""}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if (key := key.strip().casefold()) in found:
            found[key] = found[key] or value.strip()
    return set(f"{found['flags']} {found['features']}".casefold().split()), found["model name"]


def _macos() -> tuple[set[str], str]:
    told = {name: _sysctl(name) for name in (*_SYSCTLS, "machdep.cpu.brand_string")}
    name = told.pop("machdep.cpu.brand_string")
    switches = {key for key, value in told.items() if value == "1"}
    return switches | set(" ".join(told.values()).casefold().split()) - {"0", "1"}, name


def _sysctl(name: str) -> str:
    spelled = name.replace("feat_dotprod", "FEAT_DotProd").replace("feat_bf16", "FEAT_BF16")
    try:
        done = subprocess.run(["sysctl", "-n", spelled], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

"""Which engine runs a package's image tower, in which precision and on how many threads, and why."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from emoclip.config import check_choice, check_number
from emoclip.errors import ConfigError, counted
from emoclip.model.cpu import Processor, cores, processor
from emoclip.model.package import QUANTISED_FORM, Package

Precision = Literal["auto", "fp32", "bf16", "int8"]
Engine = Literal["onnxruntime", "openvino"]
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16", "int8")
OLDEST_OPENVINO = (2025, 0)  # reads opset 20 and knows the keys `runtime` sets
SMALL_BYTES = (
    16_000_000  # the bundled model: OpenVINO gains a fifth of 0.9 ms a crop and takes a second more to load
)
_TOO_OLD = "OpenVINO is too old"


@dataclass(frozen=True)
class Execution:
    """How the image tower runs; the temporal and text towers, a hundredth of the work, run as fp32 on ONNX Runtime.

    graph: file of the package.  why, kernels: in words, the latter of what multiplies.
    warnings: what was asked for and cannot be, one line each.
    """

    engine: Engine
    precision: Precision
    graph: str
    threads: int
    why: str
    kernels: str
    warnings: tuple[str, ...] = ()


def choose(
    package: Package,
    *,
    precision: Precision = "auto",
    threads: int | None = None,
    provider: str = "CPU",
    engine: Engine | None = None,
    machine: Processor | None = None,
) -> Execution:
    """Choose how a package runs here.

    `auto` is int8 where it is right and quicker than fp32 and the package passed its gate, else fp32; bf16, which no
    gate has checked, is for asking.  What is asked for and not to be had falls back with a warning.
    engine: if None, OpenVINO where it is installed, quicker, and the image tower large enough to be worth its slower
    start.
    machine: the processor to choose for, this one if None.
    Raises ConfigError for an unknown precision, threads that are no whole number above 0, or an engine asked for by
    name and absent.
    """
    check_choice("precision", precision, PRECISIONS)
    if threads is not None:
        threads = int(check_number("threads", threads, whole=True))
        if threads < 1:
            raise ConfigError(f"threads={threads} must be at least 1")
    machine = machine or processor()
    have = cores()
    no_openvino = f"provider={provider} is ONNX Runtime's" if provider != "CPU" else openvino_lack()
    if engine == "openvino" and no_openvino:
        raise ConfigError(f"engine='openvino': {no_openvino}")
    # On x86 without VNNI OpenVINO takes longer in fp32 (a tenth) and in int8 (twice as long), measured on a ViT-B/32.
    small = precision != "bf16" and _tower_bytes(package) < SMALL_BYTES
    chosen: Engine = engine or (
        "onnxruntime" if no_openvino or small or (machine.overflows and precision != "bf16") else "openvino"
    )
    lacks = _lacks(package, chosen, no_openvino, provider, machine)
    no_int8 = lacks.get("int8", "") if "fp32" in lacks else lacks.get("int8") or _slow_int8(machine)
    wanted: Precision = ("fp32" if no_int8 else "int8") if precision == "auto" else precision
    runs: Precision = wanted if wanted not in lacks else "int8" if "fp32" in lacks else "fp32"
    warnings = []
    if threads is not None and threads > have:
        warnings.append(f"threads={threads}: this process may use {counted(have, 'core')}; runs on {have}")
    if no_openvino.startswith(_TOO_OLD) and engine is None:
        warnings.append(f"{no_openvino}; runs on ONNX Runtime")
    if runs != wanted:
        warnings.append(f"precision={precision}: {lacks[wanted]}; runs as {runs}")
    elif _foreign_form(package) and runs != "int8":
        warnings.append(f"{package.name}: {lacks['int8']}; runs as {runs}")
    if chosen == "openvino" and runs == "int8" and machine.overflows and not package.narrow:
        if engine:
            warnings.append(
                f"engine=openvino: its 8-bit kernels overflow on {machine.name}; runs on ONNX Runtime"
            )
        chosen = "onnxruntime"
    if runs != wanted:
        why = lacks[wanted]
    elif precision != "auto":
        why = "asked for"
    elif runs == "fp32":
        why = no_int8
    else:
        how = "computes it natively" if machine.int8 else "has kernels that are exact for it"
        why = lacks.get("fp32") or f"the package carries it and {machine.name} {how}"
    return Execution(
        engine=chosen,
        precision=runs,
        graph=package.int8_graph if runs == "int8" else "image.onnx",
        threads=min(threads or have, have),
        why=why,
        kernels=_kernels(package, machine, runs),
        warnings=tuple(warnings),
    )


def openvino_lack() -> str:
    """Say why OpenVINO is not used, or nothing if it is.  Imports nothing."""
    try:
        found = version("openvino")
    except PackageNotFoundError:
        return "OpenVINO is not installed; pip install 'emoclip[fast]'"
    if tuple(int(part) for part in found.split(".")[:2] if part.isdecimal()) < OLDEST_OPENVINO:
        return f"{_TOO_OLD}, {found} of {'.'.join(map(str, OLDEST_OPENVINO))}; pip install -U 'emoclip[fast]'"
    return ""


def _slow_int8(machine: Processor) -> str:
    """Say why int8, right as it is, is not worth taking unasked, or nothing if it is."""
    if machine.int8 or machine.overflows:
        return ""
    return f"{machine.name} has no native 8-bit products, and nobody has measured the others there"


def _kernels(package: Package, machine: Processor, runs: Precision) -> str:
    if runs != "int8":
        return f"{runs} products"
    if machine.int8:
        return "8-bit products added in 32 bits: the processor has them natively"
    if not machine.overflows:
        return "8-bit products added without overflow, without instructions made for it"
    if package.narrow:
        return "8-bit products added by pairs in 16 bits: the package's weights are small enough for that to be exact"
    return (
        "16-bit products, exact: without VNNI the 8-bit ones, faster for towers of convolutions, would overflow with "
        "the package's weights; export it again for those"
    )


def _lacks(
    package: Package, engine: Engine, no_openvino: str, provider: str, machine: Processor
) -> dict[str, str]:
    """Say of each precision that cannot run why; `fp32` is among them only for a package of nothing but 8 bits."""
    if package.precision == "int8":
        return dict.fromkeys(("fp32", "bf16"), "the package carries 8-bit weights only")
    lacks = {}
    if "int8" not in package.precisions:
        lacks["int8"] = _foreign_form(package) or "the package was exported without int8"
    elif provider != "CPU":
        lacks["int8"] = f"int8 is for the CPU, not {provider}"
    if engine != "openvino":
        lacks["bf16"] = no_openvino or "ONNX Runtime has no bf16"
    elif not machine.bf16:
        lacks["bf16"] = f"{machine.name} has no native bf16 products"
    return lacks


def _tower_bytes(package: Package) -> int:
    return sum(path.stat().st_size for path in package.path.glob("image.onnx*"))


def _foreign_form(package: Package) -> str:
    form = package.config.get("quantisation", {}).get("form", QUANTISED_FORM)
    if form == QUANTISED_FORM:
        return ""
    return (
        f"its int8 graph has form {form}, this version of emoclip reads form {QUANTISED_FORM}; update emoclip"
    )

"""Where to compute and in which precision, when the user leaves it to us."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from .errors import Remedy, StyleAVideoError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OUT_OF_MEMORY = (  # of a CPU, one under Windows, a Mac, cuDNN, cuBLAS
    "can't allocate memory",
    "not enough memory",
    "MPS backend out of memory",
    "STATUS_ALLOC_FAILED",
)
_CPUINFO = Path("/proc/cpuinfo")
_FAST_BF16 = {"avx512_bf16", "amx_bf16"}  # without them bf16 is emulated, slower than fp32


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU.

    Raises:
        StyleAVideoError: a device that this machine, or this build of torch, has not.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, usable in there.items() if usable)
    if not there.get(name.split(":")[0]):
        usable = ", ".join(device for device, usable in there.items() if usable)
        raise StyleAVideoError(f"There is no device {name!r} here; this machine has: {usable}.")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of that name; "auto" is fp16 on accelerators, bf16 on CPUs fast at it, else fp32.

    Raises:
        StyleAVideoError: fp16 on a CPU, where it is slow and not every operation exists.
    """
    if name == "auto":
        if device.type != "cpu":
            return torch.float16
        return torch.bfloat16 if fast_bf16() else torch.float32
    if name == "fp16" and device.type == "cpu":
        raise StyleAVideoError("fp16 is not for CPUs: ", Remedy.CPU_PRECISION)
    return DTYPES[name]


def fast_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether this CPU multiplies bf16 in hardware; False where the system does not say."""
    return bool(_FAST_BF16 & set(_cpu_says("flags", cpuinfo).split()))


def hardware(device: torch.device) -> str:
    """The accelerator's name, or the processor's and the threads in use, for reports."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = _cpu_says("model name") or platform.processor() or platform.machine()
    kind = "Apple GPU of " if device.type == "mps" else ""
    return f"{kind}{name}, {torch.get_num_threads()} threads"


def _cpu_says(key: str, cpuinfo: Path = _CPUINFO) -> str:
    """The first value of `key` in Linux's cpuinfo; empty where there is none."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def is_out_of_memory(error: Exception) -> bool:
    """PyTorch has a class of its own for GPUs of NVIDIA only."""
    kinds = (torch.cuda.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(words in str(error) for words in _OUT_OF_MEMORY)

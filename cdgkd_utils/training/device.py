"""Where networks are trained. It decides how fast a run is made, and is no part of what it is."""

from __future__ import annotations

import os

import torch

VARIABLE = "CDGKD_DEVICE"


def training_device() -> torch.device:
    """The device that ``CDGKD_DEVICE`` names: ``cpu``, ``cuda``, ``cuda:1``; ``auto``, the default, is a GPU if any.

    A GPU rounds otherwise than a CPU, so runs made on the two agree in distribution, not in bits.

    Raises
    ------
    ValueError
        The variable names no device, or one that this machine or this build of torch does not have.
    """
    name = os.environ.get(VARIABLE, "auto").strip().lower()
    if name in ("", "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{VARIABLE}: expected auto, cpu, cuda or cuda:NUMBER, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{VARIABLE}: expected auto, cpu, cuda or cuda:NUMBER, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"{VARIABLE}: {name} is not there ({torch.cuda.device_count()} GPUs seen by torch {torch.__version__}); "
            "choose cpu, or install a build of torch for your GPU"
        )
    return device

"""Weights from a safetensors file into a module, strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.errors import ModelError, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["load_weights"]

_SHOWN = 5  # keys listed in a message, before it only counts


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill every parameter and buffer of the module; nothing missing, nothing left over, nothing converted.

    Raises:
        ModelFileError: The file cannot be read, or is no safetensors file.
        ModelError: Names, shapes or dtypes differ from the module's, or a weight is NaN or infinite.
    """
    weights = _read(path)
    expected: dict[str, Tensor] = module.state_dict()
    problems = [
        *_listed("missing", expected.keys() - weights.keys()),
        *_listed("not in the network", weights.keys() - expected.keys()),
        *_listed("of another shape or dtype", _misfits(expected, weights)),
        *_listed("not finite", (key for key, tensor in weights.items() if not tensor.isfinite().all())),
    ]
    if problems:
        raise ModelError(f"{path}: these weights do not fit the network: {'; '.join(problems)}")
    module.load_state_dict(weights, strict=True)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    except SafetensorError as error:
        raise ModelFileError(f"{path}: is not a safetensors file, or is truncated: {error}") from error


def _misfits(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{key} ({_describe(weights[key])} for {_describe(tensor)})"
        for key, tensor in expected.items()
        if key in weights and _describe(weights[key]) != _describe(tensor)
    ]


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _listed(what: str, keys: Iterable[str]) -> list[str]:
    names = sorted(keys)
    if not names:
        return []
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what}: {', '.join(names[:_SHOWN])}{rest}"]

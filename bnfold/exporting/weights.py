"""Weights from a file into a module, strictly.

    .safetensors           numbers and nothing else
    .pt .pth .bin .ckpt    torch's pickles, of which only tensors and plain containers are read (``weights_only=True``)

A checkpoint that holds the weights under ``state_dict``, ``model_state_dict``, ``model`` or ``ema`` is opened, and the
prefix that DataParallel, DistributedDataParallel and torch.compile give to every name is taken off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bnfold.errors import ModelError, ModelFileError
from bnfold.exporting.conversion import quiet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["load_weights", "state_of"]

_SHOWN = 5  # keys listed in a message, before it only counts
_PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_HOLDERS = ("state_dict", "model_state_dict", "model", "ema")
_CODE = re.compile(r"allowed global|[Uu]nsupported (global|class)|GLOBAL")  # what torch says of a pickle with more
_WIDER = {
    "bfloat16": ("float32", "float64"),
    "float16": ("float32", "float64"),
    "float32": ("float64",),
}
_WRAPPERS = 3  # around a network, each with a prefix: DistributedDataParallel, torch.compile, a LightningModule


def load_weights(module: nn.Module, path: Path, *, strict: bool = True) -> tuple[str, ...]:
    """Fill every parameter and buffer of the module; nothing missing, nothing left over, nothing rounded.

    Args:
        module: It is changed in place.
        path: The file.
        strict: Names that are missing, and names that the module does not have, are an error; else they are told of,
            and the module keeps what it has. Shapes and dtypes must fit in any case.

    Returns:
        What did not fit, in words; empty with ``strict``.

    Raises:
        ModelFileError: The file cannot be read, or holds no weights.
        ModelError: Names, shapes or dtypes differ from the module's, or a weight is NaN or infinite.
    """
    expected = state_of(module)
    weights = _unprefixed(_read(path), expected)
    _fill_counters(weights, expected)
    names = [
        *_listed("missing", expected.keys() - weights.keys()),
        *_listed("not in the network", weights.keys() - expected.keys()),
    ]
    fitting = {key: weights[key] for key, tensor in expected.items() if key in weights and _fits(weights[key], tensor)}
    problems = [
        *_listed("of another shape or dtype", _misfits(expected, weights, fitting)),
        *_listed("not finite", (key for key, tensor in fitting.items() if not tensor.isfinite().all())),
    ]
    if not expected.keys() & weights.keys() or problems or (strict and names):
        hint = "" if problems or not strict else "; --no-strict loads the others"
        raise ModelError(f"{path}: these weights do not fit the network: {'; '.join([*names, *problems])}{hint}")
    module.load_state_dict(weights, strict=False)  # strictly where asked for, above, but for what is no tensor
    return tuple(names)


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module by name; what it keeps beside them (``get_extra_state``) is no weight."""
    import torch

    return {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, torch.Tensor)}


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if path.suffix in _PICKLES:
        return _read_pickle(path)
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    except SafetensorError as error:
        raise ModelFileError(f"{path}: is not a safetensors file, or is truncated: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import pickle

    import torch

    try:
        with quiet():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        if not _CODE.search(str(error)):
            raise ModelFileError(f"{path}: is not a file of weights, or is truncated") from error
        raise ModelFileError(
            f"{path}: holds more than weights, and to load it could run code; save module.state_dict() alone, best as "
            "safetensors"
        ) from error
    except Exception as error:  # of zip files and old formats
        raise ModelFileError(f"{path}: is not a file of weights, or is truncated") from error
    return _opened(content, path)


def _opened(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint."""
    import torch

    for holder in _HOLDERS:
        if isinstance(content, Mapping) and isinstance(content.get(holder), Mapping):
            content = content[holder]
            break
    if not isinstance(content, Mapping) or not content:
        raise ModelFileError(f"{path}: holds a {type(content).__name__}, not weights by name")
    others = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        kinds = ", ".join(map(str, others[:_SHOWN]))
        raise ModelFileError(f"{path}: holds more than weights by name ({kinds}); save module.state_dict() alone")
    special = [str(key) for key, tensor in content.items() if not _is_plain(tensor)]
    if special:
        kinds = ", ".join(special[:_SHOWN])
        raise ModelFileError(f"{path}: holds sparse or quantised tensors, or some without numbers ({kinds})")
    return {str(key): tensor.contiguous() for key, tensor in content.items()}


def _is_plain(tensor: Tensor) -> bool:
    import torch

    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta


def _unprefixed(weights: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that every name has, and none of the module's, where that leads to the module's names."""
    found = weights
    for _ in range(_WRAPPERS):
        if not found or found.keys() & expected.keys():
            break
        prefix = "".join(next(iter(found)).partition(".")[:2])
        if not all(name.startswith(prefix) for name in found) or any(name.startswith(prefix) for name in expected):
            break
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found if found.keys() & expected.keys() else weights


def _fill_counters(weights: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Files from before torch 0.4.1, and of frozen BatchNorms, have no num_batches_tracked; nothing reads it here."""
    for name, tensor in expected.items():
        rest, _, last = name.rpartition(".")
        beside = f"{rest}.running_mean".removeprefix(".")
        if last == "num_batches_tracked" and name not in weights and beside in weights:
            weights[name] = tensor


def _misfits(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], fitting: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{key} ({_describe(weights[key])} for {_describe(tensor)})"
        for key, tensor in expected.items()
        if key in weights and key not in fitting
    ]


def _fits(given: Tensor, expected: Tensor) -> bool:
    """Whether it is of that shape, and of that dtype or a narrower one, which is exact."""
    is_exact = _dtype(expected) in _WIDER.get(_dtype(given), ())
    return given.shape == expected.shape and (given.dtype == expected.dtype or is_exact)


def _describe(tensor: Tensor) -> str:
    return f"{_dtype(tensor)}{list(tensor.shape)}"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(what: str, keys: Iterable[str]) -> list[str]:
    names = sorted(keys)
    if not names:
        return []
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what}: {', '.join(names[:_SHOWN])}{rest}"]

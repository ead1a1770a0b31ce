"""``timm:NAME``, ``torchvision:NAME`` and ``hf:FOLDER``: libraries of networks, where they are installed.

Nothing is downloaded unless that was allowed: the switches of the hubs are off, and torch's own loader, which has none,
refuses. Without downloads, and without ``--weights``, timm's and torchvision's networks have random weights.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.errors import BnfoldError, MissingDependencyError, ModelError
from bnfold.exporting.caller import one_line
from bnfold.exporting.conversion import quiet
from bnfold.exporting.shapes import InputShape, Symbol
from bnfold.exporting.sources.loaded import Loaded
from bnfold.exporting.sources.python import call
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from torch import nn

    from bnfold.exporting.sources.loaded import Permissions

__all__ = ["HUBS", "load"]

HUBS = {"timm": "timm", "torchvision": "torchvision", "hf": "transformers"}
_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_IMAGE = 224  # pixels: what torchvision's networks are trained on, but a few


def load(hub: str, name: str, arguments: Mapping[str, object], permissions: Permissions) -> Loaded:
    """The network of that name in a hub.

    Raises:
        MissingDependencyError: The library is not installed.
        BnfoldError: It has no such network, or the network takes no such argument.
        ModelError: The network cannot be built, or only from a download.
    """
    require("torch")
    opener = {"timm": _open_timm, "torchvision": _open_torchvision, "hf": _open_hf}[hub]
    with _offline(allow=permissions.download):
        try:
            library = importlib.import_module(HUBS[hub])
        except ModuleNotFoundError as error:
            if error.name != HUBS[hub]:
                raise
            raise MissingDependencyError(HUBS[hub], "") from error
        return opener(library, name, arguments, permissions.download)


def _open_timm(timm: Any, name: str, arguments: Mapping[str, object], download: bool) -> Loaded:
    if not timm.is_model(name):
        raise BnfoldError(f"timm:{name}: timm has no such network{_alike(name, timm.list_models())}")
    options = {"pretrained": download, **arguments}
    module = call(_bound(timm.create_model, name), options, f"timm:{name}")
    config = getattr(module, "pretrained_cfg", None) or {}
    size = config.get("input_size", (3, _IMAGE, _IMAGE))
    return Loaded(f"timm:{name}", module, shapes=(InputShape("", (Symbol("batch"), *size)),), is_drawn=not download)


def _open_torchvision(torchvision: Any, name: str, arguments: Mapping[str, object], download: bool) -> Loaded:
    models = importlib.import_module(f"{torchvision.__name__}.models")
    if name not in models.list_models():
        raise BnfoldError(f"torchvision:{name}: torchvision has no such network{_alike(name, models.list_models())}")
    # A segmentation network would fetch its backbone even where its own weights are None.
    none: dict[str, object] = {"weights": None, "weights_backbone": None}
    options: dict[str, object] = {"weights": "DEFAULT"} if download else none
    if not download and not _takes(models.get_model_builder(name), "weights_backbone"):
        options.pop("weights_backbone")
    module = call(_bound(models.get_model, name), {**options, **arguments}, f"torchvision:{name}")
    shape = InputShape("", (Symbol("batch"), 3, _IMAGE, _IMAGE))
    return Loaded(f"torchvision:{name}", module, shapes=(shape,), is_drawn=not download)


def _open_hf(transformers: Any, name: str, arguments: Mapping[str, object], download: bool) -> Loaded:
    if not download and not Path(name).is_dir():
        raise BnfoldError(f"hf:{name}: no such folder; --allow-download looks for it at huggingface.co")
    options = {"local_files_only": not download, "trust_remote_code": False}
    try:
        with nullcontext() if download else quiet():  # its progress is of interest where it takes long
            config = transformers.AutoConfig.from_pretrained(name, **options)
            opener = _architecture(transformers, config) or transformers.AutoModel
            module = opener.from_pretrained(name, **options, **arguments)
    except Exception as error:  # of many kinds, and many lines
        raise ModelError(f"hf:{name}: {one_line(error)}") from error
    folder = Path(name)
    return Loaded(f"hf:{name}", module, shapes=_hf_shapes(module, config), files=(folder,) if folder.exists() else ())


def _architecture(transformers: ModuleType, config: Any) -> Any:
    """The class that was saved, whose head ``AutoModel`` would leave out; None if that is not said, or not there."""
    (name, *_) = getattr(config, "architectures", None) or [""]
    return getattr(transformers, name, None) if name else None


def _hf_shapes(module: nn.Module, config: Any) -> tuple[InputShape, ...]:
    """Networks for images say how large these are; sentences may have any length."""
    name = getattr(module, "main_input_name", "")
    if name == "pixel_values":
        size = getattr(config, "image_size", None) or _IMAGE
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        return (InputShape(name, (Symbol("batch"), getattr(config, "num_channels", 3), height, width)),)
    if name == "input_ids":
        return (InputShape(name, (Symbol("batch"), Symbol("length", 16)), "int64"),)
    return ()


def _bound(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    return lambda **options: function(name, **options)


def _takes(function: Callable[..., Any], name: str) -> bool:
    import inspect

    return name in inspect.signature(function).parameters


def _alike(name: str, names: list[str]) -> str:
    found = difflib.get_close_matches(name, names, 3)
    return f"; it has {', '.join(found)}" if found else ""


@contextmanager
def _offline(*, allow: bool) -> Iterator[None]:
    """Keep the hubs off the network, unless it is allowed."""
    if allow:
        yield
        return
    import torch.hub

    before = {name: os.environ.get(name) for name in _SWITCHES}
    loader = torch.hub.download_url_to_file
    os.environ.update(dict.fromkeys(_SWITCHES, "1"))
    constants = sys.modules.get("huggingface_hub.constants")  # which reads its switch once, when it is imported
    was_offline = getattr(constants, "HF_HUB_OFFLINE", None)
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    torch.hub.download_url_to_file = _refuse_download
    try:
        yield
    finally:
        torch.hub.download_url_to_file = loader
        if constants is not None:
            constants.HF_HUB_OFFLINE = was_offline  # type: ignore[attr-defined]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _refuse_download(url: str, *_: object, **__: object) -> None:
    raise ModelError(f"{url} would have to be downloaded: give --allow-download, or --weights FILE")

"""What a training run leaves behind: weights.safetensors, metrics.json, curve.svg and card.md, in one go."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from bnfold import modelfile
from bnfold.errors import BnfoldError, ModelFileError
from bnfold.training import curve
from bnfold.zoo.tasks import CLASSIFY

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from bnfold.training.result import Epoch, TrainingResult
    from bnfold.zoo import Network
    from bnfold.zoo.data import Dataset

__all__ = ["CHECKPOINT", "LOG", "NAMES", "check_folder", "epoch_data", "versions", "write"]

WEIGHTS = "weights.safetensors"
METRICS = "metrics.json"
CURVE = "curve.svg"
CARD = "card.md"
LOG = "metrics.jsonl"  # a line an epoch, as training goes
CHECKPOINT = "checkpoint.pt"  # only while it goes
MODEL = "model.onnx"
_SHIPPED_BY_SCIKIT_LEARN = ("breast_cancer", "digits", "wine")
_SAME_BYTES = "The same versions on the same kind of machine give the same weights, byte for byte"
_OTHER_BYTES = "On a GPU the same versions give weights that differ in the last digits"
NAMES = (WEIGHTS, METRICS, CURVE, CARD, LOG, CHECKPOINT, MODEL)


def check_folder(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse, before any work, a folder that cannot be written or holds what would be lost.

    Raises:
        BnfoldError: One of the two.
    """
    weights, checkpoint = folder / WEIGHTS, folder / CHECKPOINT
    if not (overwrite or (resume and checkpoint.exists())):
        if checkpoint.exists():
            raise BnfoldError(
                f"{checkpoint}: a run that was interrupted left it; --resume goes on, --overwrite starts anew"
            )
        if weights.exists():
            raise BnfoldError(f"{weights}: trained weights are already there; --overwrite replaces them")
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise BnfoldError(f"{folder}: cannot be written: {nearest} is read-only or not a folder")


def versions() -> dict[str, str]:
    """What decides about the bytes of trained weights, and nothing that names this machine."""
    from bnfold import __version__

    packages = ("numpy", "scikit-learn", "torch")
    installed = {package: importlib.metadata.version(package) for package in packages}
    return {"bnfold": __version__, "python": platform.python_version(), **installed}


def write(module: nn.Module, result: TrainingResult, network: Network, data: Dataset) -> None:
    """Write the files into ``result.folder``; they appear together, when all are complete.

    Raises:
        ModelFileError: They cannot be written there.
    """
    import safetensors.torch

    try:
        result.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{result.folder}: cannot be made: {error.strerror}") from error
    contents = {
        WEIGHTS: safetensors.torch.save(module.state_dict()),
        METRICS: metrics(result, network).encode(),
        CURVE: curve.draw(_title(result), network.task.score_name, result.epochs).encode(),
        CARD: card(result, network, data).encode(),
    }
    weights = result.folder / WEIGHTS
    old = weights.read_bytes() if weights.exists() else contents[WEIGHTS]
    with ExitStack() as stack:
        for name, content in contents.items():
            stack.enter_context(modelfile.staged(result.folder / name)).write_bytes(content)
    if old != contents[WEIGHTS]:  # what was exported from the old ones would pass for an export of these
        (result.folder / MODEL).unlink(missing_ok=True)


def metrics(result: TrainingResult, network: Network) -> str:
    """``metrics.json``: the run's settings, versions and every epoch."""
    content = {
        "schema_version": 2,
        "network": result.network,
        "data": result.data,
        "command": result.command,
        "versions": dict(result.versions),
        "settings": asdict(result.settings),
        "train_size": result.train_size,
        "held_out_size": result.held_out_size,
        "input_shape": list(network.input_shape),
        "classes": network.classes,
        "parameters": result.parameters,
        "accuracy": round(result.accuracy, 6),
        "epochs": [epoch_data(epoch) for epoch in result.epochs],
    }
    return json.dumps(content, indent=2) + "\n"


def epoch_data(epoch: Epoch) -> dict[str, float]:
    """An epoch in ``metrics.json``, and as a line of ``metrics.jsonl``."""
    return {
        "epoch": epoch.number,
        "loss": round(epoch.loss, 6),
        "train_accuracy": round(epoch.train_accuracy, 6),
        "held_out_accuracy": round(epoch.held_out_accuracy, 6),
        "seconds": round(epoch.seconds, 3),
    }


def _title(result: TrainingResult) -> str:
    return f"{result.network} on {result.data}"


def _epochs(result: TrainingResult) -> str:
    statistics = ", exact statistics" if result.settings.exact_stats else ""
    return f"{len(result.epochs)} epochs, last epoch's weights{statistics}"


def _chosen(result: TrainingResult) -> str:
    if result.settings.target is None:
        return "nothing"
    return f"the last epoch, the first to reach {result.settings.target:.2%}, so that its accuracy there is flattered"


def _score(result: TrainingResult, network: Network) -> str:
    if network.task is not CLASSIFY:
        return f"{result.accuracy:.2%} of {result.held_out_size} rows"
    wrong = round((1 - result.accuracy) * result.held_out_size)
    return f"{result.accuracy:.2%} ({wrong} of {result.held_out_size} wrong)"


def _placement(result: TrainingResult, network: Network) -> list[str]:
    if not network.placements:
        return []
    return [f"| their placement | {result.settings.placement or network.placements[0]} |"]


def card(result: TrainingResult, network: Network, data: Dataset) -> str:
    """``card.md``: what the network is, how good it is, and how to make it again."""
    shape = " × ".join(str(size) for size in ("batch", *network.input_shape))
    lines = (
        f"# {network.name}",
        "",
        f"{network.summary[0].upper()}{network.summary[1:]}.",
        "",
        "| what | value |",
        "| :--- | :--- |",
        f"| held-out {network.task.score_name} | {_score(result, network)} |",
        f"| trained on | {result.train_size} rows, {_epochs(result)} |",
        f"| parameters | {result.parameters} |",
        f"| BatchNorms | {', '.join(f'{name} ({size})' for name, size in result.batch_norms.items()) or 'none'} |",
        *_placement(result, network),
        f"| input | `{network.input_name}`, float32 {shape} |",
        f"| output | `{network.output_name}`, float32, {network.task.output} |",
        "",
        f"![loss and {network.task.score_name} by epoch](curve.svg)",
        "",
        f"Code: [`bnfold/zoo/{network.name}.py`](../../bnfold/zoo/{network.name}.py).",
        "",
        "## Data",
        "",
        f"{data.description}; what is held out chooses {_chosen(result)}. Source: {data.source}.",
        "",
        "## Rebuild",
        "",
        f"    pip install -e '.[cpu,{'study' if data.name in _SHIPPED_BY_SCIKIT_LEARN else 'data'},torch]'",
        f"    {result.command}",
        f"    bnfold export {network.name}",
        "",
        f"{_SAME_BYTES if result.settings.device == 'cpu' else _OTHER_BYTES}; "
        f"this was {', '.join(f'{package} {version}' for package, version in result.versions.items())}.",
        "",
        "## Licence",
        "",
        "The weights are under bnfold's licence (MIT); the data under that named above.",
    )
    return "\n".join(lines) + "\n"

"""Train a network of the zoo: one loop, no framework.

What ``train("digits_cnn")`` should show: about 99 % on the held-out digits after 20 epochs, in two or three
seconds on one core.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold import zoo
from bnfold.errors import BnfoldError
from bnfold.training import files
from bnfold.training.norms import parse_norm, set_norms
from bnfold.training.result import Epoch, TrainingResult
from bnfold.training.seeding import one_seeded_thread
from bnfold.training.settings import Settings
from bnfold.training.statistics import recompute_statistics
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress
    from torch import nn

    from bnfold.zoo import Network
    from bnfold.zoo.data import Dataset
    from bnfold.zoo.tasks import Targets

__all__ = ["train"]


def train(
    name: str,
    *,
    output: str | os.PathLike[str] | None = None,
    epochs: int = 20,
    seed: int = 0,
    lr: float = 0.05,
    batch_size: int = 64,
    optimizer: str = "sgd",
    schedule: str = "cosine",
    norm: str = "batch",
    momentum: float | None = None,
    eps: float | None = None,
    exact_stats: bool = False,
    target: float | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> TrainingResult:
    """Train a network of the zoo and write its weights, its metrics and its card.

    On the CPU, on one thread: the same seed gives the same bytes on the same machine with the same versions. The
    weights kept are the last epoch's. The caller's random state and number of threads are left as they were.

    Args:
        name: A network of ``bnfold.zoo``.
        output: The folder to write into; ``models/NAME`` if None. It is made where missing.
        epochs: Passes over the training data, at least 1.
        seed: Of the initial weights, the dropout and the order of the batches; 0 or more.
        lr: Learning rate of the first epoch.
        batch_size: Rows a step, at least 2: BatchNorm has no statistics of a single row.
        optimizer: ``sgd``, with momentum 0.9, or ``adamw``; both with a weight decay of 5e-4.
        schedule: ``cosine``, from ``lr`` to 0, or ``constant``.
        norm: What stands where the network has BatchNorm: ``batch``, ``none``, or ``ghost:N`` for the statistics of
            groups of N rows of each batch.
        momentum: How far a batch moves the running statistics, above 0 and up to 1; the network's own if None.
        eps: What BatchNorm adds to the variance; the network's own if None.
        exact_stats: Whether the running statistics, a moving average of batches, give way at the end to those of all
            training data, layer by layer.
        target: The held-out score, 0…1, at which training ends early, and below which the result counts as failed; it
            is written anyway. The held-out data then choose the epoch, and the card says so; without a target they
            choose nothing.
        overwrite: Replace weights that are already there; an ONNX file that was exported from them goes with them.
        progress: Show a progress bar on stderr, if that is a terminal.

    Raises:
        MissingDependencyError: torch, safetensors or scikit-learn is not installed.
        BnfoldError: The name is unknown, a setting makes no sense, weights are already there, or the loss is
            no longer finite. Nothing is written then.
    """
    network = zoo.find(name)
    folder = Path(output) if output is not None else Path("models") / name
    settings = Settings(
        epochs=epochs,
        seed=seed,
        lr=lr,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=schedule,
        norm=norm,
        momentum=momentum,
        eps=eps,
        exact_stats=exact_stats,
        target=target,
    )
    settings.check()
    files.check_folder(folder, overwrite=overwrite)
    require("torch", "safetensors")
    data = network.load_data()
    settings.check(len(data.train_inputs))

    with one_seeded_thread(seed), _progress_bar(progress) as bar:
        module, history = _fit(network, data, settings, bar)
        accuracy = history[-1].held_out_accuracy
        if exact_stats:
            accuracy = _with_exact_statistics(network, module, data, batch_size)

    result = TrainingResult(
        network=name,
        folder=folder,
        accuracy=accuracy,
        reached=target is None or accuracy >= target,
        settings=settings,
        train_size=len(data.train_inputs),
        held_out_size=len(data.held_out_inputs),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        batch_norms=_batch_norms(module),
        epochs=tuple(history),
        seconds=sum(epoch.seconds for epoch in history),
        command=f"bnfold train {name} {settings.options()} --overwrite",
        versions=files.versions(),
    )
    files.write(module, result, network, data)
    return result


def _fit(network: Network, data: Dataset, settings: Settings, bar: Progress) -> tuple[nn.Module, list[Epoch]]:
    """The loop."""
    import torch

    inputs, targets = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_targets)
    steps = len(inputs) // settings.batch_size  # a smaller last batch would have noisier statistics: left out

    module = network.build()
    set_norms(module, parse_norm(settings.norm), momentum=settings.momentum, eps=settings.eps)
    optimizer, schedule = settings.build_optimizer(module.parameters())
    shuffling = torch.Generator().manual_seed(settings.seed)
    history: list[Epoch] = []
    task = bar.add_task(f"training {network.name}", total=settings.epochs)
    for number in range(1, settings.epochs + 1):
        start = time.perf_counter()
        module.train()
        total = 0.0
        order = torch.randperm(len(inputs), generator=shuffling)[: steps * settings.batch_size]
        for rows in order.view(steps, settings.batch_size):
            loss = network.task.loss(module(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        schedule.step()
        if not math.isfinite(total):
            raise BnfoldError(f"the loss of epoch {number} is not finite: try a smaller --lr than {settings.lr}")
        train_accuracy = _score(network, module, data.train_inputs, data.train_targets)
        held_out_accuracy = _score(network, module, data.held_out_inputs, data.held_out_targets)
        seconds = time.perf_counter() - start
        history.append(Epoch(number, total / steps, train_accuracy, held_out_accuracy, seconds))
        bar.update(task, advance=1, description=f"training {network.name}: {held_out_accuracy:.1%} held out")
        if settings.target is not None and held_out_accuracy >= settings.target:
            break
    return module, history


def _with_exact_statistics(network: Network, module: nn.Module, data: Dataset, batch_size: int) -> float:
    """Put the statistics of all training data into a module; its held-out accuracy with them."""
    import torch

    recompute_statistics(module, torch.split(torch.from_numpy(data.train_inputs), batch_size), layer_by_layer=True)
    return _score(network, module, data.held_out_inputs, data.held_out_targets)


def _progress_bar(wanted: bool) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    # Ask the stream itself: rich takes FORCE_COLOR for a terminal, and the bar would end up in a log.
    visible = wanted and sys.stderr.isatty()
    return Progress(console=Console(stderr=True), transient=True, disable=not visible)


def _score(network: Network, module: nn.Module, inputs: NDArray[np.float32], targets: Targets) -> float:
    import torch

    module.eval()
    with torch.inference_mode():
        return network.task.score(module(torch.from_numpy(inputs)).numpy(), targets)


def _batch_norms(module: nn.Module) -> dict[str, int]:
    from torch.nn.modules.batchnorm import _BatchNorm

    return {name: part.num_features for name, part in module.named_modules() if isinstance(part, _BatchNorm)}

"""Train a network of the zoo: one loop, no framework.

What ``train("digits_cnn")`` should show: about 99 % on the held-out digits after 20 epochs, in two or three
seconds on one core.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold import zoo
from bnfold.errors import BnfoldError
from bnfold.training import files
from bnfold.training.result import Epoch, TrainingResult
from bnfold.zoo import data as datasets
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from rich.progress import Progress
    from torch import Tensor, nn

    from bnfold.zoo import Network
    from bnfold.zoo.data import Dataset

__all__ = ["train"]

_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4


def train(
    name: str,
    *,
    output: str | os.PathLike[str] | None = None,
    epochs: int = 20,
    seed: int = 0,
    lr: float = 0.05,
    batch_size: int = 64,
    target: float | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> TrainingResult:
    """Train a network of the zoo and write its weights, its metrics and its card.

    SGD with momentum and a cosine from ``lr`` to zero, on the CPU, on one thread: the same seed gives the
    same bytes on the same machine with the same versions. The weights kept are the last epoch's: the held-out
    data choose nothing. The caller's random state and number of threads are left as they were.

    Args:
        name: A network of ``bnfold.zoo``.
        output: The folder to write into; ``models/NAME`` if None. It is made where missing.
        epochs: Passes over the training data, at least 1.
        seed: Of the initial weights, the dropout and the order of the batches; 0 or more.
        lr: Learning rate of the first epoch.
        batch_size: Rows a step, at least 2: BatchNorm has no statistics of a single row.
        target: The held-out accuracy, 0…1, below which the result counts as failed; it is written anyway.
        overwrite: Replace weights that are already there.
        progress: Show a progress bar on stderr, if that is a terminal.

    Raises:
        MissingDependencyError: torch, safetensors or scikit-learn is not installed.
        BnfoldError: The name is unknown, a setting makes no sense, weights are already there, or the loss is
            no longer finite. Nothing is written then.
    """
    network = zoo.find(name)
    folder = Path(output) if output is not None else Path("models") / name
    _check_settings(epochs=epochs, seed=seed, lr=lr, batch_size=batch_size, target=target)
    files.check_folder(folder, overwrite=overwrite)
    require("torch", "safetensors")
    data = datasets.load(network.data)
    if batch_size > len(data.train_inputs):
        raise BnfoldError(f"--batch-size {batch_size}: there are {len(data.train_inputs)} rows to train on")

    with _one_seeded_thread(seed), _progress_bar(progress) as bar:
        module, history = _fit(network, data, epochs=epochs, seed=seed, lr=lr, batch_size=batch_size, bar=bar)

    accuracy = history[-1].held_out_accuracy
    options = f"--epochs {epochs} --seed {seed} --lr {lr} --batch-size {batch_size}"
    result = TrainingResult(
        network=name,
        folder=folder,
        accuracy=accuracy,
        target=target,
        reached=target is None or accuracy >= target,
        seed=seed,
        lr=lr,
        batch_size=batch_size,
        train_size=len(data.train_inputs),
        held_out_size=len(data.held_out_inputs),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        batch_norms=_batch_norms(module),
        epochs=tuple(history),
        seconds=sum(epoch.seconds for epoch in history),
        command=f"bnfold train {name} {options} --overwrite",
        versions=files.versions(),
    )
    files.write(module, result, network, data)
    return result


def _fit(
    network: Network, data: Dataset, *, epochs: int, seed: int, lr: float, batch_size: int, bar: Progress
) -> tuple[nn.Module, list[Epoch]]:
    """The loop."""
    import torch
    from torch.nn.functional import cross_entropy

    inputs, labels = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_labels)
    held_out = torch.from_numpy(data.held_out_inputs), torch.from_numpy(data.held_out_labels)
    steps = len(inputs) // batch_size  # a smaller last batch would have noisier statistics: left out

    module = network.build()
    optimizer = torch.optim.SGD(module.parameters(), lr, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    shuffling = torch.Generator().manual_seed(seed)
    history: list[Epoch] = []
    task = bar.add_task(f"training {network.name}", total=epochs)
    for number in range(1, epochs + 1):
        start = time.perf_counter()
        module.train()
        total = 0.0
        order = torch.randperm(len(inputs), generator=shuffling)[: steps * batch_size]
        for rows in order.view(steps, batch_size):
            loss = cross_entropy(module(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        schedule.step()
        if not math.isfinite(total):
            raise BnfoldError(f"the loss of epoch {number} is not finite: try a smaller --lr than {lr}")
        train_accuracy, held_out_accuracy = _accuracy(module, inputs, labels), _accuracy(module, *held_out)
        seconds = time.perf_counter() - start
        history.append(Epoch(number, total / steps, train_accuracy, held_out_accuracy, seconds))
        bar.update(task, advance=1, description=f"training {network.name}: {held_out_accuracy:.1%} held out")
    return module, history


def _check_settings(*, epochs: int, seed: int, lr: float, batch_size: int, target: float | None) -> None:
    if epochs < 1:
        raise BnfoldError(f"--epochs {epochs}: train for at least 1")
    if not 0 <= seed < 2**63:
        raise BnfoldError(f"--seed {seed}: give a number from 0 to 2**63 - 1")
    if not (math.isfinite(lr) and lr > 0):
        raise BnfoldError(f"--lr {lr}: give a learning rate above 0")
    if batch_size < 2:
        raise BnfoldError(f"--batch-size {batch_size}: BatchNorm needs at least 2 rows to have statistics of")
    if target is not None and not 0 <= target <= 1:
        raise BnfoldError(f"--target {target}: an accuracy lies between 0 and 1")


@contextmanager
def _one_seeded_thread(seed: int) -> Iterator[None]:
    """The default generator, which weights and dropout draw from, starts at ``seed``; all is put back.

    One thread, because two add up in another order and differ in the last bits.
    """
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs as well
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _progress_bar(wanted: bool) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    # Ask the stream itself: rich takes FORCE_COLOR for a terminal, and the bar would end up in a log.
    visible = wanted and sys.stderr.isatty()
    return Progress(console=Console(stderr=True), transient=True, disable=not visible)


def _accuracy(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    import torch

    module.eval()
    with torch.inference_mode():
        return float((module(inputs).argmax(1) == labels).double().mean())


def _batch_norms(module: nn.Module) -> dict[str, int]:
    from torch.nn.modules.batchnorm import _BatchNorm

    return {name: part.num_features for name, part in module.named_modules() if isinstance(part, _BatchNorm)}

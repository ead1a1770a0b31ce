"""A run that was killed goes on where its last whole epoch ended, and gives the bytes that it would have given.

Everything that changes from one epoch to the next is in ``checkpoint.pt``: the weights and running statistics, what
the optimizer remembers, where its schedule is, the states of the random generators, and the epochs so far. It is
written beside its place and then renamed, so that there is always the last one or the one before, whole.
``metrics.jsonl``, a line an epoch, is for whoever watches; what it has beyond the checkpoint is cut off again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bnfold.errors import BnfoldError, ModelFileError
from bnfold.training.files import CHECKPOINT, LOG, epoch_data
from bnfold.training.result import Epoch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from bnfold.training.processes import Processes
    from bnfold.training.settings import Settings
    from bnfold.zoo import Network
    from bnfold.zoo.data import Dataset

__all__ = ["Checkpoint", "Run", "identity"]

# What torch, zipfile and our own look-ups make of a file that is damaged, or is something else.
_UNREADABLE = (
    *(AttributeError, EOFError, IndexError, KeyError, RuntimeError, TypeError, ValueError),
    *(pickle.UnpicklingError, zipfile.BadZipFile),
)


@dataclass
class Run:
    """What changes while a network is trained.

    Attributes:
        module: Its weights and running statistics.
        optimizer: With what it remembers of earlier steps.
        schedule: Of the learning rate.
        shuffling: Draws the order of the rows.
        history: The epochs so far.
        resumed_after: How many of them come from a checkpoint.
    """

    module: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    shuffling: Generator
    history: list[Epoch] = field(default_factory=list)
    resumed_after: int = 0


def identity(network: Network, data: Dataset, settings: Settings, processes: Processes) -> dict[str, object]:
    """All that decides what a run comes to: a checkpoint is continued where all of it is the same."""
    import torch

    from bnfold import __version__

    digest = hashlib.sha256()
    for part in (data.train_inputs, data.train_targets, data.held_out_inputs, data.held_out_targets):
        digest.update(part.tobytes())
    return {
        "network": network.name,
        **asdict(settings),
        "data": data.name,
        "digest of the data": digest.hexdigest()[:16],
        "processes": processes.count,
        "bnfold": __version__,
        "torch": str(torch.__version__),
    }


@dataclass(frozen=True)
class Checkpoint:
    """What one run writes as it goes: ``metrics.jsonl``, and ``checkpoint.pt``.

    Attributes:
        folder: That it writes to; it is made where missing.
        identity: What the run is.
        processes: That take part in it.
        resume: Whether the run goes on from one that is there; it takes its place otherwise.
    """

    folder: Path
    identity: Mapping[str, object]
    processes: Processes
    resume: bool = False

    def keep(self, run: Run) -> None:
        """Write down the last epoch, and the state at its end in place of the one before.

        Raises:
            ModelFileError: They cannot be written.
        """
        generators = self.processes.all(_generator_state(self.processes.device))
        if self.processes.rank:
            return
        import torch

        state = {
            "identity": dict(self.identity),
            "module": run.module.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "schedule": run.schedule.state_dict(),
            "shuffling": run.shuffling.get_state(),
            "generators": generators,
            "history": [asdict(epoch) for epoch in run.history],
        }
        content = io.BytesIO()  # on a full disk torch.save raises what its writer makes of that
        torch.save(state, content)
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._log(run.history[-1:], anew=len(run.history) == 1)
            with self._beside.open("wb") as stream:
                stream.write(content.getbuffer())
                stream.flush()
                os.fsync(stream.fileno())
            self._beside.replace(self._path)

    def restore(self, run: Run) -> None:
        """Put a run where the checkpoint is, if there is one and it is to go on.

        Raises:
            ModelFileError: It cannot be read, or the log beside it cannot be written.
            BnfoldError: It is that of another run; the message lists what differs.
        """
        if not self.resume:
            self.discard()
            return
        state = self.processes.first(self._read)
        if state is None:
            return
        with self._reading():
            run.module.load_state_dict(state["module"])
            run.optimizer.load_state_dict(state["optimizer"])
            run.schedule.load_state_dict(state["schedule"])
            run.shuffling.set_state(state["shuffling"])
            _set_generator_state(self.processes.device, state["generators"][self.processes.rank])
            run.history[:] = [Epoch(**epoch) for epoch in state["history"]]
        run.resumed_after = len(run.history)
        if self.processes.rank == 0:
            with self._writing():
                self._log(run.history, anew=True)

    def discard(self) -> None:
        """Take the checkpoint away: the run is at its end, or begins anew."""
        if self.processes.rank == 0:
            for path in (self._path, self._beside):
                path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def _beside(self) -> Path:
        return self.folder / f".{CHECKPOINT}.new"

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What is raised within is the checkpoint's fault: it is no whole one, or none of this network."""
        try:
            yield
        except (*_UNREADABLE, OSError) as error:
            raise ModelFileError(f"{self._path}: is no checkpoint that can be read; --overwrite starts anew") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A disk that is full, say, leaves the checkpoint before, and no half of the next."""
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                self._beside.unlink(missing_ok=True)
            raise ModelFileError(f"{self.folder}: cannot be written: {error.strerror or error}") from error

    def _log(self, epochs: Iterable[Epoch], *, anew: bool) -> None:
        with (self.folder / LOG).open("w" if anew else "a", encoding="utf-8") as stream:
            stream.writelines(f"{json.dumps(epoch_data(epoch))}\n" for epoch in epochs)

    def _read(self) -> dict[str, Any] | None:
        import torch

        if not self._path.exists():
            return None
        with self._reading():
            _check_sums(self._path)
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            found = state["identity"]
            differing = [
                f"{name} {_shown(found.get(name))} there, {_shown(wanted)} here"
                for name, wanted in self.identity.items()
                if found.get(name) != wanted
            ]
        if differing:
            raise BnfoldError(
                f"{self._path}: is of another run: {'; '.join(differing)}; "
                "--resume goes on with the same settings, and --overwrite without it starts anew"
            )
        whole: dict[str, Any] = state
        return whole


def _check_sums(path: Path) -> None:
    """Compare each part of the archive with its checksum, which torch writes and does not look at."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


def _generator_state(device: str) -> Tensor:
    """Of the generator that dropout draws from."""
    import torch

    return torch.get_rng_state() if device == "cpu" else torch.cuda.get_rng_state(device)


def _set_generator_state(device: str, state: Tensor) -> None:
    import torch

    if device == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)

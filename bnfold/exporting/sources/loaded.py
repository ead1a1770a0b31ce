"""What every kind of source gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import ModelFileError

if TYPE_CHECKING:
    import os

    from torch import nn
    from torch.export import ExportedProgram

    from bnfold.exporting.shapes import InputShape
    from bnfold.zoo import Network

__all__ = ["Loaded", "Permissions"]


@dataclass(frozen=True)
class Permissions:
    """What a user has allowed.

    Attributes:
        trust: Files may be loaded that can run code.
        download: Hubs may go to the network, for pretrained weights.
    """

    trust: bool = False
    download: bool = False


@dataclass(frozen=True)
class Loaded:
    """A network, and what its source knows of it.

    Attributes:
        name: What reports call it.
        module: The network.
        shapes: What it takes; empty where the source does not know.
        output_names: What it gives; empty likewise.
        program: The exported program that the module was made of, if it was.
        network: The entry of the zoo, if it is one.
        weights: The file that its weights are in, which is still to be loaded; None where they are loaded.
        files: What it was read from, and what no output may overwrite.
        is_drawn: Its weights are random.
        is_shared: Somebody else holds the module, so that it must stay as it is.
    """

    name: str
    module: nn.Module
    shapes: tuple[InputShape, ...] = ()
    output_names: tuple[str, ...] = ()
    program: ExportedProgram | None = None
    network: Network | None = None
    weights: Path | None = None
    files: tuple[Path, ...] = ()
    is_drawn: bool = False
    is_shared: bool = False

    def find_weights(self, given: str | os.PathLike[str] | None) -> Path | None:
        """The file of weights to load: the one that is given, or else the source's own; None where there is neither.

        Raises:
            ModelFileError: It is not there.
        """
        path = Path(given) if given is not None else self.weights
        if path is not None and not path.exists():
            hint = f"; run 'bnfold train {self.name}', or give --weights FILE" if self.network is not None else ""
            raise ModelFileError(f"{path}: no such file{hint}")
        return path

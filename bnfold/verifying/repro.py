"""What shows a failure again: an input, the nodes that part, and the command."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import BnfoldError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from bnfold.runtime.sessions import Feeds
    from bnfold.verifying.locating import Located

__all__ = ["Repro"]


class Repro:
    """A folder for what shows a failure again.

    Raises:
        BnfoldError: It is a file, or has something in it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        if self._folder.exists() and not self._folder.is_dir():
            raise BnfoldError(f"{self._folder}: is a file; a repro needs a folder of its own")
        if self._folder.is_dir() and any(self._folder.iterdir()):
            raise BnfoldError(f"{self._folder}: is not empty; nothing there is overwritten, give a new folder")

    def write(
        self,
        reference: str,
        candidate: str,
        options: Sequence[str],
        limits: Sequence[str],
        feeds: Feeds,
        located: Located | None,
    ) -> None:
        """Write ``input.npz`` and ``README.md``; if the models part somewhere, both sub-models and ``part.npz``.

        Args:
            reference: The path of the whole model.
            candidate: The same.
            options: Of the command that found the difference.
            limits: Those of them that hold for the part alone as well: on time and memory.
            feeds: An input on which the two differ.
            located: Where they part, if that was found.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        _write_arrays(self._folder / "input.npz", feeds)
        paths = (f"./{path}" if path.startswith("-") else path for path in (reference, candidate))
        words = ["bnfold", "verify", *paths, "--inputs", str(self._folder / "input.npz"), *options]
        lines = ["# Two models that are not equivalent", "", "On one input, where the command was given:", ""]
        lines += [f"    {shlex.join(words)}", ""]
        if located is None:
            lines += ["No single tensor parts by more than rounding from those in front of it.", ""]
        else:
            (self._folder / "reference.onnx").write_bytes(located.reference)
            (self._folder / "candidate.onnx").write_bytes(located.candidate)
            _write_arrays(self._folder / "part.npz", located.feeds)
            found = located.divergence
            part = ["bnfold", "verify", "reference.onnx", "candidate.onnx", "--inputs", "part.npz", *limits]
            lines += [
                f"The first tensor that parts is '{found.candidate}', where the reference has '{found.reference}'.",
                "The nodes in front of it alone, on what the reference has there; in this folder:",
                "",
                f"    {shlex.join(part)}",
                "",
            ]
        (self._folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _write_arrays(path: Path, arrays: Feeds) -> None:
    """One array for each name, as ``numpy.load`` reads them; ``numpy.savez`` has names of its own that it refuses."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)

"""Open and save .onnx files at the speed of copying them.

    opening.py    reads all of a model but the numbers of its large tensors, which
    tensors.py    read them when they are asked for, from a
    source.py     file that is held open, and must not change
    checking.py   what is refused
    saving.py     writes all of a model but these numbers, and has them go from file to file into its
    output.py     file in the making, which
    staging.py    appears complete or not at all
    placing.py    where files go, and what they must not take the place of
    keeping.py    what onnx-ir drops, and gets back
    sparse.py     initializers of which only some elements are stored
    limits.py     which tensors are large
    sizes.py      how many bytes that is
    shells.py     a model with other tensors in it, to be serialised
    wire.py       exchanges the numbers of tensors in a serialised model
    graphs.py     the graphs of a model, and the places where they hold tensors

External data is read only from inside the model's own folder.
"""

from __future__ import annotations

from bnfold.modelfile.checking import cause_of
from bnfold.modelfile.graphs import all_graphs, values_of, with_bodies
from bnfold.modelfile.keeping import is_trained
from bnfold.modelfile.opening import check_unchanged, load
from bnfold.modelfile.placing import data_file_of, resolved
from bnfold.modelfile.saving import Saved, find_external_files, save
from bnfold.modelfile.sizes import NOTABLE_GROWTH, size_of
from bnfold.modelfile.staging import staged
from bnfold.modelfile.tensors import is_in_file

__all__ = [
    "NOTABLE_GROWTH",
    "Saved",
    "all_graphs",
    "cause_of",
    "check_unchanged",
    "data_file_of",
    "find_external_files",
    "is_in_file",
    "is_trained",
    "load",
    "resolved",
    "save",
    "size_of",
    "staged",
    "values_of",
    "with_bodies",
]

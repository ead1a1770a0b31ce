"""Small modules as ONNX models, for tests of what comes after an export."""

from bnfold.exporting.conversion import Request, convert


def to_onnx(module, example, *, input_name, output_name):
    """A module of one input and one output, whose first axis is ``batch``, as torch's exporter makes it."""
    return convert(Request(module, (example,), {}, [input_name], [{0: "batch"}], [output_name]))

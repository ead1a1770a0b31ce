"""A part of a model, under the names of another."""

import numpy as np
import onnx_ir as ir
import pytest

from bnfold import modelfile
from bnfold.runtime.sessions import Level, run
from bnfold.verifying.parts import Whole, as_model
from tests.helpers.models import parse


@pytest.mark.parametrize("names", [{"y": "a"}, {"x": "a", "y": "z"}, {"y": "w"}])
def test_a_tensor_that_is_called_like_one_of_the_other_model_is_still_its_own(tmp_path, names):
    model = parse("g (float[3] x) => (float[3] y) <float[3] w = {1, 2, 3}> { a = Add(x, w) y = Neg(a) }")
    whole = Whole(ir.to_proto(model))
    x = np.array([-1, 0, 5], np.float32)
    part = as_model(whole.part("y", ()), whole.model, {names.get("x", "x"): x}, x.dtype, names)
    modelfile.save(ir.from_proto(part), tmp_path / "part.onnx")
    (outputs,) = run(tmp_path / "part.onnx", Level.DISABLED, [{names.get("x", "x"): x}])
    assert outputs[names["y"]].tolist() == [0, -2, -8]

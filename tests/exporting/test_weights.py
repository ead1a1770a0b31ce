"""Weights are loaded strictly: whatever does not fit is named, and nothing is written."""

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from bnfold.errors import ModelError, ModelFileError
from bnfold.exporting import export
from bnfold.exporting.weights import load_weights
from tests.exporting.networks import conv_bn


@pytest.fixture
def weights(shipped):
    return load_file(shipped / "weights.safetensors")


def refusal(tmp_path, kind=ModelError):
    """The message with which ``tmp_path/w.safetensors`` is refused."""
    with pytest.raises(kind) as caught:
        export("digits_cnn", weights=tmp_path / "w.safetensors", output=tmp_path / "model.onnx")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "model.onnx").exists()
    return str(caught.value)


def test_missing_weights_say_how_to_get_some(tmp_path):
    message = refusal(tmp_path, ModelFileError)

    assert "w.safetensors: no such file; run 'bnfold train digits_cnn', or give --weights FILE" in message


def test_a_folder_is_no_weights(tmp_path):
    (tmp_path / "w.safetensors").mkdir()

    assert "cannot be read: Is a directory" in refusal(tmp_path, ModelFileError)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", bytes(8), b"\xff" * 64])
def test_corrupt_weights_are_refused(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)

    assert "is not a safetensors file, or is truncated" in refusal(tmp_path, ModelFileError)


def test_truncated_weights_are_refused(shipped, tmp_path):
    (tmp_path / "w.safetensors").write_bytes((shipped / "weights.safetensors").read_bytes()[:-1])

    assert "is not a safetensors file, or is truncated" in refusal(tmp_path, ModelFileError)


def test_missing_and_unknown_names_are_listed(weights, tmp_path):
    weights["bn9.weight"] = weights.pop("bn4.weight")
    save_file(weights, tmp_path / "w.safetensors")

    message = refusal(tmp_path)

    assert "missing: bn4.weight; not in the network: bn9.weight" in message


def test_a_long_list_of_names_is_cut(tmp_path):
    save_file({"other": torch.zeros(1)}, tmp_path / "w.safetensors")

    assert "bn1.weight and 23 more; not in the network: other" in refusal(tmp_path)


def test_another_shape_is_named(weights, tmp_path):
    weights["fc2.bias"] = torch.zeros(11)
    save_file(weights, tmp_path / "w.safetensors")

    assert "of another shape or dtype: fc2.bias (float32[11] for float32[10])" in refusal(tmp_path)


def test_another_dtype_is_named_instead_of_converted(weights, tmp_path):
    weights["fc2.bias"] = weights["fc2.bias"].double()
    save_file(weights, tmp_path / "w.safetensors")

    assert "fc2.bias (float64[10] for float32[10])" in refusal(tmp_path)


def test_nan_is_refused(weights, tmp_path):
    weights["bn2.running_var"][5] = float("nan")
    save_file(weights, tmp_path / "w.safetensors")

    assert "not finite: bn2.running_var" in refusal(tmp_path)


@pytest.fixture
def module():
    return conv_bn()


@pytest.fixture
def state():
    return {name: tensor + 1 for name, tensor in conv_bn().state_dict().items()}


def holds(module, state):
    return all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt"])
def test_torchs_own_files_are_read(suffix, module, state, tmp_path):
    torch.save(state, tmp_path / f"w.{suffix}")

    assert load_weights(module, tmp_path / f"w.{suffix}") == ()
    assert holds(module, state)


@pytest.mark.parametrize("holder", ["state_dict", "model_state_dict", "model", "ema"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "model.", "net.module."]
)
def test_a_checkpoint_and_the_prefixes_of_wrappers_are_seen_through(holder, prefix, module, state, tmp_path):
    wrapped = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, holder: wrapped}, tmp_path / "w.pt")

    load_weights(module, tmp_path / "w.pt")

    assert holds(module, state)


def test_a_prefix_that_the_module_has_itself_stays(state, tmp_path):
    module = torch.nn.Module()
    module.module = conv_bn()
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "w.pt")

    load_weights(module, tmp_path / "w.pt")

    assert holds(module.module, state)


class Runs:
    """What a pickle can do."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


@pytest.mark.parametrize("content", [{"w": Runs()}, Runs(), conv_bn()], ids=["nested", "alone", "a module"])
def test_nothing_but_tensors_is_read_of_a_pickle(content, module, tmp_path):
    torch.save(content, tmp_path / "w.pt")

    with pytest.raises(ModelFileError, match=r"could run code; save module\.state_dict\(\) alone") as caught:
        load_weights(module, tmp_path / "w.pt")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": 1})[:-3]])
def test_what_is_no_file_of_weights_is_told(content, module, tmp_path):
    (tmp_path / "w.pt").write_bytes(content)

    with pytest.raises(ModelFileError, match="is not a file of weights, or is truncated"):
        load_weights(module, tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "loss": 0.5}, r"holds more than weights by name \(epoch, loss\)"),
        ([1, 2], "holds a list, not weights by name"),
        ({}, "holds a dict, not weights by name"),
    ],
)
def test_a_file_of_something_else_is_told(content, message, module, tmp_path):
    torch.save(content, tmp_path / "w.pt")

    with pytest.raises(ModelFileError, match=message):
        load_weights(module, tmp_path / "w.pt")


def test_names_that_differ_are_an_error_and_only_told_without_strict(module, state, tmp_path):
    kept = module.state_dict()["1.bias"].clone()
    state["2.more"] = state.pop("1.bias")
    torch.save(state, tmp_path / "w.pt")

    with pytest.raises(
        ModelError, match=r"missing: 1\.bias; not in the network: 2\.more; --no-strict loads the others"
    ):
        load_weights(module, tmp_path / "w.pt")
    told = load_weights(module, tmp_path / "w.pt", strict=False)

    assert told == ("missing: 1.bias", "not in the network: 2.more")
    assert torch.equal(module.state_dict()["1.bias"], kept)
    assert torch.equal(module[0].weight, state["0.weight"])


def test_another_shape_is_an_error_without_strict_too(module, state, tmp_path):
    state["0.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "w.pt")

    with pytest.raises(ModelError, match=r"of another shape or dtype: 0\.bias \(float32\[5\] for float32\[4\]\)$"):
        load_weights(module, tmp_path / "w.pt", strict=False)


def test_a_file_of_nothing_that_fits_is_an_error_without_strict_too(module, tmp_path):
    torch.save({"other": torch.zeros(1)}, tmp_path / "w.pt")

    with pytest.raises(ModelError, match="these weights do not fit the network"):
        load_weights(module, tmp_path / "w.pt", strict=False)


def test_narrower_numbers_are_widened_which_is_exact(module, state, tmp_path):
    torch.save(
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
        tmp_path / "w.pt",
    )

    load_weights(module, tmp_path / "w.pt")

    assert torch.equal(module[0].weight, state["0.weight"].half().float())


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (
            lambda weight: weight.to_sparse(),
            r"holds sparse or quantised tensors, or some without numbers \(0\.weight\)",
        ),
        (lambda weight: weight.to("meta"), "without numbers"),
        (lambda weight: weight.to(torch.float8_e4m3fn), r"0\.weight \(float8_e4m3fn\[4, 3, 3, 3\] for float32"),
        (lambda weight: weight.to(torch.complex64), r"0\.weight \(complex64"),
    ],
)
def test_numbers_of_other_kinds_are_refused(odd, message, module, state, tmp_path):
    torch.save({**state, "0.weight": odd(state["0.weight"])}, tmp_path / "w.pt")

    with pytest.raises(ModelError, match=message):
        load_weights(module, tmp_path / "w.pt")


def test_counters_of_batches_may_be_missing(module, state, tmp_path):
    del state["1.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pt")

    assert load_weights(module, tmp_path / "w.pt") == ()

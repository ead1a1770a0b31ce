"""What counts as having run on an execution provider, by assignments of nodes as onnxruntime records them.

``OPENVINO`` was recorded on a CPU, with onnxruntime 1.32 and onnxruntime-ep-openvino 1.8.1. The others have the form
that onnxruntime documents for machines that the tests seldom run on: shape arithmetic stays on the CPU beside CUDA, and
TensorRT takes whole subgraphs.
"""

import pytest

from bnfold.runtime.assignment import Assigned, elsewhere, objection

OPENVINO = """
    OpenVINO Conv conv1
    OpenVINO BatchNormalization bn1
    OpenVINO Relu Relu
    OpenVINO MaxPool pool
    OpenVINO Reshape Reshape
    OpenVINO Gemm fc1
    OpenVINO BatchNormalization bn4
    OpenVINO Gemm fc2
"""
CUDA = """
    CUDA Conv conv1
    CUDA BatchNormalization bn1
    CUDA Relu relu1
    CPU Shape shape
    CPU Gather gather
    CPU Concat concat
    CUDA Reshape reshape
    CUDA Gemm fc
"""
TENSORRT = """
    Tensorrt Conv conv1
    Tensorrt Relu relu1
    Tensorrt MatMul matmul
    CUDA NonZero nonzero
    CPU Shape shape
"""


def nodes_of(text):
    rows = (line.split() for line in text.splitlines() if line.strip())
    return [Assigned(f"{provider}ExecutionProvider", *rest) for provider, *rest in rows]


@pytest.mark.parametrize(
    ("provider", "text", "others"),
    [
        ("OpenVINO", OPENVINO, ""),
        ("CUDA", CUDA, "Concat, Gather, Shape (CPUExecutionProvider)"),
        ("Tensorrt", TENSORRT, "Shape (CPUExecutionProvider); NonZero (CUDAExecutionProvider)"),
        ("CPU", "CPU Conv", ""),
        ("CUDA", "", ""),  # a graph of constants has no nodes
    ],
)
def test_shape_arithmetic_elsewhere_is_accepted_and_listed(provider, text, others):
    name = f"{provider}ExecutionProvider"
    assert objection(name, nodes_of(text)) == ""
    assert elsewhere(name, nodes_of(text)) == others


@pytest.mark.parametrize(
    "op_type",
    [
        "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm",
        "MatMul", "MatMulInteger", "MatMulNBits", "NhwcFusedConv", "QGemm", "QLinearConv", "QLinearMatMul",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["CPU", "CUDA"])
def test_one_heavy_operator_elsewhere_is_too_many(op_type, where):
    nodes = nodes_of(f"{TENSORRT}\n{where} {op_type} here")
    words = f"1 of 3 heavy operators ran elsewhere: {op_type} 'here' ({where}ExecutionProvider)"
    assert objection("TensorrtExecutionProvider", nodes) == words


def test_many_are_counted_and_the_first_are_named():
    nodes = nodes_of("CUDA Conv a\n" + "\n".join(f"CPU Conv c{index}" for index in range(9)))
    words = objection("CUDAExecutionProvider", nodes)
    assert words.startswith("9 of 10 heavy operators ran elsewhere: Conv 'c0' (CPUExecutionProvider), Conv 'c1'")
    assert words.endswith("Conv 'c4' (CPUExecutionProvider) and 4 more")


def test_a_provider_that_ran_nothing_did_not_run_the_model():
    assert objection("CUDAExecutionProvider", nodes_of("CPU Relu\nCPU Add")) == "none of 2 operators ran there"


def test_a_node_without_a_name_is_named_by_its_operator():
    words = objection("CUDAExecutionProvider", nodes_of("CPU Gemm"))
    assert words == "1 of 1 heavy operators ran elsewhere: Gemm (CPUExecutionProvider)"


def test_what_is_elsewhere_is_counted():
    assert elsewhere("CUDAExecutionProvider", nodes_of(CUDA + "    CPU Shape again")) == (
        "Concat, Gather, 2 Shape (CPUExecutionProvider)"
    )

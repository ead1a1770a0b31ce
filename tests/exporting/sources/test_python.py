"""``net.py:Net`` and ``package.module:Net``."""

import sys
from pathlib import Path

import pytest
import torch

from bnfold.errors import BnfoldError, ModelError
from bnfold.exporting.sources import Permissions, load

CODE = """
from dataclasses import dataclass
import torch
from torch import nn
from beside import WIDTH

@dataclass
class Options:
    depth: int = 1

class Net(nn.Module):
    def __init__(self, width, *, depth=Options().depth):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

def make(kind="small", **more):
    return Net(WIDTH, **more)

def fails():
    raise RuntimeError("no luck\\nat all")

def nothing():
    pass

ready = Net(5)
NUMBER = 3

class Factory:
    @staticmethod
    def small():
        return Net(2)
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("WIDTH = 7\n")
    yield tmp_path / "net.py"
    sys.modules.pop("beside", None)


def built(source, **arguments):
    return load(str(source), arguments, Permissions())


def refusal(source, kind=BnfoldError, **arguments):
    with pytest.raises(kind) as caught:
        built(source, **arguments)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_class_a_function_a_method_and_a_module_give_a_network(net):
    assert built(f"{net}:Net", width=3, depth=2).module.layers[1].weight.shape == (3, 3)
    assert built(f"{net}:make", depth=2).module.layers[1].weight.shape == (7, 7)
    assert built(f"{net}:Factory.small").module.layers[0].weight.shape == (2, 2)
    assert built(f"{net}:ready").module.layers[0].weight.shape == (5, 5)


def test_the_file_may_import_what_is_beside_it_and_nothing_is_left_behind(net):
    path, modules = list(sys.path), set(sys.modules)

    loaded = built(f"{net}:make")

    assert sys.path == path
    assert set(sys.modules) - modules <= {"beside"}
    assert loaded.files == (net,)


def test_weights_that_are_drawn_are_the_same_each_time(net):
    first, second = (built(f"{net}:make").module.layers[0].weight for _ in range(2))

    assert torch.equal(first, second)


def test_a_package_in_the_current_folder_is_found(net, monkeypatch):
    monkeypatch.chdir(net.parent)
    monkeypatch.syspath_prepend("")

    assert built("net:make").module.layers[0].weight.shape == (7, 7)
    sys.modules.pop("net")


def test_an_unknown_name_lists_what_is_there(net):
    assert "there is no 'Nett' in it; it has: Net, make, fails, nothing, ready" in refusal(f"{net}:Nett")
    assert f"give the name of the network, {net}:NAME; it has: Net, " in refusal(net)


def test_arguments_that_do_not_fit_are_named(net):
    assert refusal(f"{net}:Net").endswith("needs width: give --arg width=…")
    assert refusal(f"{net}:Net", wide=3).endswith("takes no argument 'wide'; it takes width, depth")
    assert refusal(f"{net}:ready", width=3).endswith("is a module, not a factory: it takes no --arg")
    assert "unexpected keyword argument 'wide'" in refusal(f"{net}:make", ModelError, wide=3)


def test_what_is_no_network_is_told(net):
    assert refusal(f"{net}:nothing", ModelError).endswith("gives nothing, not an nn.Module")
    assert refusal(f"{net}:NUMBER").endswith("is a int, not a factory, nor an nn.Module")


def test_what_the_code_raises_is_one_line_with_its_place(net):
    line = CODE.splitlines().index('    raise RuntimeError("no luck\\nat all")') + 1

    assert refusal(f"{net}:fails", ModelError).endswith(f"net.py, line {line}: RuntimeError: no luck")
    net.write_text("import torch\n\n1 / 0\n")
    assert refusal(f"{net}:x", ModelError).endswith(
        "cannot be imported: net.py, line 3: ZeroDivisionError: division by zero"
    )
    net.write_text("def (:\n")
    assert "cannot be imported: line 1: SyntaxError" in refusal(f"{net}:x", ModelError)
    net.write_text("import nothing_of_this_name\n")
    assert "No module named 'nothing_of_this_name'" in refusal(f"{net}:x", ModelError)


def test_code_that_ends_the_process_ends_the_export_with_an_error(net):
    net.write_text("import sys\n\ndef make():\n    sys.exit(0)\n")
    assert refusal(f"{net}:make", ModelError).endswith("net.py, line 4: SystemExit: 0")
    net.write_text("import argparse\nargparse.ArgumentParser().parse_args(['--none'])\n")
    assert "cannot be imported: net.py, line 2: SystemExit: 2" in refusal(f"{net}:make", ModelError)


def test_code_may_change_the_folder_and_the_path_for_itself(net):
    body = "os.chdir('/'); sys.path.pop(0); return nn.ReLU()"
    net.write_text(f"import os, sys\nfrom torch import nn\ndef make(): {body}\n")
    folder, path = Path.cwd(), list(sys.path)

    built(f"{net}:make")

    assert (Path.cwd(), sys.path) == (folder, path)


def test_what_is_not_there_is_told(tmp_path):
    assert refusal(f"{tmp_path}/none.py:Net").endswith("none.py: no such file")
    assert "there is no module 'no_such_package' here" in refusal("no_such_package.net:Net")
    assert refusal("json.none:Net") == "json.none: there is no module 'json.none' here, nor is it installed"


def test_what_is_no_source_says_what_is():
    assert "it has: " in refusal("lenet")
    assert "FILE.py:FACTORY" in refusal("lenet")
    assert "is an ONNX model already" in refusal("model.onnx")
    assert refusal("w.safetensors").endswith("give SOURCE --weights w.safetensors")
    assert "takes no argument 'width'; a network of the zoo takes placement at most" in refusal("digits_cnn", width=3)

"""Hubs: what they are asked for, offline. The hubs here are small packages of the same interface."""

import os
import sys
import textwrap

import pytest
import torch

from bnfold.errors import BnfoldError, MissingDependencyError, ModelError
from bnfold.exporting.sources import Permissions, load

TIMM = """
import os
from torch import nn
def list_models(): return ["resnet18", "resnet34"]
def is_model(name): return name in list_models()
def create_model(name, pretrained=False, num_classes=1000):
    net = nn.Linear(4, num_classes)
    net.pretrained_cfg = {"input_size": (3, 32, 48)}
    net.asked = name, pretrained, os.environ.get("HF_HUB_OFFLINE")
    return net
"""
TORCHVISION = """
import torch.hub
from torch import nn
def plain(*, weights=None, width=1): return nn.Linear(width, width)
def segment(*, weights=None, weights_backbone="DEFAULT"):
    if weights_backbone is not None:
        torch.hub.load_state_dict_from_url("https://example.org/backbone.pth", model_dir="/nowhere")
    return nn.Linear(3, 3)
def greedy(*, weights=None):
    torch.hub.load_state_dict_from_url("https://example.org/greedy.pth", model_dir="/nowhere")
BUILDERS = {"plain": plain, "segment": segment, "greedy": greedy}
def list_models(): return list(BUILDERS)
def get_model_builder(name): return BUILDERS[name]
def get_model(name, **options): return BUILDERS[name](**options)
"""
TRANSFORMERS = """
import os
from torch import nn
asked = []
class Config:
    architectures = ["ForImages"]
    image_size, num_channels = 32, 1
class AutoConfig:
    @staticmethod
    def from_pretrained(name, **options):
        asked.append((options, os.environ.get("TRANSFORMERS_OFFLINE")))
        if not os.path.exists(os.path.join(name, "config.json")):
            raise OSError("no config.json here\\nand a long story")
        return Config()
class AutoModel: pass
class ForImages(nn.Linear):
    main_input_name = "pixel_values"
    @staticmethod
    def from_pretrained(name, **options):
        asked.append((options, os.environ.get("TRANSFORMERS_OFFLINE")))
        return ForImages(2, 2)
"""


@pytest.fixture(autouse=True)
def hubs(tmp_path, monkeypatch):
    packages = {"timm": TIMM, "torchvision/models": TORCHVISION, "torchvision": "", "transformers": TRANSFORMERS}
    for name, code in packages.items():
        folder = tmp_path / "hubs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(tmp_path / "hubs"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision", "transformers")]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision", "transformers")]:
        del sys.modules[name]


def test_timm_builds_without_weights_and_tells_the_shape():
    loaded = load("timm:resnet18", {"num_classes": 5}, Permissions())

    assert loaded.module.asked == ("resnet18", False, "1")
    assert loaded.module.out_features == 5
    assert loaded.shapes[0].dims == ("batch", 3, 32, 48)
    assert loaded.is_drawn
    assert "HF_HUB_OFFLINE" not in os.environ


def test_a_download_that_is_allowed_gives_pretrained_weights():
    loaded = load("timm:resnet18", {}, Permissions(download=True))

    assert loaded.module.asked == ("resnet18", True, None)
    assert not loaded.is_drawn


def test_an_unknown_name_suggests_one_that_is_alike():
    with pytest.raises(BnfoldError, match="timm has no such network; it has resnet18, resnet34"):
        load("timm:resnet19", {}, Permissions())
    with pytest.raises(BnfoldError, match="torchvision has no such network; it has plain"):
        load("torchvision:plane", {}, Permissions())


def test_torchvision_fetches_nothing_for_a_backbone():
    assert load("torchvision:plain", {"width": 6}, Permissions()).module.out_features == 6
    assert load("torchvision:segment", {}, Permissions()).module.out_features == 3


def test_torchs_own_loader_is_off_and_back_on_afterwards():
    before = torch.hub.download_url_to_file

    with pytest.raises(ModelError, match=r"greedy.pth would have to be downloaded: give --allow-download"):
        load("torchvision:greedy", {}, Permissions())

    assert torch.hub.download_url_to_file is before


def test_a_folder_of_transformers_gives_the_class_that_was_saved(tmp_path):
    (tmp_path / "config.json").write_text("{}")

    loaded = load(f"hf:{tmp_path}", {}, Permissions())

    assert type(loaded.module).__name__ == "ForImages"
    assert (loaded.shapes[0].name, loaded.shapes[0].dims) == ("pixel_values", ("batch", 1, 32, 32))
    asked = sys.modules["transformers"].asked
    assert all(options == {"local_files_only": True, "trust_remote_code": False} for options, _ in asked)
    assert {switch for _, switch in asked} == {"1"}


def test_a_folder_that_holds_no_network_is_told_in_one_line(tmp_path):
    with pytest.raises(ModelError) as caught:
        load(f"hf:{tmp_path}", {}, Permissions())
    assert str(caught.value) == f"hf:{tmp_path}: no config.json here"
    with pytest.raises(BnfoldError, match="hf:none/such: no such folder; --allow-download looks for it"):
        load("hf:none/such", {}, Permissions())


@pytest.mark.parametrize(("hub", "package"), [("timm", "timm"), ("torchvision", "torchvision"), ("hf", "transformers")])
def test_a_hub_that_is_missing_is_named(hub, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingDependencyError, match=f"{package} is not installed: pip install {package}$"):
        load(f"{hub}:x", {}, Permissions())

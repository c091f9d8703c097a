"""`pushpull export`: files that say what they are, and are checked before they are there."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from export.made import CLASSES, PREPROCESSING, make_run
from pushpull.cli import main
from pushpull.data import Framing, Preprocessing, load_data
from pushpull.errors import InputError
from pushpull.export import Agreement, Card, ExportOptions, export_model, load_program, read_card
from pushpull.export import exporting as writing
from pushpull.export.exporting import compare_outputs
from pushpull.export.formats import LOADERS, SUFFIXES, LoadedFile
from pushpull.models import load_network
from pushpull.training import load_run
from support import SHARED, needs_shared, tells_export

# The exporter of torch 2.6 fails with today's onnxscript.
HAS_ONNX = all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))) and tells_export
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="needs the extra onnx, and a torch after 2.6")
EXAMPLE = Path(__file__).parents[2] / "examples" / "serve_onnx.py"
FORMATS = [pytest.param("onnx", marks=needs_onnx), "exported-program", "safetensors"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "pp3")


@pytest.fixture(scope="module")
def exported(run: Path) -> dict[str, Path]:
    """One file a format, as the command line writes it."""
    formats = [form for form in SUFFIXES if HAS_ONNX or form != "onnx"]
    for form in formats:
        assert main(["export", str(run), "--format", form]) == 0
    return {form: run / f"export{SUFFIXES[form]}" for form in formats}


def _expected(run: Path, images: Tensor) -> Tensor:
    with torch.no_grad():
        return load_run(run).model(PREPROCESSING(images))


def _failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("pushpull: error: ")
    assert "\n" not in error
    return error


def test_a_run_that_is_not_finished_is_exported_only_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "epochs.json").write_text('{"done": 1, "of": 40}')
    words = [str(folder), "--format", "safetensors"]
    assert "is not finished (1 of 40 epochs): continue its training" in _failed(capsys, *words)
    assert not (folder / "export.safetensors").exists()
    file = str(folder / "model.safetensors")
    size = ["--size", "32", "32", "--format", "safetensors", "--output", str(tmp_path / "file.safetensors")]
    assert "is not finished (1 of 40 epochs)" in _failed(capsys, file, *size)
    assert "is not finished (1 of 40 epochs)" in _failed(capsys, "resnet8", "--weights", file, *size)
    assert load_network(file).epochs == "1 of 40"
    assert main(["export", *words, "--allow_unfinished"]) == 0
    (folder / "epochs.json").write_text("[]")
    assert "epochs.json is damaged" in _failed(capsys, *words, "--overwrite")


@pytest.mark.parametrize("form", FORMATS)
def test_file_gives_what_the_run_gives(run: Path, exported: dict[str, Path], form: str) -> None:
    images = load_data("digits").required("test").subset(range(7)).resident().images
    batch = images.float() / 255
    got = LOADERS[form](exported[form]).run(batch)
    expected = _expected(run, batch)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(got.argmax(1), expected.argmax(1))


@needs_onnx
def test_onnx_names_its_input_output_and_open_size(exported: dict[str, Path]) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(exported["onnx"]).graph
    for value, name, sizes in (
        (graph.input[0], "images", ["batch", 3, 32, 32]),
        (graph.output[0], "logits", ["batch", 10]),
    ):
        assert value.name == name
        assert [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] == sizes
    assert not any(node.metadata_props for node in graph.node)


@pytest.mark.parametrize("form", FORMATS)
def test_file_says_what_it_is(exported: dict[str, Path], form: str) -> None:
    loaded = LOADERS[form](exported[form])
    card = read_card(loaded.metadata, exported[form])
    assert card.classes == CLASSES
    assert card.preprocessing == Preprocessing(PREPROCESSING.mean, PREPROCESSING.std, (32, 32))
    assert (card.framing, card.size) == (Framing(), (32, 32))
    assert (card.texts["model"], card.texts["stem"], card.texts["seed"]) == ("resnet8", "pp3", "0")
    assert card.texts["label"] == "resnet8 pp3 seed 0"
    assert json.loads(card.texts["versions"])["torch"] == torch.__version__
    assert str(Path.cwd()).encode() not in exported[form].read_bytes()


def test_exported_weights_are_a_model_to_every_command(
    exported: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.safetensors"
    assert (
        main(["export", str(exported["safetensors"]), "--format", "safetensors", "--output", str(again)]) == 0
    )
    assert "logits within 0.0e+00" in capsys.readouterr().out
    assert main(["evaluate", str(again), "--data", "digits", "--corruptions", "none", "--limit", "10",
                 "--quiet", "--output", str(tmp_path / "evaluated")]) == 0  # fmt: skip


def test_an_archive_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "made"),))

    torch.save({"a": Evil()}, tmp_path / "evil.pt2")
    with pytest.raises(InputError, match="could not be read as an exported program"):
        load_program(tmp_path / "evil.pt2")
    assert not (tmp_path / "made").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


class Pool(nn.Module):
    """The cheapest network: the mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


CARD = Card("pool", "plain", "pool", ["r", "g", "b"], Preprocessing(), Framing(), (9, 11))


@pytest.mark.parametrize(
    ("changed", "sizes"),
    [
        ({"batch_size": 2}, [(2, 3, 9, 11)]),
        ({"dynamic_size": True}, [(1, 3, 9, 11), (5, 3, 16, 24)]),
    ],
)
def test_batch_and_size_are_as_asked(tmp_path: Path, changed: dict[str, Any], sizes: list[Any]) -> None:
    path = tmp_path / "pool.pt2"
    export_model(Pool(), path, CARD, ExportOptions("exported-program", **changed))
    loaded = load_program(path)
    for size in sizes:
        x = torch.rand(size)
        torch.testing.assert_close(loaded.run(x), x.mean((2, 3)))
    with pytest.raises((AssertionError, RuntimeError)):
        loaded.run(torch.rand(3, 3, 9, 12) if "batch_size" in changed else torch.rand(1, 4, 9, 11))


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pool.pt2"
    path.write_text("before")
    right = LOADERS["exported-program"]

    def off(file: Path) -> LoadedFile:
        loaded = right(file)
        return LoadedFile(lambda x: loaded.run(x) * 1.001, loaded.metadata)

    monkeypatch.setitem(writing.LOADERS, "exported-program", off)
    with pytest.raises(InputError, match=r"differ from PyTorch's by 1\.0e-03 of their scale"):
        export_model(Pool(), path, CARD, ExportOptions("exported-program"))
    assert [p.name for p in tmp_path.iterdir()] == ["pool.pt2"]
    assert path.read_text() == "before"


def test_the_check_sees_what_is_wrong() -> None:
    x = torch.rand(3, 3, 4, 4)
    right = Pool()
    assert compare_outputs(right, right, [x, x]) == Agreement(6, 6, 0.0)
    for wrong, message in (
        (lambda x: right(x)[:1], "gives logits"),
        (lambda x: right(x) * float("nan"), "differ from PyTorch's by nan"),
        (lambda x: right(x).flip(1), "differ"),
        (lambda x: 1 / 0, "does not run on"),
    ):
        with pytest.raises(InputError, match=message):
            compare_outputs(wrong, right, [x])
    with pytest.raises(InputError, match="not finite"):
        compare_outputs(right, lambda x: right(x) / 0, [x * 0])
    tied = torch.tensor([[0.5, 0.5 + 1e-6, 0.0], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    agreement = compare_outputs(lambda x: tied[:, [1, 0, 2]][[0, 2, 1]], lambda x: tied, [x])
    assert agreement.same_class == 2
    assert 0 < agreement.difference < 1e-5


def test_a_network_that_cannot_be_traced_is_named(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    with pytest.raises(InputError, match="cannot be traced"):
        export_model(Branches(), tmp_path / "a.pt2", CARD, ExportOptions("exported-program"))
    assert not list(tmp_path.iterdir())


def test_a_size_that_the_network_refuses_is_named(tmp_path: Path) -> None:
    class OneSize(Pool):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-1] == 11, "only 11"
            return super().forward(x)

    wrong = replace(CARD, size=(9, 12))
    with pytest.raises(InputError, match=r"does not take images of 9 x 12 px \(AssertionError: only 11"):
        export_model(OneSize(), tmp_path / "a.pt2", wrong, ExportOptions("exported-program"))
    with pytest.raises(InputError, match="leave out --dynamic-size"):
        export_model(
            OneSize(), tmp_path / "a.pt2", CARD, ExportOptions("exported-program", dynamic_size=True)
        )
    export_model(OneSize(), tmp_path / "a.pt2", CARD, ExportOptions("exported-program"))


def test_mistakes_are_one_line(
    run: Path, exported: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(run)
    program = ["--format", "exported-program"]
    assert "exists already; add --overwrite" in _failed(capsys, folder, *program)
    assert "did you mean 'onnx'" in _failed(capsys, folder, "--format", "onx")
    assert "must end in .pt2" in _failed(capsys, folder, *program, "--output", str(tmp_path / "a.onnx"))
    assert "opset" in _failed(capsys, folder, *program, "--opset", "18")
    assert "batch_size=0" in _failed(capsys, folder, *program, "--batch_size", "0")
    assert "tolerance" in _failed(capsys, folder, *program, "--tolerance", "2")
    assert "--stem" in _failed(capsys, folder, *program, "--overwrite", "--stem", "pp3")
    assert "does not exist" in _failed(capsys, str(tmp_path / "none"), *program)
    assert "no published weights" in _failed(capsys, "resnet8", *program)
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\n")
    out = ["--output", str(tmp_path / "b.pt2")]
    assert "10 outputs, but 2 class names" in _failed(capsys, folder, *program, "--classes", str(names), *out)
    bare = tmp_path / "bare.pth"
    torch.save(load_run(run).model.state_dict(), bare)
    options = ["--model_name", "resnet8", "--stem", "pp3", "--input_style", "cifar", *program, *out]
    assert "give --classes FILE" in _failed(capsys, str(bare), *options)
    names.write_text("\n".join(CLASSES))
    assert "--size HEIGHT WIDTH" in _failed(capsys, str(bare), *options, "--classes", str(names))
    assert "two integers" in _failed(capsys, folder, *program, *out, "--size", "8", "8", "8")
    assert "--mean and --std" in _failed(capsys, folder, *program, *out, "--mean", "0", "0", "0")
    assert not (tmp_path / "b.pt2").exists()


def _served(model: Path, images: list[Path]) -> list[str]:
    """The first class of each image, by the example, where PyTorch cannot be imported."""
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'torchvision', 'pushpull'): sys.modules[name] = None\n"
        f"sys.argv = ['serve_onnx.py', {str(model)!r}, *{[str(path) for path in images]!r}]\n"
        f"runpy.run_path({str(EXAMPLE)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(path) for path in images]
    return [line[1].rsplit(" ", 1)[0] for line in lines]


@needs_onnx
def test_example_predicts_what_pytorch_predicts(run: Path, exported: dict[str, Path], tmp_path: Path) -> None:
    split = load_data("digits").required("test").subset(range(20))
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for i, path in enumerate(paths):
        split.image(i).save(path)
    expected = _expected(run, split.resident().images.float() / 255).argmax(1)
    assert _served(exported["onnx"], paths) == [CLASSES[i] for i in expected.tolist()]


@needs_onnx
@needs_shared
def test_example_frames_photographs_as_pytorch_does(run: Path, tmp_path: Path) -> None:
    assert SHARED is not None
    split = load_data(str(SHARED / "data" / "imagenet_sample")).required("test").subset(range(4))
    output = tmp_path / "photographs.onnx"
    assert main(["export", str(run), "--resize", "72", "--crop", "64", "--size", "48", "56",
                 "--output", str(output)]) == 0  # fmt: skip
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    batch = []
    for i, path in enumerate(paths):
        split.image(i).save(path)
        framed = split.framed(i, Framing(72, 64), (64, 64))[None]
        batch.append(Preprocessing(size=(48, 56))(framed))
    expected = _expected(run, torch.cat(batch)).argmax(1)
    assert _served(output, paths) == [CLASSES[i] for i in expected.tolist()]


def test_a_folder_for_the_hub(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(run), "--format", "hub", "--output", str(tmp_path / "shared")]
    assert main(["export", *words, "--license", "apache-2.0"]) == 0
    assert "the folder loads again and gives the same logits" in capsys.readouterr().out
    network = load_run(tmp_path / "shared")
    assert network.preprocessing == PREPROCESSING
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(network.model(PREPROCESSING(images)), _expected(run, images))
    assert "license: apache-2.0" in (tmp_path / "shared" / "README.md").read_text()
    assert "exists already; add --overwrite" in _failed(capsys, *words)
    assert main(["export", *words, "--overwrite"]) == 0
    assert "go with --format hub" in _failed(capsys, str(run), "--push", "me/net")
    assert "leave out --batch-size" in _failed(capsys, *words, "--batch_size", "2")

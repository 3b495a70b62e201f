"""The program itself: help at once, exit codes, one line for an error."""

from __future__ import annotations

import ast
import errno
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cli
from typer.main import get_command

import converters
from converters.prepare import Selection
from mitoyolo import __version__
from mitoyolo.benchmark.run import BenchmarkOptions
from mitoyolo.cli import app
from mitoyolo.convert import ConvertOptions
from mitoyolo.detect import DetectOptions
from mitoyolo.tile import TileOptions
from mitoyolo.train import TrainOptions
from mitoyolo.web.serve import ServeOptions

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
HEAVY = ("torch", "numpy", "pandas", "cv2", "ultralytics")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['mitoyolo', '--help']\n"
        "from mitoyolo.cli import main\n"
        "try: main()\n"
        f"finally: print('loaded', *(name for name in {HEAVY} if name in sys.modules))"
    )
    done = python("-c", script)
    assert done.stdout.splitlines()[-1].strip() == "loaded", done.stderr


def test_the_module_is_the_program() -> None:
    done = python("-m", "mitoyolo", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mitoyolo {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert result.code == 0
    assert f"Example: mitoyolo {command}" in " ".join(result.out.split())


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    result = cli()
    assert result.code == 2 and all(name in result.out + result.err for name in COMMANDS)


def test_formats(cli: Cli) -> None:
    result = cli("formats")
    lines = {line.split()[0]: line for line in result.out.splitlines()}
    assert result.code == 0 and {"cadd4mbc", "dsa", "atypia14", "yolo"} <= lines.keys()
    assert " read " in lines["atypia14"] and " write " in lines["yolo"]


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "Permission denied")]
)
def test_an_error_of_the_system_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    import os

    import converters.registry

    class Failing(dict[str, object]):
        def items(self) -> None:  # type: ignore[override]
            raise OSError(number, os.strerror(number), "a.png")

    monkeypatch.setattr(converters.registry, "FORMATS", Failing())
    result = cli("formats")
    assert result.code == 1 and "a.png: " in result.error and hint in result.error
    with pytest.raises(OSError, match=r"a\.png"):
        cli("formats", "--debug")


def test_an_error_of_our_own_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import converters.registry

    monkeypatch.setattr(converters.registry, "FORMATS", None)
    result = cli("formats")
    assert result.code == 1
    assert "an error of mitoyolo itself, AttributeError" in result.error
    assert "--debug shows where" in result.error
    with pytest.raises(AttributeError):
        cli("formats", "--debug")


def test_a_name_in_an_error_does_not_steer_the_terminal(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "\x1b[31mred\u202e\udcff"
    folder.mkdir()
    result = cli("convert", folder, tmp_path / "out", "--from", "dsa")
    assert result.code == 1 and result.error.isprintable()
    assert r"\x1b[31mred\u202e\udcff: no .json" in result.error


@pytest.mark.parametrize(
    "call",
    [
        "convert a b --from dsa --box oval",
        "convert a b --from dsa --tile 64 --overlap 64",
        "convert a b --from dsa --labels imposter",
        "normalize a b --method nobody",
        "normalize a b --mode slide",
        "normalize a b --mode target",
        "train --data a --model yolov5n --set mosaic",
        "train --data a --model yolov5n --set mosaic=[1",
        "train --data a --model yolov5n --nproc 0",
        "train --data a --model yolov5n --nnodes 0",
        "train --data a --model yolov5n --node-rank -1",
        "train --data a --model yolov5n --restarts -1",
        "train --data a --model yolov5n --seed 2147483648",
        "train --data a --model yolov5n --seeds 0,x",
        "train --data a --model yolov5n --seeds 1",
        "train --data a --model yolov5n --seeds 0,1 --seed 2",
        "val --data a --weights b --split all",
        "val --data a --weights b --protocol midog99",
        "val --data a --weights b --threshold high",
        "evaluate --truth a",
        "evaluate --truth a --predictions b --overwrite",
        "evaluate --truth a --predictions b --split every",
        "sweep a --split all",
        "evaluate --truth a --predictions b --protocol midog99",
        "evaluate --truth a --predictions b --threshold 1.5",
        "evaluate --truth a --predictions b --mpp 0",
        "evaluate --truth a --predictions b --seed -1",
        "evaluate --truth a --predictions b --against-threshold 0.5",
        "normalize a b --fit --target c",
        "normalize a b --fit --sheet c.png",
        "normalize a b --fit --mode tile",
        "normalize a b --fit --keep-originals",
        "detect a --weights b --out c --mpp 0",
        "export --weights a --format coreml",
        "export --weights a --format onnx --imgsz 16",
        "report a --out b --split all",
        "grade --count 3 --area 0",
    ],
)
def test_a_wrong_call_ends_with_2(call: str, cli: Cli) -> None:
    result = cli(*call.split())
    assert (result.code, result.out) == (2, ""), result.err


REACHES = {
    "convert": (
        "mitoyolo.convert.convert",
        "SRC OUT --from dsa --to yolo --images I --preset demo --mpp 0.5,1 --at-mpp 0.25 "
        "--radius-um 6 --box fixed --min-area 3 --min-confidence 0.8 --labels imposter,mitosis "
        "--tile 96 --overlap 9 --tile-format jpg --background 0.25 --split 0.5,0.25,0.25 "
        "--split-file S --group-by image --unlabelled skip --bad drop --seed 4 "
        "--annotations-only --columns row,col --one-based --case-pattern T --augment rot90,flips "
        "--masks --include-unlabelled",
        (
            Path("SRC"),
            Path("OUT"),
            ConvertOptions(
                format="dsa", images=Path("I"), preset="demo", mpp=(0.5, 1.0), at_mpp=0.25,
                selection=Selection(
                    labels=("imposter", "mitosis"), min_confidence=0.8, min_area=3, box="fixed",
                    radius_um=6,
                ),
                tile=96, overlap=9, tile_format="jpg", background=0.25, shares=(0.5, 0.25, 0.25),
                split_file=Path("S"), group_by="image", unlabelled="skip", bad="drop", seed=4,
                annotations_only=True, columns=("row", "col"), one_based=True, case_pattern="T",
                augment=("rot90", "flips"), masks=True, include_unlabelled=True,
            ),
        ),
        {},
    ),
    "normalize": (
        "mitoyolo.stain.folder.normalize_folder",
        "SRC OUT --engine staintools --method macenko --mode tile --target T --workers 3 "
        "--sheet S.png --keep-originals",
        (Path("SRC"), Path("OUT")),
        {"method": "staintools-macenko", "mode": "tile", "target": Path("T"), "workers": 3,
         "sheet": Path("S.png"), "keep_originals": True},
    ),
    "train": (
        "mitoyolo.train.train",
        "--data D --model yolov5s --weights W --epochs 7 --imgsz 96 --batch 5 --accumulate 2 "
        "--device 1 --ddp --nproc 3 --nnodes 2 --node-rank 1 --rdzv h:1 --restarts 6 --resume "
        "--seed 4 --verify "
        "--project P --name N --recipe R --set lr0=0.5 --set optimizer=SGD",
        (
            Path("D"),
            Path("P/N"),
            TrainOptions(
                model="yolov5s", weights="W", epochs=7, imgsz=96, batch=5, device="1", seed=4,
                accumulate=2, recipe="R", ddp=True,
                settings={"lr0": 0.5, "optimizer": "SGD", "verify": True},
                nproc=3, nnodes=2, node_rank=1, rdzv="h:1", restarts=6,
            ),
        ),
        {"resume": True},
    ),
    "tile": (
        "mitoyolo.tile.tile",
        "A.svs B.svs OUT --size 96 --mpp 0.5,1 --at-mpp 0.3 --batch-size 7 --min-tissue 0.2 "
        "--workers 3",
        (
            [Path("A.svs"), Path("B.svs")],
            Path("OUT"),
            TileOptions(
                size=96, mpp=(0.5, 1.0), at_mpp=0.3, batch_size=7, min_tissue=0.2, workers=3
            ),
        ),
        {},
    ),
    "val": (
        "mitoyolo.val.val",
        "--data D --weights W --split train --protocol icpr12 --radius-um 5 --threshold 0.25 "
        "--out O --mpp 0.5,1 --imgsz 96 --device 1 --seed 4 --trust",
        (Path("D"), Path("W")),
        {
            "split": "train", "protocol": "icpr12", "radius_um": 5.0, "threshold": 0.25,
            "out": Path("O"), "mpp": (0.5, 1.0), "imgsz": 96, "device": "1", "seed": 4,
            "trust": True,
        },
    ),
    "evaluate": (
        "mitoyolo.evaluate.evaluate",
        "--truth T --predictions P --protocol midog --radius-um 7.5 --mpp 0.5,1 --split val "
        "--threshold 0.25 --against P2 --against-threshold 0.75 --out O --seed 4",
        (Path("T"), Path("P")),
        {
            "protocol": "midog", "radius_um": 7.5, "mpp": (0.5, 1.0), "split": "val",
            "threshold": 0.25, "against": Path("P2"), "against_threshold": 0.75,
            "out": Path("O"), "seed": 4,
        },
    ),
    "detect": (
        "mitoyolo.detect.detect",
        "SRC --weights W --out O --mpp 0.5 --threshold 0.25 --tile 96 --overlap 9 --device 1 "
        "--trust --roi R --hotspot-mm2 1.5 --submission midog --engine onnx --shard 2/3",
        (
            Path("SRC"),
            Path("W"),
            Path("O"),
            DetectOptions(
                mpp=(0.5, 0.5), threshold=0.25, tile=96, overlap=9, device="1", trust=True,
                roi=Path("R"), hotspot_mm2=1.5, submission="midog", engine="onnx", shard="2/3",
            ),
        ),
        {},
    ),
    "export": (
        "mitoyolo.export.export",
        "--weights W --format onnx --out O --imgsz 96 --trust",
        (Path("W"), "onnx"),
        {"out": Path("O"), "imgsz": 96, "trust": True},
    ),
    "demo": (
        "mitoyolo.demo.demo",
        "DIR --seed 4 --cases 5 --tiles 6 --size 256 --hard",
        (Path("DIR"),),
        {"seed": 4, "cases": 5, "tiles": 6, "size": 256, "hard": True},
    ),
    "benchmark": (
        "mitoyolo.benchmark.run.benchmark",
        "--data D --models yolov5s,vgg16 --epochs 7 --imgsz 96 --weights W --protocol midog "
        "--out O --device 1",
        (
            Path("O"),
            BenchmarkOptions(
                data=(Path("D"),), models=("yolov5s", "vgg16"), seeds=(0, 1, 2), epochs=7, imgsz=96,
                weights="W", protocol="midog", device="1",
            ),
            "mitoyolo benchmark --data D --models yolov5s,vgg16 --epochs 7 --imgsz 96 --weights W "
            "--protocol midog --out O --device 1",
        ),
        {},
    ),
    "sweep": (
        "mitoyolo.sweep.sweep",
        "T.yaml --out O --split test --device 1",
        (Path("T.yaml"), Path("O")),
        {"split": "test", "device": "1"},
    ),
    "serve": (
        "mitoyolo.web.serve.serve",
        "DIR --host h --port 1 --database D --proxy P --example --new-admin",
        (Path("DIR"), ServeOptions("h", 1, database="D", proxy="P", example=True, new_admin=True)),
        {},
    ),
    "grade": (
        "mitoyolo.grade.score",
        "--count 12 --area 2.5 --tumour melanoma",
        (12, 2.5),
        {"tumour": "melanoma"},
    ),
}  # fmt: skip
"""Command -> the function it calls, a call with every option, and what then must arrive."""


@pytest.mark.parametrize("command", REACHES)
def test_every_option_reaches_its_function(
    command: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, call, positional, named = REACHES[command]
    offered = {
        name
        for parameter in get_command(app).commands[command].params  # type: ignore[attr-defined]
        for name in parameter.opts
        if name.startswith("--")
    }
    own = {"--quiet", "--debug", "--overwrite", "--help", "--fit", "--check", "--grid"}
    own |= {"--table", "--json", "--field-diameter", "--seeds", "--quick"}
    own |= {"--folds", "--background"} if command == "train" else set()
    assert offered - own == {word for word in call.split() if word.startswith("--")}
    got: list[object] = []

    class Stop(Exception):
        """The function is reached; nothing is done."""

    def reached(*given: object, **by_name: object) -> None:
        got.append((given, by_name))
        raise Stop

    monkeypatch.setattr(function, reached)
    if "--overwrite" not in offered:
        cli(command, *call.split())
        assert got.pop() == (positional, named)
        return
    for overwrite in (False, True):
        cli(command, *call.split(), *(["--overwrite"] if overwrite else []))
        assert got.pop() == (positional, {**named, "overwrite": overwrite})


def test_more_ways_to_convert(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[ConvertOptions] = []
    monkeypatch.setattr("mitoyolo.convert.convert", lambda *given, overwrite: got.append(given[2]))
    call = ("convert", "SRC", "OUT", "--from", "voc")
    assert cli(*call, "--grid", "4x3", "--split", "official", "--to", "yolo").code == 0
    assert got.pop() == ConvertOptions(format="voc", grid=(4, 3), official=True)
    assert cli(*call, "--to", "coco").code == 0
    assert got.pop() == ConvertOptions(format="voc", to="coco")
    checked: list[object] = []

    def check(out: Path, seed: int) -> Path | None:
        checked.append((out, seed))
        return Path("OUT/check.png") if seed else None

    monkeypatch.setattr("mitoyolo.convert.check.check", check)
    assert cli("convert", "--check", "OUT", "--seed", 3).out == "OUT/check.png\n"
    assert cli("convert", "--check", "OUT").out == ""
    assert checked == [(Path("OUT"), 3), (Path("OUT"), 0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("SRC", "--from", "voc"), "expected SRC and OUT"),
        (("SRC", "--check", "OUT"), "takes no SRC and OUT beside it"),
        (("SRC", "OUT", "--to", "via"), "--to"),
        (("SRC", "OUT", "--to", "coco", "--tile", 96), "is for --to yolo only"),
        (("SRC", "OUT", "--to", "coco", "--masks"), "is for --to yolo only"),
        (("SRC", "OUT", "--to", "voc", "--at-mpp", 0.5), "is for --to yolo only"),
        (("SRC", "OUT", "--to", "csv", "--split", "official"), "is for --to yolo only"),
        (("SRC", "OUT", "--to", "csv", "--background", 0.5), "is for --to yolo only"),
        (("SRC", "OUT", "--to", "dsa", "--group-by", "image"), "is for --to yolo only"),
        (("SRC", "OUT", "--to", "dsa", "--tile-format", "jpg"), "is for --to yolo only"),
        (("SRC", "OUT", "--grid", "4x4", "--tile", 96), "exclude each other"),
        (("SRC", "OUT", "--grid", "4x0"), "--grid '4x0': expected COLUMNSxROWS"),
        (("SRC", "OUT", "--grid", "4"), "--grid '4': expected"),
        (("SRC", "OUT", "--augment", "flips,blur"), "--augment 'blur' is not known"),
        (("SRC", "OUT", "--from", "cadd4mbc", "--split", "official"), "--split official: no"),
        (
            ("SRC", "OUT", "--preset", "demo", "--split", "official"),
            "--split official: preset demo has none",
        ),
    ],
)
def test_wrong_ways_to_convert(cli: Cli, options: tuple[object, ...], message: str) -> None:
    result = cli("convert", *options)
    assert result.code == 2 and message in " ".join(result.err.replace("│", " ").split())


def test_a_plain_training_seeds_and_folds_reach_their_functions(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[object] = []

    def reached(*given: object, **named: object) -> str:
        got.append((given, named))
        return "done"

    monkeypatch.setattr("mitoyolo.train.train", reached)
    monkeypatch.setattr("mitoyolo.train_seeds.train_seeds", reached)
    call = ("train", "--data", "D", "--model", "yolov5s")
    options = TrainOptions(model="yolov5s")
    where = (Path("D"), Path("runs/yolov5s"))
    named = {"resume": False, "overwrite": False}
    assert cli(*call).out == "done\n"
    assert got.pop() == ((*where, options), named)
    assert cli(*call, "--no-verify").out == "done\n"
    assert got.pop() == ((*where, replace(options, settings={"verify": False})), named)
    assert cli(*call, "--verify", "--set", "verify=false").code == 2
    assert cli(*call, "--seeds", "2, 0,1", "--resume", "--overwrite").out == "done\n"
    assert got.pop() == ((*where, options, [2, 0, 1]), {"resume": True, "overwrite": True})
    monkeypatch.setattr("mitoyolo.train_folds.train_folds", reached)
    assert cli(*call, "--folds", "5", "--resume").out == "done\n"
    assert got.pop() == ((*where, options, 5), {**named, "resume": True})
    assert cli(*call, "--folds", "3", "--background", "0", "--overwrite").out == "done\n"
    thin = replace(options, background=0.0)
    assert got.pop() == ((*where, thin, 3), {**named, "overwrite": True})
    monkeypatch.setattr("mitoyolo.train.train", lambda *given, **named: None)
    assert cli(*call).out == ""  # stopped, or another process than the first


def test_fit_and_report_reach_their_functions(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[object] = []
    monkeypatch.setattr("mitoyolo.stain.folder.fit_target", lambda *given: got.append(given))
    assert cli("normalize", "--fit", "IMAGES", "S.json").code == 0
    assert got.pop() == (Path("IMAGES"), Path("S.json"), "macenko")
    monkeypatch.setattr(
        "mitoyolo.report.pipeline.write_pipeline_report",
        lambda *given, split: got.append((*given, split)),
    )
    result = cli("report", "RUN", "--out", "R.html", "--split", "val")
    assert (result.code, result.out) == (0, "R.html\n")
    assert got.pop() == (Path("RUN"), Path("R.html"), "val")


def imported(path: Path) -> set[str]:
    """Top names of the packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_converters_stands_alone() -> None:
    files = list(Path(converters.__path__[0]).glob("**/*.py"))
    assert len(files) > 10
    for path in files:
        assert not imported(path) & {"mitoyolo", "torch", "torchvision", "ultralytics"}, path

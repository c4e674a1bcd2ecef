"""Command lines of all other commands: a line that works, and each of its options with what it can't be."""

from collections.abc import Iterator

from line_world import PROJECTS, pairs

REFUSED, ACCEPTED = True, False
Line = tuple[list[str], bool]

NO_FOLDER = ["nowhere", "odd/text", "odd/empty", "odd/fifo", "odd/loop", "x" * 300, "y/" * 2500]
NO_OUTPUT = ["odd/text", "odd/text/below", "odd/fifo", "x" * 300]
NO_FILE = ["nowhere", "odd/empty", "odd/text", "odd/nothing", "odd/bytes", "odd/fifo", "odd/loop", "x" * 300, "odd/zip"]
NO_COUNT = ["-1", "abc", "1.5", "", "None"]
NO_LEAST = [*NO_COUNT, "0"]
NO_ZOO = ["zoo:", "zoo:none", "zoo:../x", "nowhere.safetensors", "zoo:" + "x" * 5000]
NO_NUMBER = ["abc", "nan", "-1", ""]


def model(project: str = "deepminer", *more: str) -> list[str]:
    """--config-file and, for the end of the line, the pairs with the weights."""
    return [*pairs(project), "MODEL.WEIGHTS", f"{project}.pth", *more]


def config(project: str = "deepminer") -> list[str]:
    return ["--config-file", f"demo/{project}.yml"]


# (what works, its pairs, {option: what it can't be}); an option that is in the line has its value replaced.
COMMANDS: list[tuple[list[str], list[str], dict[str, list[str]]]] = [
    (
        ["extract", *config(), "--images", "images", "--output", "features"],
        model(),
        {"--images": NO_FOLDER, "--output": NO_OUTPUT, "--save-every": NO_LEAST, "--config-file": ["no", "odd/zip"]},
    ),
    (
        ["extract", *config(), "--list", "list.txt", "--output", "features2"],
        model(),
        {"--list": [*NO_FILE, "odd/latin"], "--output": NO_OUTPUT},
    ),
    (
        ["extract", *config(), "--dataset", "SynthReIDTiny", "--split", "query", "--output", "features3"],
        model(),
        {"--dataset": ["Nowhere", "Market1501", "synthreidtiny", ""], "--split": ["test", "", "QUERY"]},
    ),
    (
        ["export", *config(), "--format", "weights", "--output", "model.safetensors", "--images", "6"],
        model(),
        {
            "--format": ["", "ONNX", "onnx", "openvino"],  # the file ends otherwise
            "--output": ["odd/text", "odd/fifo", "nowhere/a.safetensors", "model.onnx", "x" * 300, ""],
            "--images": [*NO_LEAST, "1"],
            "--tolerance": NO_NUMBER,
            "--opset": ["18", "", "abc"],
            "--quantise": ["int8", "int4"],
            "--input": ["raw", "bgr", ""],
            "--config-file": ["no", "odd/zip"],
        },
    ),
    (
        ["search", "--gallery", "store", "--query", "store", "--output", "found", "--topk", "2"],
        [],
        {
            "--gallery": NO_FOLDER,
            "--query": NO_FOLDER,
            "--output": NO_OUTPUT,
            "--topk": NO_LEAST,
            "--show": NO_COUNT,
            "--candidates": NO_COUNT,
            "--recall-queries": NO_COUNT,
            "--threads": NO_LEAST,
            "--seed": NO_COUNT,
            "--index": ["tree", "", "FLAT"],
            "--image": ["images/a.png"],
            "--config-file": ["demo/deepminer.yml"],
        },
    ),
    (
        ["search", "--gallery", "store", "--image", "images/a.png", *config(), "--output", "found2", "--topk", "2"],
        model(),
        {"--image": [*NO_FILE, "odd/torn.png"], "--config-file": ["nowhere", "demo/msreid.yml"]},
    ),
    (
        ["search", "images", "--image", "images/a.png", "--output", "found3"],
        ["MODEL.DEVICE", "cpu"],
        {
            "--image": [*NO_FILE, "odd/torn.png"],
            "--output": NO_OUTPUT,
            "--topk": [*NO_LEAST, "99"],
            "--show": NO_COUNT,
            "--config-file": [*NO_ZOO, "demo/deepminer.yml"],
            "--gallery": ["store", "images"],
            "--query": ["store"],
            "--threshold": ["balanced"],
            "--index": ["ivfpq"],
        },
    ),
    (
        ["verify", "images/a.png", "images/b.jpg"],
        ["MODEL.DEVICE", "cpu"],
        {
            "--config-file": [*NO_ZOO, "demo/deepminer.yml"],
            "--threshold": ["-1", "2", "a", "nan"],
            "--by": ["head"],
            "--same-person": NO_FILE,
        },
    ),
    (
        ["verify", *config("res2net"), "images/a.png", "images/b.jpg"],
        model("res2net"),
        {
            "--threshold": ["-1", "2", "a", "nan", "fpr_1e-3"],
            "--pairs": NO_FILE,
            "--test-set": ["SynthReID"],
            "--output": ["o"],
            "--prior": ["0", "0.1", "nan"],
            "--seed": ["1"],
            "--same-person": NO_FILE,
            "--by": ["similarity", "Head"],
        },
    ),
    (
        ["verify", *config("baseline"), "--calibrate", "--same-person", "measured.json", "--test-set", "SynthReIDTiny"],
        model("baseline"),
        {
            "--seed": ["-1", "a"],
            "--test-set": ["Nowhere"],
            "--prior": ["0.5"],
            "--threshold": ["balanced"],
            "--by": ["head"],
        },
    ),
    (
        ["verify", *config("res2net"), "--pairs", "pairs.csv"],
        model("res2net"),
        {"--pairs": NO_FILE, "--threshold": ["-1", "2", "nan"]},
    ),
    (
        ["cam", *config(), "--images", "images", "--output", "cams"],
        model(),
        {
            "--images": NO_FOLDER,
            "--output": NO_OUTPUT,
            "--layer": ["backbone.layer5", "", "heads", "backbne.layer4", "x" * 500],
            "--query": [*NO_FILE, "odd/torn.png"],
            "--limit": NO_COUNT,
            "--granularities": [],
        },
    ),
    (
        ["masks", *config("msreid"), "--images", "images", "--output", "masked"],
        model("msreid"),
        {"--images": NO_FOLDER, "--output": NO_OUTPUT, "--limit": NO_COUNT},
    ),
    (
        ["boxes", *config("mgre"), "--test-set", "SynthReIDTiny/query", "--output", "boxed"],
        model("mgre"),
        {
            "--test-set": ["Nowhere", "SynthReIDTiny/test", "/"],
            "--output": NO_OUTPUT,
            "--poses": NO_FILE,
            "--limit": NO_COUNT,
            "--sheet-images": ["-1", "abc", ""],
        },
    ),
    (
        ["compress", *config(), "--dim", "8", "--fit-on", "40"],
        model(),
        {"--dim": NO_LEAST, "--fit-on": ["-1", "abc", "3"], "--test-set": ["Nowhere", "SynthReIDTiny/query"]},
    ),
    (
        ["test-weights", *config("mgre"), "--output", "weighed", "--rounds", "1", "--grid", "0.5", "1.0", "0.5"],
        model("mgre", "DATASETS.VALIDATION", "3"),
        {"--output": NO_OUTPUT, "--rounds": NO_LEAST, "--test-set": ["Nowhere", "HeldOut", ""]},
    ),
    (
        ["convert", "msreid", "nowhere.pth", "converted.pth"],
        [],
        {},
    ),
    (["synth", "--size", "tiny", "--root", "again", "--quiet", "--workers", "1"], [], {
        "--size": ["huge", ""], "--root": NO_OUTPUT, "--seed": ["abc", "1.5", "-1"], "--workers": NO_LEAST,
        "--sheet": ["odd/empty", "odd/text/below.png", "x" * 300],
    }),
    (
        ["shards", "store", "sharded", "--format", "npy"],
        [],
        {"--format": ["csv", ""], "--rows": NO_LEAST},
    ),
    (["dataset", "people", "--output", "own"], [], {
        "--output": NO_OUTPUT, "--layout": ["tree", "", "listing"], "--cameras": ["door", "", "folders"],
        "--test-share": ["-0.1", "1.1", "nan", "a", ""], "--seed": ["abc", "1.5"],
    }),
    (["occlusion-split", "SynthReIDTiny", "--output", "occluded", "--confidence", "0.5", "--sheet-images", "1"], [], {
        "--output": NO_OUTPUT, "--poses": [*NO_FILE, "odd/numbers.json"], "--sequential": ["0", "18", "-1", "a"],
        "--order": ["side", "", "nose", "nose,nose,left_hip"], "--confidence": ["-1", "1", "nan", "a"],
        "--train-share": ["-1", "1", "nan"], "--occluded-share": ["-1", "1", "nan"], "--seed": ["a", "0.5"],
        "--sheet-images": ["-1", "a"],
    }),
    (["configs", "demo"], [], {}),
    (["report", "run", "--output", "page.html", "--pictures", "0"], [], {
        "--output": ["page.txt", "odd/text/page.html", "odd/fifo", "x" * 300 + ".html"],
        "--queries": NO_COUNT, "--pictures": NO_COUNT,
    }),
    (["repeat", "--configs", "demo/tiny.yml", "--seeds", "0", "--output", "repeated"], [], {
        "--configs": ["nowhere", "odd/text", ""], "--seeds": ["abc", "1.5"],
        "--output": NO_OUTPUT, "--num-gpus": NO_LEAST,
    }),
]  # fmt: skip

# Whole lines that can't work.
WRONG = [
    [],
    ["trian"],
    ["extract"],
    ["extract", *config(), "--output", "x"],
    ["extract", *config(), "--images", "images", "--list", "list.txt", "--output", "x"],
    ["extract", *config(), "--dataset", "SynthReIDTiny", "--output", "x", *model()],
    ["extract", *config(), "--images", "images", "--split", "query", "--output", "x", *model()],
    ["extract", *config(), "--images", "images", "--output", "x", *pairs("deepminer")],
    ["extract", *config("msreid"), "--images", "images", "--output", "x", *model()],
    ["search", "--gallery", "store", "--output", "x"],
    ["search", "--gallery", "store", "--image", "images/a.png", "--output", "x"],
    ["search", "--gallery", "store", "--query", "store", "--output", "x", "SEED", "1"],
    ["verify", *config("res2net"), "images/a.png", *model("res2net")],
    ["verify", *config("res2net"), "images/a.png", "nowhere.png", *model("res2net")],
    ["verify", *config("res2net"), "images/a.png", "odd/torn.png", *model("res2net")],
    ["verify", *config("res2net"), "images/a.png", "odd/fifo", *model("res2net")],
    ["verify", *config(), "images/a.png", "images/b.jpg", *model()],
    ["search", "--gallery", "store", "--query", "store", "--output", "x", "--unknown"],
    ["search", "--gallery", "store", "--query", "store", "--output", "x", "--threshold", "balanced"],
    ["search", "--gallery", "store", "--query", "store", "--output", "x", "--same-person", "nowhere.json", "--unknown"],
    ["verify", *config("res2net"), "--report", "--calibrate", "--output", "x", *model("res2net")],
    ["verify", *config("res2net"), "--report", *model("res2net")],
    ["verify", *config("res2net"), "--report", "--pairs", "pairs.csv", "--output", "x", *model("res2net")],
    ["verify", *config("res2net"), "--report", "--output", "x", "--test-set", "Nowhere", *model("res2net")],
    ["masks", *config("baseline"), "--images", "images", "--output", "x", *model("baseline")],
    ["masks", *config("msreid"), "--images", "images", "--output", "x", *model("msreid", "MODEL.MSREID.MASK", "False")],
    ["boxes", *config(), "--images", "images", "--output", "x", *model()],
    ["boxes", *config("mgre"), "--images", "images", "--test-set", "SynthReIDTiny", "--output", "x", *model("mgre")],
    ["cam", *config(), "--granularities", "--images", "images", "--output", "x", *model()],
    [
        "cam",
        *config(),
        "--images",
        "images",
        "--output",
        "x",
        "--beside",
        "demo/deepminer.yml",
        "nowhere.pth",
        *model(),
    ],
    ["cam", *config(), "--images", "images", "--output", "x", "--beside", "demo/deepminer.yml", *model()],
    ["test-weights", *config("mgre"), "--output", "x", *model("mgre")],
    ["test-weights", *config(), "--output", "x", *model("deepminer", "DATASETS.VALIDATION", "3")],
    *(
        ["test-weights", *config("mgre"), "--output", "x", "--grid", *grid, *model("mgre", "DATASETS.VALIDATION", "3")]
        for grid in (
            ["1", "0", "0.1"],
            ["0", "1", "0"],
            ["a", "b", "c"],
            ["0", "1", "-1"],
            ["nan", "1", "0.1"],
            ["0.1", "1e9", "1e-9"],
            ["-1", "1", "0.5"],
            ["0.1", "inf", "0.1"],
        )
    ),
    *(["convert", "msreid", file, "converted.pth"] for file in [*NO_FILE, "deepminer.pth"]),
    *(["convert", "res2net", file, "converted.pth"] for file in NO_FILE),
    ["convert", "yolo", "deepminer.pth", "x.pth"],
    ["convert", "msreid"],
    *(["shards", store, "sharded"] for store in NO_FOLDER),
    *(["shards", "store", output, "--format", "npy"] for output in NO_OUTPUT),
    *(["pose", "report", file] for file in NO_FILE),
    *(["pose", "report", file, "--sheet", "x.png"] for file in NO_FILE[:3]),
    *(["pose", "run", "--model", file, "--images", "images", "--output", "x.npz"] for file in NO_FILE),
    *(
        ["pose", "import", file, "--images", "images", "--output", "x.npz"]
        for file in [*NO_FILE, "odd/numbers.json", "odd/deep.json"]
    ),
    *(["pose", "import", "odd/numbers.json", "--images", folder, "--output", "x.npz"] for folder in NO_FOLDER),
    ["pose"],
    ["pose", "walk"],
    *(["pose", "report", "x.npz", "--threshold", value] for value in ("-1", "1", "nan", "abc")),
    *(["pose", "report", "x.npz", "--sheet-images", value] for value in NO_LEAST),
    *(["derive-occluded-duke", folder] for folder in NO_FOLDER),
    *(["upstream", folder] for folder in NO_FOLDER),
    *(["upstream", "odd/empty", *rest] for rest in ([], ["--papers", "Miner"], ["--papers"], ["--check-with", "A"])),
    *(["dataset", folder, "--output", "own2"] for folder in [*NO_FOLDER, "odd/bytes", "odd/deep.json"]),
    *(["occlusion-split", name, "--output", "own3"] for name in ["Nowhere", "Market1501", "", "images", *NO_FOLDER]),
    *(["derive-occluded-duke", "odd/empty", "--duke", folder] for folder in NO_FOLDER),
    *(["report", folder, "--output", "page.html"] for folder in [*NO_FOLDER, "images"]),
    ["report", "--output", "page.html"],
    ["report", "run"],
    ["report", "run", "run", "--output", "page.html"],
    ["configs", "no-such-word-anywhere"],
    ["configs", "--nowhere"],
    ["doctor", "please"],
    ["repeat", "--configs", "demo/tiny.yml", "demo/tiny.yml", "--seeds", "0", "--output", "x"],
    ["repeat", "--configs", "demo/tiny.yml", "--seeds", "0", "0", "--output", "x"],
    ["repeat", "--configs", "demo/tiny.yml", "--seeds", "-1", "--output", "x"],
    ["repeat", "--configs", "demo/tiny.yml", "--seeds", "0", "--output", "x", "--opts", "SEED"],
    ["repeat", "--configs", "demo/tiny.yml", "--seeds", "0", "--output", "x", "--opts", "SOLVER.MAX_EPOCH", "x"],
]

# KEY VALUE pairs that no command takes, whatever it does with a model.
KEYS = """
MODEL.WEIGHTS nowhere.pth
MODEL.WEIGHTS odd/text
MODEL.WEIGHTS odd/fifo
MODEL.WEIGHTS odd/empty
MODEL.WEIGHTS odd/zip
MODEL.WEIGHTS https://example.org/x.pth
MODEL.DEVICE mps
MODEL.DEVICE nowhere
INPUT.SIZE_TEST [0,0]
INPUT.SIZE_TEST 5
MODEL.PIXEL_STD [0,0,0]
MODEL.META_ARCHITECTURE Nothing
TEST.METRIC manhattan
TEST.IMS_PER_BATCH 0
DATALOADER.NUM_WORKERS -1
SEEED 1
SEED
""".strip().splitlines()

RIGHT = [
    ["report", "run", "--output", "page2.html"],
    ["doctor"],
    ["configs"],
    ["--version"],
    ["extract", *config(), "--images", "odd/images_and_fifo", "--output", "f5", "--skip-unreadable", *model()],
    ["cam", *config(), "--images", "images", "--output", "cams3", "--query", "images/a.png", "--limit", "1", *model()],
    ["search", "--gallery", "store", "--query", "store", "--output", "found3", "--topk", "3", "--show", "0"],
    ["verify", *config("res2net"), "--report", "--output", "report", *model("res2net")],
    ["verify", *config(), "--report", "--output", "report2", *model()],
    *(["extract", *config(p), "--images", "images", "--output", f"of_{p}", *model(p)] for p in PROJECTS),
    *(
        ["verify", *config(p), "--calibrate", "--test-set", "SynthReIDTiny", "--same-person", f"{p}.json", *model(p)]
        for p in PROJECTS
    ),
]


def other_lines() -> Iterator[Line]:
    """Yield the lines of every command but ``train``."""
    for line, keys, options in COMMANDS:
        yield [*line, *keys], line[0] == "convert"
        for option, values in options.items():
            for value in values:
                yield [*_with(line, option, value), *keys], REFUSED
        if keys:
            yield from (([*line, *keys, *words.split(" ")], REFUSED) for words in KEYS)
        yield [*line, "--no-such-option", *keys], REFUSED
    yield from ((line, REFUSED) for line in WRONG)
    yield from ((line, ACCEPTED) for line in RIGHT)


def _with(line: list[str], option: str, value: str) -> list[str]:
    if option in line:
        place = line.index(option) + 1
        return [*line[:place], value, *line[place + 1 :]]
    return [line[0], option, value, *line[1:]]

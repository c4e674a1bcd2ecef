"""A model repository for Triton from an ONNX file of ``fastreid-ext export``, whose record its config follows from.

    python examples/triton_config.py model.onnx models --name reid

makes models/reid/1/model.onnx and models/reid/config.pbtxt, for ``tritonserver --model-repository models``.
"""

import argparse
import shutil
import sys
from pathlib import Path

from fastreid_ext.errors import UserError
from fastreid_ext.inference.record import KEY, ModelRecord
from fastreid_ext.onnx_files import check_onnx_file, open_session

TYPES = {"tensor(float)": "TYPE_FP32", "tensor(float16)": "TYPE_FP16"}


def config_of(file: Path, name: str, batch: int, delay_us: int) -> str:
    """Return the text of config.pbtxt.

    Args:
        file: the ONNX file.
        name: of the model.
        batch: most images at once, if the file takes any number.
        delay_us: how long Triton waits for a batch to fill, in microseconds.

    Raises:
        UserError: the file is no model of ``fastreid-ext export``.
    """
    session = open_session(file, alone=True)
    metadata = check_onnx_file(file, alone=True).metadata
    if KEY not in metadata:
        raise UserError(f"{file} does not say what its model reads: make it with fastreid-ext export")
    record = ModelRecord.from_text(metadata[KEY], file)
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    fixed = isinstance(given.shape[0], int)  # Triton adds the first axis where max_batch_size is not 0
    sides = list(record.crop or (record.size if len(record.size) == 2 else (-1, -1)))
    shape = [3, *sides], [record.dim]
    if fixed:
        shape = tuple([given.shape[0], *dims] for dims in shape)
    lines = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {0 if fixed else batch}",
        f'input [{{ name: "{given.name}" data_type: {TYPES[given.type]} dims: {shape[0]} }}]',
        f'output [{{ name: "{made.name}" data_type: {TYPES[made.type]} dims: {shape[1]} }}]',
    ]
    if not fixed:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}")
    # What a client has to know: Triton passes it on and does not read it.
    told = {
        "pixels": record.pixels,
        "mean": " ".join(f"{value:g}" for value in record.mean),
        "std": " ".join(f"{value:g}" for value in record.std),
        "metric": record.metric,
        "normalised": str(record.normalised).lower(),
        "model_sha256": record.model_sha256,
    }
    lines += [f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in told.items()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="of fastreid-ext export --format onnx")
    parser.add_argument("repository", type=Path, help="folder of Triton's models")
    parser.add_argument("--name", default="reid", help="of the model (default: reid)")
    parser.add_argument("--batch", type=int, default=64, help="most images at once (default: 64)")
    parser.add_argument("--delay-us", type=int, default=2000, help="microseconds to wait for a batch (default: 2000)")
    args = parser.parse_args(arguments)
    try:
        text = config_of(args.file, args.name, args.batch, args.delay_us)
    except UserError as error:
        print(f"triton_config.py: {error}", file=sys.stderr)
        return 1
    folder = args.repository / args.name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(args.file, folder / "1" / "model.onnx")
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    print(f"{folder / 'config.pbtxt'} and {folder / '1' / 'model.onnx'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

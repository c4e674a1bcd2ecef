"""Where the files of an export are until it has been compared: whoever finds one takes it for the model."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fastreid_ext.errors import FileError
from fastreid_ext.export.options import Options, check_absent
from fastreid_ext.files import reason, sync


@contextmanager
def staged(options: Options) -> Iterator[Options]:
    """Yield the options with the output in a hidden folder beside the user's, which is removed at the end.

    A process that is killed leaves that folder, and nothing that bears the name of the export.

    Raises:
        FileError: the folder can't be made.
    """
    output = options.output
    try:
        folder = tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise FileError(f"{output} can't be written: {reason(error)}") from error
    with folder as path:
        made = replace(options, output=Path(path) / output.name)
        try:
            yield made
        except FileError as error:  # names the file that the user asked for
            raise FileError(str(error).replace(str(made.output), str(output))) from error


def place(made: Options, options: Options, proven: bool) -> None:
    """Move the files of an export to where the user wants them, the export last; if one can't be moved, none is.

    Args:
        made: what :func:`staged` yielded; its files are written.
        options: the user's.
        proven: whether it is the model; else the comparison is moved alone.

    Raises:
        FileError: a file of the user has appeared there meanwhile, or one can't be moved.
    """
    check_absent(options)
    kept = [*reversed(options.files)] if proven else [options.parity_file]
    moved: list[Path] = []
    try:
        for target in kept:
            os.replace(made.output.with_name(target.name), target)
            moved.append(target)
        sync(options.output.parent)
    except BaseException as error:
        for target in moved:
            target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FileError(f"{options.output} can't be written: {reason(error)}") from error
        raise

"""log.txt: what can't be written there stops the run with a sentence, and not with a traceback for every line."""

import logging
import sys
from contextlib import suppress
from pathlib import Path

from fastreid_ext.errors import FileError
from fastreid_ext.files import reason


def stop_if_unwritable(handler: logging.StreamHandler, path: Path) -> None:
    """Let a handler that writes to a file raise what the system says, once; later lines are lost.

    Args:
        handler: of the file.
        path: of the file, for the sentence.
    """

    def failed(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.StreamHandler.handleError(handler, record)
            return
        stream = handler.stream
        for log in (logging.getLogger("fastreid"), logging.getLogger("fastreid_ext")):
            for other in list(log.handlers):
                if getattr(other, "stream", None) is stream:
                    log.removeHandler(other)
        with suppress(OSError):  # of the line that could not be written
            stream.close()
        raise FileError(f"{path} can't be written: {reason(error)}") from error

    handler.handleError = failed

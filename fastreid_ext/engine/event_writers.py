"""metrics.json and the events of TensorBoard, written at once: what can't be written stops the run with a sentence."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastreid.utils.events import JSONWriter, TensorboardXWriter

from fastreid_ext.errors import FileError
from fastreid_ext.files import reason


class MetricsWriter(JSONWriter):
    """FastReID's writer of metrics.json, in which every line is whole.

    Half a line, which a killed run or a full disk leaves, is cut off.

    Raises:
        FileError: the file can't be opened or written.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            cut_half_line(path)
            super().__init__(str(path))
        except OSError as error:
            raise FileError(f"{path} can't be written: {reason(error)}") from error

    def write(self) -> None:
        whole = os.fstat(self._file_handle.fileno()).st_size
        try:
            super().write()
        except OSError as error:
            self.close()
            with suppress(OSError):
                os.truncate(self.path, whole)
            raise FileError(f"{self.path} can't be written: {reason(error)}") from error

    def close(self) -> None:
        with suppress(OSError):  # of lines that could not be written, which was said
            super().close()


class EventsWriter(TensorboardXWriter):
    """FastReID's writer for TensorBoard, without the thread in which TensorBoard writes and fails unheard.

    Raises:
        FileError: the file can't be opened or written.
    """

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.writer import FileWriter

        try:
            file = EventsFile(folder)
        except OSError as error:
            raise FileError(f"the events of TensorBoard can't be written in {folder}: {reason(error)}") from error

        class AtOnce(SummaryWriter):
            def _get_file_writer(self) -> Any:
                if self.file_writer is None:
                    self.file_writer = FileWriter.__new__(FileWriter)  # all but its own file
                    self.file_writer.event_writer = file
                    self.all_writers = {str(folder): self.file_writer}
                return self.file_writer

        self.file = file
        self._window_size = 20
        self._writer = AtOnce(str(folder))
        self._last_write = -1

    def write(self) -> None:
        try:
            super().write()
            self.file.flush()
        except OSError as error:
            self.close()
            raise FileError(f"{self.file.path} can't be written: {reason(error)}") from error

    def close(self) -> None:
        with suppress(OSError):  # of events that could not be written, which was said
            super().close()


class EventsFile:
    """A file of TensorBoard's events, with the methods that torch's ``FileWriter`` calls."""

    def __init__(self, folder: Path):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self.path = free_path(folder / name)
        self._file = open(self.path, "xb")  # noqa: SIM115  (closed by close)
        self._records = RecordWriter(self._file)
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def get_logdir(self) -> str:
        return str(self.path.parent)

    def add_event(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        self._file.flush()

    def reopen(self) -> None:
        """Nothing is closed in between."""

    def close(self) -> None:
        self._file.close()


def free_path(path: Path) -> Path:
    """Return a path, or the first of path.1, path.2, ... that is not there."""
    paths = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, 1000))]
    return next(free for free in paths if not free.exists())


def cut_half_line(path: Path) -> None:
    """Cut off what follows the last end of a line of a text file, if there is such a file."""
    if not path.is_file():
        return
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(end - 4096, 0)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        file.truncate(end)

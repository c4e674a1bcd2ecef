"""Runs a script as ``python SCRIPT ARGS`` does, with FastReID healed and ours registered when it imports FastReID."""

import importlib.machinery
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

import fastreid_ext
from fastreid_ext import compat
from fastreid_ext.scripts import children, host, keys

__all__ = ["is_script", "prepare", "run", "source_of"]

SUFFIXES = (".py", ".pyw")
CANT_OPEN = 2  # Python's own exit status for a script that it can't open


def is_script(word: str) -> bool:
    """Whether the first word of a command line names a script: it ends in .py, or has a folder in its name.

    No command does, and a file that is called as a command is, train say, does not take its place: ./train names it.
    """
    separators = filter(None, (os.sep, os.altsep))
    return not word.startswith("-") and (word.endswith(SUFFIXES) or any(each in word for each in separators))


def run(script: str, arguments: Sequence[str]) -> None:
    """Run a script in this process as its main program; what it raises, SystemExit too, is raised here.

    Args:
        script: path of a Python file.
        arguments: what sys.argv has behind the script.

    Raises:
        SystemExit: also with status 2 and Python's own sentence, if the script can't be opened.
    """
    path = _absolute(script)
    installed = host.installed_paths()
    if os.path.isdir(path):  # Python runs the __main__.py of a folder, and puts the folder itself on its path
        folder, path = path, os.path.join(path, "__main__.py")
        if not os.path.isfile(path):
            print(f"{sys.executable}: can't find '__main__' module in {folder!r}", file=sys.stderr)
            raise SystemExit(1)
        sys.path[: not _safe_path()] = [folder]  # which Python does there by -P too
    elif not _safe_path():
        # The working directory is there, by -m, or the folder of the command fastreid-ext.
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    _stay_importable()
    sys.argv = [script, *arguments]
    prepare(path, installed)
    main = ModuleType("__main__")
    main.__file__ = path
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    main.__dict__.update(__builtins__=sys.modules["builtins"], __cached__=None, __spec__=None, __package__=None)
    _before.append(sys.modules["__main__"])
    if "__annotations__" in vars(_before[-1]):  # Python's own main program has them, in some of its versions
        main.__annotations__ = {}
    # Children give back what the script defines as __mp_main__'s, which multiprocessing looked up as it was imported.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    try:
        exec(source_of(path), main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        _show_only_frames_of(main.__dict__, error)
        raise


def prepare(script: str, installed: Sequence[str]) -> None:
    """Have FastReID found, healed, and given our models and keys when it is imported, here and in spawned processes.

    Args:
        script: absolute path of the script.
        installed: see :func:`fastreid_ext.scripts.host.installed_paths`.
    """

    def register() -> None:
        fastreid_ext._register()
        keys.add_to_host()
        host.warn_of_installed(script, installed)

    children.remember(script, installed)
    host.install(installed)
    compat.install(register)
    if host.HOST in sys.modules:  # imported before any line of the script: by sitecustomize, or by a process's server
        register()


def source_of(path: str) -> CodeType:
    """Compile a script under its own name.

    Raises:
        SystemExit: it can't be opened.
        SyntaxError: it is no Python.
    """
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        # Python's words
        print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        raise SystemExit(CANT_OPEN) from None
    return compile(source, path, "exec", dont_inherit=True)


_before: list[ModuleType] = []  # what was __main__: its names would become None with it


def _absolute(script: str) -> str:
    """The path of a script as Python makes it: ".." behind a link leads on from where the link leads."""
    if os.name == "nt":
        return os.path.abspath(script)
    return script if os.path.isabs(script) else os.path.join(os.getcwd(), script)


def _safe_path() -> bool:
    """Whether Python was told (-P, -I, PYTHONSAFEPATH) to put no folder in front of its path."""
    return bool(getattr(sys.flags, "safe_path", sys.flags.isolated))


def _stay_importable() -> None:
    """Keep this package on the path, behind all else, where only the working directory had it: children import it."""
    name = fastreid_ext.__name__
    if not any(finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec")):
        sys.path.append(str(Path(fastreid_ext.__file__).resolve().parents[1]))


def _show_only_frames_of(namespace: dict[str, Any], error: BaseException) -> None:
    """Have the interpreter show a traceback that starts in the script, as it does without us."""
    hook = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value is error:
            traceback = _from_script(namespace, traceback)
            value = value.with_traceback(traceback)
        hook(kind, value, traceback)

    sys.excepthook = show


def _from_script(namespace: dict[str, Any], traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_globals is not namespace:
        traceback = traceback.tb_next
    return traceback

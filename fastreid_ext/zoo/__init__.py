"""The models that the package ships: which there are, how a user names them, and where their files lie.

``zoo`` is the default one and ``zoo:NAME`` any; both mean the shipped model whatever lies in the current folder, where
``./zoo`` names a file or folder. A model is ``NAME.safetensors``, with its config and its thresholds in it, and
``NAME.md``, its card. Nothing is downloaded.
"""

import difflib
import logging
import os
from pathlib import Path

from fastreid_ext.errors import ConfigError, FileError

__all__ = [
    "DEFAULT",
    "DEFAULT_NAME",
    "card_of",
    "check_own",
    "file_named",
    "is_name",
    "is_own",
    "models",
    "text_of",
    "weights_of",
]

DEFAULT = "wide"  # by the data that it was trained on
DEFAULT_NAME = f"zoo:{DEFAULT}"  # as a user may name it
SHORT, START = "zoo", "zoo:"
WEIGHTS, CARD = ".safetensors", ".md"
SHOWN = 60  # characters of a name that is none
FOLDER = Path(__file__).parent

logger = logging.getLogger(__name__)


def models() -> list[str]:
    """Return the names of the shipped models, such as "wide", sorted."""
    return sorted(path.stem for path in FOLDER.glob(f"*{WEIGHTS}") if path.is_file())


def weights_of(name: str = "") -> Path:
    """Return the file of a shipped model; "" = of the default one.

    Raises:
        ConfigError: no such model is shipped; the sentence has those that are.
        FileError: the default one is missing from this installation.
    """
    name, known = name or DEFAULT, models()
    if name in known:
        return FOLDER / f"{name}{WEIGHTS}"
    if name == DEFAULT or not known:
        raise FileError(f"there is no {FOLDER / (DEFAULT + WEIGHTS)}: reinstall fastreid-ext, of which it is a part")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {START}{near[0]}?" if near else f"those that are: {', '.join(START + one for one in known)}"
    raise ConfigError(f"no model {name[:SHOWN]!r} is shipped: {hint}")


def card_of(name: str = "") -> Path:
    """Return the model card of a shipped model, in Markdown; "" = of the default one.

    Raises:
        ConfigError, FileError: as :func:`weights_of`, or its card is missing.
    """
    path = weights_of(name).with_suffix(CARD)
    if not path.is_file():
        raise FileError(f"there is no {path}: reinstall fastreid-ext, of which it is a part")
    return path


def is_name(text: object) -> bool:
    """Whether a text names a shipped model, or tries to; a ``Path`` never does."""
    return isinstance(text, str) and (text == SHORT or text.startswith(START))


def file_named(text: object) -> Path | None:
    """Return the file of the shipped model that ``zoo`` or ``zoo:NAME`` names; None for anything else.

    Raises:
        ConfigError, FileError: as :func:`weights_of`.
    """
    if not is_name(text):
        return None
    name = text.removeprefix(START) if text != SHORT else DEFAULT
    if not name:
        raise ConfigError(f"{text} names no model: write {SHORT}, or {' or '.join(START + one for one in models())}")
    path = weights_of(name)
    if os.path.exists(text):
        logger.warning("%s is the shipped model %s; write ./%s for what lies in the current folder", text, name, text)
    return path


def text_of(path: str | Path) -> str:
    """Return a text as it is, and a ``Path`` as a text that names the same file, and no shipped model."""
    text = str(path)
    return os.path.join(os.curdir, text) if isinstance(path, Path) and is_name(text) else text


def is_own(path: str | Path) -> bool:
    """Whether a file lies, or would lie, among the shipped models."""
    return Path(path).resolve().parent == FOLDER.resolve()


def check_own(weights: Path, what: str) -> None:
    """Check that what is about to be written beside some weights does not come among the shipped models.

    Args:
        weights: the file of the model.
        what: is written, for the sentence, such as "the components".

    Raises:
        ConfigError: it does; the sentence says how to copy the model.
    """
    if is_own(weights):
        copy = f"{weights.stem}{WEIGHTS}"
        raise ConfigError(
            f"{what} would be written into the installed package, beside {weights}: copy the model with fastreid-ext"
            f" export --config-file {START}{weights.stem} --format weights --output {copy}, and name --config-file"
            f" {copy}"
        )

"""Letters on pictures: a font that has those of Europe's languages, and lines that are broken where the room ends."""

from functools import cache
from pathlib import Path

from PIL import ImageFont


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return Matplotlib's DejaVu Sans; PIL's own font has the letters of English alone.

    Args:
        size: in pixels.
        bold: the bold face.
    """
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def length(text: str, of: ImageFont.FreeTypeFont) -> int:
    """Return the width of a line in pixels, rounded up."""
    return int(of.getlength(text)) + 1


def broken(text: str, of: ImageFont.FreeTypeFont, room: int) -> list[str]:
    """Break a text between words so that every line has room, in pixels; a word that is longer has a line alone."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and length(longer, of) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines

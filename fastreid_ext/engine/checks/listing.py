"""Several mistakes in one message, so that a user can fix them all before the next start."""

from collections.abc import Iterable

from fastreid_ext.errors import ConfigError


def raise_together(sentences: Iterable[str], cause: BaseException | None = None) -> None:
    """Raise all mistakes at once: the sentence itself if there is one, a numbered list if there are several.

    Args:
        sentences: one for each mistake; a repeated one counts once, and without any nothing is raised.
        cause: what the error is raised from.

    Raises:
        ConfigError: there is a mistake.
    """
    found = list(dict.fromkeys(sentences))
    if found:
        raise ConfigError(as_one(found)) from cause


def as_one(sentences: list[str]) -> str:
    """Return one sentence as it is, several as a numbered list."""
    if len(sentences) == 1:
        return sentences[0]
    return f"{len(sentences)} mistakes:" + "".join(f"\n  {i}. {text}" for i, text in enumerate(sentences, start=1))

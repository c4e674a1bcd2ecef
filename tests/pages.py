"""The pages of the docs: Markdown as it is read in a checkout."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "projects/**/*.md", "benchmarks/*.md", "fastreid_ext/zoo/*.md")
    for path in REPOSITORY.glob(pattern)
)

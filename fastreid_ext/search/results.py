"""The results of a search: JSON, CSV and a sheet of rank lists whose title names the ranking."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastreid_ext.data.labels import UNKNOWN
from fastreid_ext.evaluation.pair_set import similarity_of_distance
from fastreid_ext.evaluation.rank_list import RankedQuery, draw_rank_lists, name_of_number, number
from fastreid_ext.evaluation.same_person import SamePerson
from fastreid_ext.files import write_atomically, write_picture
from fastreid_ext.foreign_files import one_line
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.nearest import Neighbours, same_person
from fastreid_ext.search.unknown import Verdicts

SHEET_COLUMNS = 20  # of the nearest images, at most: a wider picture is not looked at
COLUMNS = ("query", "rank", "gallery", "distance", "person", "camera", "same_person")
OF_VERDICTS = ("probability", "verdict", "query_verdict")  # further columns


@dataclass(frozen=True)
class SearchResult:
    """The result of a search and its ranking.

    Attributes:
        queries, gallery: the images.
        found: rows of the gallery for each query, with their distances.
        order: which order this is, as titles say it.
        about: index, recall and the like, for the head of the JSON file.
        verdicts: who is the same person and who is unknown; None = not asked.
    """

    queries: ImageList
    gallery: ImageList
    found: Neighbours
    order: str
    about: Mapping[str, Any]
    verdicts: Verdicts | None = None

    def lists(self) -> Iterator[tuple[tuple[str, str, str], list[dict[str, Any]]]]:
        """Yield each query's (path, person, camera) and its matches, nearest first."""
        same = same_person(self.queries.rows, self.gallery.rows, self.found.indices)
        for query, indices, distances, right in zip(
            self.queries.rows, self.found.indices, self.found.distances, same, strict=True
        ):
            yield (
                query,
                [
                    {
                        "rank": rank,
                        "path": self.gallery.rows[index][0],
                        "distance": float(distance),
                        "person": self.gallery.rows[index][1],
                        "camera": self.gallery.rows[index][2],
                        "same_person": equal,
                    }
                    for rank, (index, distance, equal) in enumerate(zip(indices, distances, right, strict=False), 1)
                ],
            )


def list_lines(result: SearchResult, measured: SamePerson | None) -> list[str]:
    """Return each query's nearest images, a line an image: rank, path, similarity, probability where measured."""
    metric, lines = result.about["metric"], []
    for (query, _, _), matches in result.lists():
        lines.append(f"nearest to {one_line(query)}:")
        similar = similarity_of_distance(np.array([match["distance"] for match in matches]), metric)
        likely = [None] * len(matches) if measured is None else measured.probability(similar).tolist()
        for match, similarity, probability in zip(matches, similar.tolist(), likely, strict=True):
            chance = "" if probability is None else f", probability {probability:.4f} of the same person"
            lines.append(f"{match['rank']:4}. {one_line(match['path'])} (similarity {similarity:.4f}{chance})")
    return lines


def write_json(result: SearchResult, path: Path) -> None:
    """Write the result as JSON, a line a query: ``order``, what is in ``about``, and ``results``."""

    def write(file: BinaryIO) -> None:
        head = {
            "order": result.order,
            **result.about,
            "query_root": str(result.queries.root),
            "gallery_root": str(result.gallery.root),
        }
        file.write(json.dumps(head, indent=1)[:-2].encode() + b',\n "results": [')
        for n, ((query, person, camera), matches) in enumerate(result.lists()):
            entry = {"query": query, "person": person, "camera": camera, "matches": matches}
            if result.verdicts is not None:
                judged = [{**match, **result.verdicts.of_match(n, place)} for place, match in enumerate(matches)]
                entry |= {**result.verdicts.of_query(n), "matches": judged}
            file.write((",\n  " if n else "\n  ").encode() + json.dumps(entry).encode())
        file.write(b"\n ]\n}\n")

    write_atomically(path, write)


def write_csv(result: SearchResult, path: Path) -> None:
    """Write the result as CSV, a line a match; ``same_person`` is 1, 0 or, if unknown, empty."""

    def write(file: BinaryIO) -> None:
        # file names of another encoding, as the system gives them
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        table = csv.writer(text, lineterminator="\n")
        verdicts = result.verdicts
        table.writerow(COLUMNS if verdicts is None else (*COLUMNS, *OF_VERDICTS))
        for n, ((query, _, _), matches) in enumerate(result.lists()):
            for place, match in enumerate(matches):
                same = "" if match["same_person"] is None else int(match["same_person"])
                values = match["rank"], match["path"], repr(match["distance"]), match["person"], match["camera"], same
                judged = []
                if verdicts is not None:
                    one = verdicts.of_match(n, place)
                    judged = [repr(one["probability"]), one["verdict"], verdicts.of_query(n)["verdict"]]
                table.writerow([query, *values, *judged])
        text.flush()
        text.detach()  # or the wrapper closes the file under write_atomically

    write_atomically(path, write)


def draw_sheet(result: SearchResult, path: Path, count: int) -> Path:
    """Draw the nearest images of some queries, spread evenly over all of them, as PNG; of each SHEET_COLUMNS at most.

    Raises:
        OSError: an image can't be read, because galleries may move.
    """
    shown = np.unique(np.linspace(0, len(result.queries.rows) - 1, num=count).round().astype(int))
    indices = result.found.indices[shown, :SHEET_COLUMNS]
    same = same_person([result.queries.rows[n] for n in shown], result.gallery.rows, indices)
    ranked = [
        RankedQuery(result.queries.file(n), [result.gallery.file(p) for p in nearest if p >= 0], right, notes)
        for n, nearest, right, notes in zip(shown, indices, same, _notes(result, shown), strict=True)
    ]
    title = f"{sheet_title(result.order, same)}; below: {name_of_number(result.about['metric'])}"
    picture = draw_rank_lists(ranked, title, indices.shape[1])
    write_picture(path, picture)
    return path


def _notes(result: SearchResult, shown: Sequence[int]) -> list[list[tuple[str, ...]]]:
    """Return what stands below the images of each query: the number that orders them, and the camera if known."""

    def camera(row: tuple[str, str, str]) -> str:
        return "" if row[2] == UNKNOWN else f"camera {row[2]}"

    notes = []
    for n in shown:
        found = zip(result.found.indices[n, :SHEET_COLUMNS], result.found.distances[n, :SHEET_COLUMNS], strict=True)
        images = [(number(d, result.about["metric"]), camera(result.gallery.rows[p])) for p, d in found if p >= 0]
        notes.append([(camera(result.queries.rows[n]),), *images])
    return notes


def sheet_title(order: str, same: Sequence[Sequence[bool | None]]) -> str:
    """Return the order that a sheet shows and what those of its frames mean that occur on it."""
    kinds = {right for row in same for right in row}
    meanings = {True: "green: same person", False: "red: another one", None: "grey: person unknown"}
    legend = ", ".join(text for kind, text in meanings.items() if kind in kinds)
    return f"{order[0].upper()}{order[1:]}" + (f"; {legend}" if legend else "")

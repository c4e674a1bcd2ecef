"""Tables whose rows do not say what their first line says: refused by their line, never read as something else."""

import pytest

from fastreid_ext.errors import FileError
from fastreid_ext.foreign_files import csv_rows, read_table

REFUSED = {
    "a name with a comma": (
        "path,person,camera\na.jpg,Smith, Anna,1\nb.jpg,Smith, John,1\n",
        "line 2 of .* has 4 cells, and its first line 3: .* in quotation marks",
    ),
    "a column twice": ("path,person,Person,camera\na.jpg,1,2,1\n", "names the column person twice"),
    "an open quotation": (
        'path,camera,person\na.jpg,1,anna\nb.jpg,1,"bob\nc.jpg,1,carl\n',
        "line 3 of .* begins a quotation that never ends",
    ),
    "an open quotation in the first line": ('"path,person\na.jpg,1\n', "line 1 of .* begins a quotation"),
    "an open quotation in the last cell": ('path,camera,person\na.jpg,1,"anna', "line 2 of .* begins a quotation"),
    "a quotation that another one ends": (
        'path,camera,person\na.jpg,1,"anna\nb.jpg,1,bob"\nc.jpg,1,carl\n',
        r"line 3 of .* has a line break in its person, 'anna\\nb.jpg,1,bob'",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_rows_that_say_something_else(what, tmp_path):
    text, said = REFUSED[what]
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(FileError, match=said):
        read_table(tmp_path / "train.csv")


def test_rows_that_are_as_they_should(tmp_path):
    """Empty cells behind the last, a comma in quotation marks, other columns of one name, a path with a line break."""
    text = 'path,person,camera,note,note\na.jpg,"Smith, Anna",1,x,y,,\n"b\nc.jpg",O"Neil,2\n\n'
    (tmp_path / "train.csv").write_text(text)
    _, rows = read_table(tmp_path / "train.csv")
    assert [(line, row["path"], row["person"], row["camera"]) for line, row in rows] == [
        (2, "a.jpg", "Smith, Anna", "1"),
        (4, "b\nc.jpg", 'O"Neil', "2"),
    ]


@pytest.mark.parametrize(
    ("text", "rows"), [("", []), ("\n\n", []), ("a,b", [(1, ["a", "b"])]), ('"a"\n', [(1, ["a"])])]
)
def test_ends_of_tables(text, rows, tmp_path):
    assert csv_rows(text, tmp_path) == rows

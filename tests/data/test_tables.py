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
    "a zero byte": (
        "path,person,camera\na.jpg,an\0na,1\n",
        r"line 2 of .* control character in its person, 'an\\x00na'",
    ),
    "another sign": ("path,person,camera\na.jpg,anna,1\x0b2\n", "line 2 of .* has a control character in its camera"),
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
    "first",
    [
        'path;person;camera;"note, by, whom, and, when"',
        'path,person,camera,"seen; by; whom; and; when"',
        "\n\npath;person;camera",
        ";path;person;camera",
        "path\t person\tcamera\t",
        'Path;"Person";CAMERA,a,b,c,d',
    ],
)
def test_the_delimiter_is_what_separates_the_columns(first, tmp_path):
    sign = next(sign for sign in ";\t," if f"ath{sign}" in first)
    row = sign.join(["0"] * first.startswith(";") + ["a.jpg", "anna"])
    (tmp_path / "train.csv").write_text(f"{first}\n{row}\n")
    _, [(_, row)] = read_table(tmp_path / "train.csv")
    assert (row["path"], row["person"]) == ("a.jpg", "anna")


@pytest.mark.parametrize("first", ["sep=;", "# my list", "0.jpg"])
def test_a_first_line_that_names_no_column(first, tmp_path):
    """The caller says so: that the next line has other cells is not what is wrong."""
    (tmp_path / "train.csv").write_text(f"{first}\npath;person;camera\na.jpg;1;2\n")
    names, rows = read_table(tmp_path / "train.csv")
    assert "path" not in names and not rows


@pytest.mark.parametrize(
    ("text", "rows"), [("", []), ("\n\n", []), ("a,b", [(1, ["a", "b"])]), ('"a"\n', [(1, ["a"])])]
)
def test_ends_of_tables(text, rows, tmp_path):
    assert csv_rows(text, tmp_path) == rows

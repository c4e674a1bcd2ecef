"""The table of docs/upstream.md is the registry's."""

import pytest
import write_heals

from fastreid_ext.compat import patch
from fastreid_ext.upstream.host_edits import EDITS


def test_the_page_is_up_to_date():
    assert write_heals.main(["--check"]) == 0


def test_another_fix_is_seen(monkeypatch, capsys):
    rows = write_heals.rows()
    monkeypatch.setattr(write_heals, "rows", lambda: [(*rows[0][:-2], "another fix", ""), *rows[1:]])
    assert write_heals.main(["--check"]) == 1
    assert "run python tools/write_heals.py" in capsys.readouterr().err


def test_every_fault_has_every_word():
    rows = write_heals.rows()
    assert len(rows) == len(patch.PATCHES) + 1 == len({row[0] for row in rows})
    for row in rows:
        assert all(row[:-1]) and not any("|" in cell or "\n" in cell for cell in row), row[0]


def test_edits_belong_to_faults():
    assert {f"`{edit.patch}`" for edit in EDITS} == {row[0] for row in write_heals.rows() if row[-1]}


@pytest.mark.parametrize("word", ["cause", "fix"])
def test_a_patch_must_have_them(word):
    words = dict.fromkeys(("heals", "needed_by", "if_skipped", "cause", "fix"), "x")
    del words[word]
    with pytest.raises(TypeError, match=word):
        patch.patch("sample", targets={}, needed=bool, **words)

"""What the command refuses, and what ``--update`` allows."""

import os
import signal
from pathlib import Path

import pytest
from git_checkouts import git, make_repository

from fastreid_ext.commands import upstream as command
from fastreid_ext.errors import ConfigError
from fastreid_ext.upstream import writing
from fastreid_ext.upstream.checking import run_without_us
from fastreid_ext.upstream.checkout import MARKS, Checkout, CheckoutError
from fastreid_ext.upstream.plan import PAPERS
from fastreid_ext.upstream.writing import papers_named, write


@pytest.fixture
def small(tmp_path):
    """A checkout with the files that tell FastReID, and a project of its own."""
    folder = tmp_path / "fork"
    for mark in (*MARKS, "projects/Old/old.py"):
        (folder / mark).parent.mkdir(parents=True, exist_ok=True)
        (folder / mark).write_text("old = 1\n")
    return make_repository(folder)


def ignore(repository, *names):
    """Commit a .gitignore."""
    (repository / ".gitignore").write_text("".join(f"{name}\n" for name in names))
    git(repository, "add", ".gitignore")
    git(repository, "commit", "--quiet", "-m", "Ignore")


def head(repository, of="HEAD"):
    return git(repository, "rev-parse", of).strip()


def state(repository):
    """What a command that fails leaves alone: the branches, the present one, and whether files differ from it."""
    return [git(repository, *words) for words in (["show-ref"], ["symbolic-ref", "HEAD"], ["status", "--porcelain"])]


def test_no_folder(tmp_path):
    with pytest.raises(CheckoutError, match="there is no folder .*none: name a git checkout of FastReID"):
        Checkout(tmp_path / "none")


def test_not_fastreid(small):
    git(small, "rm", "--quiet", MARKS[0])
    with pytest.raises(
        CheckoutError, match="is no checkout of FastReID, because it has no fastreid/config/defaults.py"
    ):
        Checkout(small)


def test_no_git(small, tmp_path):
    moved = tmp_path / "plain"
    small.rename(moved)
    (moved / ".git").rename(tmp_path / "git")
    with pytest.raises(CheckoutError, match="is no git checkout .*: clone FastReID"):
        Checkout(moved)


def test_a_folder_of_another_checkout(small, tmp_path):
    inner = small / "vendored"
    for mark in MARKS:
        (inner / mark).parent.mkdir(parents=True, exist_ok=True)
        (inner / mark).write_text("")
    with pytest.raises(CheckoutError, match="is inside the git checkout"):
        Checkout(inner)


def test_no_commit(small):
    git(small, "checkout", "--quiet", "--orphan", "empty")
    with pytest.raises(CheckoutError, match="has no commit yet"):
        Checkout(small)


def test_changed_files(small):
    (small / "projects/Old/old.py").write_text("old = 2\n")
    with pytest.raises(
        CheckoutError, match=r"changes that are not committed \(M projects/Old/old.py\): commit or stash"
    ):
        Checkout(small).begin("new", update=False)
    assert git(small, "branch", "--show-current").strip() == "master"


def test_a_branch_that_is_there(small):
    git(small, "branch", "mine")
    checkout = Checkout(small)
    with pytest.raises(CheckoutError, match="has a branch mine already: .*--update"):
        checkout.begin("mine", update=False)
    checkout.move("mine", checkout.begin("mine", update=True))
    assert git(small, "branch", "--show-current").strip() == "mine"


@pytest.mark.parametrize("name", ["a b", "-x", "a..b", "@{-1}", ""])
def test_a_name_that_git_refuses(small, name):
    with pytest.raises(CheckoutError, match="git takes no branch of the name"):
        Checkout(small).begin(name, update=True)


def test_files_of_others(small):
    checkout = Checkout(small)
    with pytest.raises(CheckoutError, match="has projects/Old already: give --update"):
        checkout.check_free("HEAD", "projects/Old", update=False)
    checkout.check_free("HEAD", "projects/Old", update=True)
    (small / "projects/Old/notes.txt").write_text("mine")
    with pytest.raises(CheckoutError, match="Old has files that are not committed"):
        checkout.check_free("HEAD", "projects/Old", update=True)


def test_links_are_not_followed(small, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (small / "projects/Linked").symlink_to(tmp_path / "elsewhere")
    git(small, "add", "--all")
    git(small, "commit", "--quiet", "-m", "Link")
    with pytest.raises(CheckoutError, match="Linked is a link"):
        Checkout(small).check_free("HEAD", "projects/Linked", update=True)


def test_ignored_files_are_not_overwritten(small):
    ignore(small, "notes", "__pycache__")
    for name in ("notes", "__pycache__"):
        (small / "projects/New" / name).mkdir(parents=True)
        (small / "projects/New" / name / "a.py").write_text("mine")
    checkout = Checkout(small)
    checkout.check_free("HEAD", "projects/New", update=False, files=["projects/New/new.py"])  # both may stay there
    with pytest.raises(CheckoutError, match="projects/New/notes/a.py is there, and git ignores it: move it first"):
        checkout.check_free(
            "HEAD", "projects/New", update=False, files=["projects/New/new.py", "projects/New/notes/a.py"]
        )


def test_a_change_of_branch_keeps_ignored_files(small):
    git(small, "switch", "--quiet", "--create", "theirs")
    (small / "settings.txt").write_text("theirs")
    git(small, "add", "settings.txt")
    git(small, "commit", "--quiet", "-m", "Add settings")
    git(small, "switch", "--quiet", "master")
    (small / ".git/info/exclude").write_text("settings.txt\n")
    (small / "settings.txt").write_text("mine")
    before = state(small)
    with pytest.raises(CheckoutError, match="git switch failed"):
        Checkout(small).move("theirs", head(small, "theirs"))
    assert (small / "settings.txt").read_text() == "mine" and state(small) == before


@pytest.mark.parametrize(("branch", "refused"), [("theirs", "git switch failed"), ("master", "git merge failed")])
def test_a_file_in_the_way_leaves_branches_and_files(branch, refused, small):
    """The branch is there, and the commit on top of it has a file that would replace another one."""
    git(small, "branch", "theirs")
    git(small, "commit", "--quiet", "--allow-empty", "-m", "Go on")
    checkout = Checkout(small)
    commit = checkout.commit(branch, {"settings.txt": b"theirs"}, "Add settings")
    (small / "settings.txt").write_text("mine")
    before = state(small)
    with pytest.raises(CheckoutError, match=refused):
        checkout.move(branch, commit)
    assert (small / "settings.txt").read_text() == "mine" and state(small) == before
    (small / "settings.txt").unlink()
    checkout.move(branch, commit)
    assert head(small) == commit == head(small, branch) and not git(small, "status", "--porcelain")


def test_a_repository_of_longer_hashes(small):
    (small / ".git").rename(small.parent / "sha1")
    git(small, "init", "--quiet", "--object-format=sha256", "--initial-branch", "master")
    make_repository(small)
    commit = Checkout(small).commit("HEAD", {"projects/Old/new.py": b""}, "Replace it", replaces="projects/Old")
    assert len(commit) == 64
    assert git(small, "ls-tree", "-r", "--name-only", commit, "projects").split() == ["projects/Old/new.py"]


def test_links_of_the_branch_are_not_followed(small, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "project_files", lambda paper: {"new.py": "new = 1\n"})
    (tmp_path / "elsewhere").mkdir()
    git(small, "switch", "--quiet", "--create", "theirs")
    (small / "projects/DeepMiner").symlink_to(tmp_path / "elsewhere")
    git(small, "add", "--all")
    git(small, "commit", "--quiet", "-m", "Link")
    git(small, "switch", "--quiet", "master")
    with pytest.raises(CheckoutError, match="DeepMiner is a link"):
        write(Checkout(small), PAPERS[:1], False, "theirs", True)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_variables_of_a_hook_of_git_name_no_other_repository(small, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.txt").write_text("a")
    other = make_repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    checkout = Checkout(small)
    base = checkout.begin("new", update=False)
    checkout.move("new", checkout.commit(base, {"projects/New/a.py": b"a = 1\n"}, "Add it", replaces="projects/New"))
    for name in ("GIT_DIR", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    assert git(small, "log", "-1", "--format=%s", "new").strip() == "Add it"
    assert git(other, "branch", "--format=%(refname:short)").split() == ["master"]


def test_whatever_git_refuses_is_a_sentence(small):
    checkout, last = Checkout(small), head(small)
    (small / ".git/objects" / last[:2] / last[2:]).unlink()
    with pytest.raises(CheckoutError, match="git status failed in .*: fatal: bad object HEAD"):
        checkout.begin("new", update=False)


def test_a_file_where_a_folder_is_needed(small):
    (small / "papers").write_text("mine")
    git(small, "add", "--all")
    git(small, "commit", "--quiet", "-m", "Add a file")
    with pytest.raises(CheckoutError, match="papers is a file, and papers/New is to be a folder: move it first"):
        Checkout(small).check_free("HEAD", "papers/New", update=True)


@pytest.mark.linux("hooks are shell scripts")
def test_hooks_of_the_checkout_do_not_run(small):
    """--no-verify leaves out two of them alone, and a post-checkout that fails is no failed change of branch."""
    for name in ("post-checkout", "prepare-commit-msg"):
        hook = small / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    checkout = Checkout(small)
    checkout.move("new", checkout.commit("HEAD", {"projects/New/new.py": b"new = 1\n"}, "Add it"))
    assert (small / "projects/New/new.py").is_file()


def test_nobody_commits(small, monkeypatch):
    for key in ("name", "email"):
        git(small, "config", f"user.{key}", "")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    with pytest.raises(CheckoutError, match="does not know who commits .* set its user.name"):
        Checkout(small).begin("new", update=False)


def test_ignored_files_are_committed_too(small):
    ignore(small, "tests")
    checkout = Checkout(small)
    files = {"projects/New/tests/a.py": b"a = 1\n"}
    checkout.move("new", checkout.commit("HEAD", files, "Add it", replaces="projects/New"))
    assert git(small, "ls-files", "projects/New").split() == ["projects/New/tests/a.py"]


def test_a_script_without_us(small):
    (small / "ours.py").write_text("import fastreid_ext.losses\n")
    with pytest.raises(CheckoutError, match="must do without fastreid_ext"):
        run_without_us(small, "ours.py")
    (small / "theirs.py").write_text("import os, sys\nprint(os.getcwd(), sys.argv[1:], __name__)\n")
    assert run_without_us(small, "theirs.py", ["a", "b"]) == f"{small} ['a', 'b'] __main__\n"


def test_a_commit_replaces_a_folder_and_nothing_else(small):
    checkout = Checkout(small)
    for name in ("änderung.py", 'a "b".py'):  # which git quotes
        (small / "projects/Old" / name).write_text("old = 1\n")
    git(small, "add", "--all")
    git(small, "commit", "--quiet", "-m", "Add names")
    (small / "mine.txt").write_text("mine")  # git does not know it
    files = {"projects/Old/new.py": b"new = 1\n"}
    commit = checkout.commit(head(small), files, "Replace it", replaces="projects/Old")
    assert checkout.commit(commit, files, "Again", replaces="projects/Old") == commit
    checkout.move("new", commit)
    assert git(small, "ls-files", "projects").split() == ["projects/Old/new.py"]
    assert not (small / "projects/Old/old.py").exists()
    assert git(small, "log", "-1", "--format=%s").strip() == "Replace it"
    assert (small / "mine.txt").read_text() == "mine" and git(small, "status", "--porcelain") == "?? mine.txt\n"


# ---- what fails or is interrupted leaves the checkout as it was ------------------------------------------------------


@pytest.fixture
def new_files(monkeypatch):
    """Two files take the place of a project, so that nothing slow is written."""
    monkeypatch.setattr(writing, "project_files", lambda paper: {"new.py": "new = 1\n", "tests/a.py": "a = 1\n"})


def signs_nothing(repository):
    git(repository, "config", "commit.gpgSign", "true")
    git(repository, "config", "gpg.program", "false")


def is_locked(repository):
    (repository / ".git/index.lock").touch()


def has_a_branch_in_a_folder_of_the_name(repository):
    git(repository, "branch", "new/other")


@pytest.mark.linux("gpg.program")
@pytest.mark.usefixtures("new_files")
@pytest.mark.parametrize("spoilt", [signs_nothing, is_locked, has_a_branch_in_a_folder_of_the_name])
def test_what_git_refuses_leaves_everything(spoilt, small):
    (small / "fastreid/data").mkdir()
    (small / "fastreid/data/build.py").write_text("from collections import Mapping\n")
    git(small, "add", "--all")
    git(small, "commit", "--quiet", "-m", "Add a file to repair")
    spoilt(small)
    before = state(small)
    with pytest.raises(CheckoutError, match="git .* failed in"):
        write(Checkout(small), PAPERS[:1], True, "new", False)
    assert state(small) == before and not (small / "projects/DeepMiner").exists()


def test_a_change_of_files_that_fails_is_taken_back(small, monkeypatch):
    """As where a folder can't be written: git has changed some files by then, and keeps HEAD."""
    checkout, before = Checkout(small), state(small)
    commit = checkout.commit("HEAD", {"projects/Old/old.py": b"old = 2\n", "projects/New/a/b.py": b""}, "Change")

    def half(*words):
        (small / "projects/Old/old.py").write_text("old = 2\n")
        (small / "projects/New/a").mkdir(parents=True)
        (small / "projects/New/a/b.py").touch()
        raise CheckoutError("no room")

    monkeypatch.setattr(checkout, "_run_to_its_end", half)
    with pytest.raises(CheckoutError, match="no room"):
        checkout.move("new", commit)
    assert state(small) == before and not (small / "projects/New").exists()


@pytest.mark.usefixtures("new_files")
@pytest.mark.parametrize("last", range(3))
def test_an_interruption_leaves_everything(last, small, monkeypatch):
    before, made = state(small), []

    def interrupted(self, *arguments, original=Checkout.commit, **options):
        made.append(original(self, *arguments, **options))
        if len(made) > last:
            raise KeyboardInterrupt
        return made[-1]

    monkeypatch.setattr(Checkout, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(Checkout(small), PAPERS[:3], False, "new", False)
    assert state(small) == before


@pytest.mark.linux("signals")
def test_git_ends_a_change_of_branch_that_ctrl_c_interrupts(small, monkeypatch):
    """A smudge filter makes the change last, and says when it is in the middle of it."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "filter.slow.smudge")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"kill -INT {os.getpid()}; sleep 0.5; cat")
    (small / ".git/info/attributes").write_text("*.py filter=slow\n")
    checkout = Checkout(small)
    commit = checkout.commit("HEAD", {"projects/New/a.py": b"a = 1\n"}, "Add it")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            checkout.move("new", commit)
    finally:
        signal.signal(signal.SIGINT, before)
    assert head(small) == commit and (small / "projects/New/a.py").read_text() == "a = 1\n"
    assert not (small / ".git/index.lock").exists()


@pytest.mark.usefixtures("new_files")
def test_a_sparse_checkout(small):
    """It lacks files that are repaired and folders that are written; both are committed, and stay out of its files."""
    (small / "fastreid/data").mkdir()
    (small / "fastreid/data/build.py").write_text("from collections import Mapping\n")
    git(small, "add", "--all")
    git(small, "commit", "--quiet", "-m", "Add a file to repair")
    git(small, "sparse-checkout", "set", "--no-cone", *(f"/{mark}" for mark in MARKS))
    lines = write(Checkout(small), PAPERS[:1], True, "new", False)
    assert lines[1] == "FastReID itself: 1 file repaired"
    assert git(small, "show", "new:fastreid/data/build.py") == "from collections.abc import Mapping\n"
    assert git(small, "show", "new:projects/DeepMiner/new.py") == "new = 1\n"
    assert not (small / "projects").exists() and not git(small, "status", "--porcelain")


def test_unknown_paper():
    with pytest.raises(CheckoutError, match="there is no project Miner: --papers takes DeepMiner, MGRe"):
        papers_named(["Miner"])
    assert [paper.project for paper in papers_named(command.PAPERS)] == list(command.PAPERS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--papers"], "nothing to write"),
        (["--papers", "--heals", "--check"], "--check is about projects"),
        (["--check-with", "A", "1"], "give --check too"),
        (["--check", "--check-with", "A"], "pairs of a key and its value"),
    ],
)
def test_options_that_do_not_fit(arguments, said):
    from fastreid_ext.cli import argument_parser

    with pytest.raises(ConfigError, match=said):
        command.run(argument_parser().parse_args(["upstream", str(Path("nowhere")), *arguments]))

"""A git checkout of FastReID: what it is, and commits on a branch of its own."""

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from fastreid_ext.errors import UserError

# Variables by which git would work in another repository than the folder's; a hook of git's has them set.
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
MARKS = ("fastreid/config/defaults.py", "fastreid/engine/defaults.py", "fastreid/modeling/meta_arch/build.py")


class CheckoutError(UserError):
    """A folder that nothing can be written into, with what to do."""


class Checkout:
    """A clean git checkout of FastReID or of a fork.

    Args:
        folder: its top.

    Raises:
        CheckoutError: no such folder, no git checkout, not its top, none of FastReID, or changed files in it.
    """

    def __init__(self, folder: Path):
        self.folder = Path(os.path.realpath(folder))  # which a loop of links does not stop
        if not self.folder.is_dir():
            raise CheckoutError(f"there is no folder {folder}: name a git checkout of FastReID")
        missing = [mark for mark in MARKS if not (self.folder / mark).is_file()]
        if missing:
            raise CheckoutError(
                f"{folder} is no checkout of FastReID, because it has no {missing[0]}: name its top folder"
            )
        try:
            top = self._run("rev-parse", "--show-toplevel")
        except FileNotFoundError as error:
            raise CheckoutError("git is not installed: install it") from error
        if top.returncode:
            raise CheckoutError(
                f"{folder} is no git checkout ({_said(top)}): clone FastReID with git, and name that folder"
            )
        top = top.stdout.strip()
        if os.path.realpath(top) != str(self.folder):
            raise CheckoutError(
                f"{folder} is inside the git checkout {top}: name the top folder of a checkout of FastReID"
            )
        if not self.succeeds("rev-parse", "--verify", "--quiet", "HEAD"):
            raise CheckoutError(
                f"{folder} has no commit yet, so there is nothing that a branch could begin at: commit first"
            )

    def git(self, *arguments: str) -> str:
        """Run git in the checkout and return what it prints.

        Raises:
            CheckoutError: git refuses.
        """
        ran = self._run(*arguments)
        if ran.returncode:
            raise CheckoutError(f"git {arguments[0]} failed in {self.folder}: {_said(ran)}")
        return ran.stdout.strip()

    def succeeds(self, *arguments: str) -> bool:
        """Run git in the checkout and return whether it says yes."""
        return not self._run(*arguments).returncode

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
        command = ["git", "-C", str(self.folder), "-c", f"core.hooksPath={os.devnull}", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="surrogateescape")

    def _listed(self, *arguments: str) -> set[str]:
        """Return the paths that ``git ls-files`` lists, as they are: without -z it quotes all but ASCII."""
        return set(filter(None, self.git("ls-files", "-z", *arguments).split("\0")))

    def start_branch(self, branch: str, update: bool) -> None:
        """Change to a new branch at HEAD, or with ``update`` to one that is there.

        Raises:
            CheckoutError: changed files, a name that git refuses, or a branch that is there without ``update``.
        """
        if changed := self.git("status", "--porcelain", "--untracked-files=no"):
            raise CheckoutError(
                f"{self.folder} has changes that are not committed ({changed.splitlines()[0].strip()}): commit or stash"
                " them first"
            )
        if not self.succeeds("var", "GIT_COMMITTER_IDENT"):
            raise CheckoutError(f"git does not know who commits in {self.folder}: set its user.name and user.email")
        if not self.succeeds("check-ref-format", "--branch", branch):
            raise CheckoutError(f"git takes no branch of the name {branch!r}: choose another one for --branch")
        there = self.succeeds("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
        if there and not update:
            raise CheckoutError(
                f"{self.folder} has a branch {branch} already: choose another one for --branch, or give --update to"
                " commit on top of it"
            )
        self.git("switch", "--no-overwrite-ignore", *([branch] if there else ["-c", branch]))

    def check_free(self, folder: str, update: bool, files: Collection[str] = ()) -> None:
        """Check that writing a folder loses nothing.

        Args:
            folder: below the checkout.
            update: whether what is committed there may be replaced.
            files: paths below the checkout that are to be written; others that git ignores may stay there.

        Raises:
            CheckoutError: it has files that git does not know or that links lead out of the checkout to, or, without
                ``update``, there is such a folder.
        """
        place = self.folder / folder
        if any(os.path.realpath(path) != str(path) for path in (place, *place.rglob("*"))):
            raise CheckoutError(f"{place} is a link or has some in it, and what they lead to is not ours to replace")
        if self._listed("--others", "--exclude-standard", "--", folder):
            raise CheckoutError(f"{place} has files that are not committed: commit or move them first")
        if ignored := self._listed("--others", "--", folder).intersection(files):
            raise CheckoutError(f"{self.folder / min(ignored)} is there, and git ignores it: move it first")
        if self._listed("--", folder) and not update:
            raise CheckoutError(f"{self.folder} has {folder} already: give --update to replace it")

    def commit(self, files: Mapping[str, str], message: str, replaces: str = "") -> bool:
        """Write files and commit them; False if they are there as they should be.

        Args:
            files: path below the checkout -> text.
            message: of the commit.
            replaces: a folder whose other committed files go.

        Raises:
            CheckoutError: git refuses, or a file can't be written.
        """
        try:
            if replaces:
                for path in self._listed("--", replaces) - set(files):
                    (self.folder / path).unlink(missing_ok=True)  # a sparse checkout lacks some
            for path, text in files.items():
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CheckoutError(
                f"{error.filename or self.folder} can't be written ({error.strerror}): make room for it, then reset and"
                " clean the branch"
            ) from error
        self.git("add", "--force", "--", *files)  # a .gitignore may name "tests" or "configs"
        if replaces:
            self.git("add", "--update", "--", replaces)
        if self.succeeds("diff", "--cached", "--quiet"):
            return False
        self.git("commit", "--quiet", "--no-verify", "-m", message)
        return True


def _said(ran: "subprocess.CompletedProcess[str]") -> str:
    """Return the line of git's that says why it refuses."""
    lines = ran.stderr.strip().splitlines() or ["no reason given"]
    return next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0])

"""A git checkout of FastReID: what it is, and commits on a branch of its own.

The commits are made in git's store alone. The branch, the index and the files change at the end, by git itself, so
whatever fails or is interrupted before leaves the checkout as it was.
"""

import os
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from fastreid_ext.errors import UserError

# Variables by which git would work in another repository than the folder's; a hook of git's has them set.
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
MARKS = ("fastreid/config/defaults.py", "fastreid/engine/defaults.py", "fastreid/modeling/meta_arch/build.py")
FOLDER, FILE, LINK, REPOSITORY = "040000", "100644", "120000", "160000"  # git's modes
KEEP = "surrogateescape"  # bytes of paths that are no text


class CheckoutError(UserError):
    """A folder that nothing can be written into, with what to do."""


class Checkout:
    """A clean git checkout of FastReID or of a fork.

    Args:
        folder: its top.

    Raises:
        CheckoutError: no such folder, no git checkout, not its top, none of FastReID, or no commit in it.
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
        top = _text(top.stdout)
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
        return _text(self._successful(*arguments))

    def succeeds(self, *arguments: str) -> bool:
        """Run git in the checkout and return whether it says yes."""
        return not self._run(*arguments).returncode

    def _successful(self, *arguments: str, **options: Any) -> bytes:
        ran = self._run(*arguments, **options)
        if ran.returncode:
            raise CheckoutError(f"git {arguments[0]} failed in {self.folder}: {_said(ran)}")
        return ran.stdout

    def _run(self, *arguments: str, given: bytes = b"", index: str = "") -> "subprocess.CompletedProcess[bytes]":
        command, environment = self._command(*arguments, index=index)
        return subprocess.run(command, env=environment, input=given, capture_output=True)

    def _run_to_its_end(self, *arguments: str) -> None:
        """Run git as :meth:`git` does, and have it end its work even if this process is to end: Ctrl-C, say."""
        command, environment = self._command(*arguments)
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            try:
                _, said = process.communicate()
            except BaseException:
                process.wait()
                raise
        if process.returncode:
            ran = subprocess.CompletedProcess(command, process.returncode, b"", said)
            raise CheckoutError(f"git {arguments[0]} failed in {self.folder}: {_said(ran)}")

    def _command(self, *arguments: str, index: str = "") -> tuple[list[str], dict[str, str]]:
        """Return a command line of git and its environment."""
        environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
        if index:
            environment["GIT_INDEX_FILE"] = index
        return ["git", "-C", str(self.folder), "-c", f"core.hooksPath={os.devnull}", *arguments], environment

    def _listed(self, command: str, *arguments: str) -> set[str]:
        """Return the paths that a command of git lists, as they are: without -z it quotes all but ASCII."""
        return set(filter(None, self.git(command, "-z", *arguments).split("\0")))

    def _entries(self, commit: str, *arguments: str) -> dict[str, str]:
        """Return path -> mode of what ``git ls-tree`` lists of a commit."""
        listed = self.git("ls-tree", "-z", "--full-tree", commit, *arguments).split("\0")
        return {path: about.split()[0] for about, _, path in (line.partition("\t") for line in filter(None, listed))}

    def begin(self, branch: str, update: bool) -> str:
        """Return the commit that a new branch begins at, HEAD, or with ``update`` the last one of a branch.

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
        named = self._run("check-ref-format", "--branch", branch)
        if named.returncode or _text(named.stdout) != branch:  # of @{-1} it prints the branch before this one
            raise CheckoutError(f"git takes no branch of the name {branch!r}: choose another one for --branch")
        there = self._has(branch)
        if there and not update:
            raise CheckoutError(
                f"{self.folder} has a branch {branch} already: choose another one for --branch, or give --update to"
                " commit on top of it"
            )
        return self.git("rev-parse", "--verify", f"refs/heads/{branch}^{{commit}}" if there else "HEAD^{commit}")

    def _has(self, branch: str) -> bool:
        return self.succeeds("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")

    def check_free(self, base: str, folder: str, update: bool, files: Collection[str] = ()) -> None:
        """Check that a commit that replaces a folder loses nothing.

        Args:
            base: the commit before it.
            folder: below the checkout.
            update: whether what is committed there may be replaced.
            files: paths below the checkout that are to be written; others that git ignores may stay there.

        Raises:
            CheckoutError: it has files that git does not know, or links or other repositories, or is a file, or,
                without ``update``, there is such a folder.
        """
        place, above = self.folder / folder, [path.as_posix() for path in PurePosixPath(folder).parents][:-1]
        listed = self._entries(base, folder, *above)
        entries = {path: listed[path] for path in (folder, *above) if path in listed}
        inside = self._entries(base, "-r", f"{folder}/") if entries.get(folder) == FOLDER else {}
        # What git does not know, or passes over, may be a link as well
        linked = any(os.path.realpath(path) != str(path) for path in (place, *place.rglob("*")))
        if linked or {LINK, REPOSITORY} & {*entries.values(), *inside.values()}:
            raise CheckoutError(f"{place} is a link or has some in it, and what they lead to is not ours to replace")
        if others := [path for path, mode in entries.items() if mode != FOLDER]:
            raise CheckoutError(f"{self.folder / others[0]} is a file, and {folder} is to be a folder: move it first")
        if self._listed("ls-files", "--others", "--exclude-standard", "--", folder):
            raise CheckoutError(f"{place} has files that are not committed: commit or move them first")
        if ignored := self._listed("ls-files", "--others", "--", folder).intersection(files):
            raise CheckoutError(f"{self.folder / min(ignored)} is there, and git ignores it: move it first")
        if entries.get(folder) and not update:
            raise CheckoutError(f"{self.folder} has {folder} already: give --update to replace it")

    def content_of(self, commit: str, path: str) -> bytes | None:
        """Return what a file has in a commit; None where there is no such file, or a link."""
        if self._entries(commit, path).get(path, LINK) in (FOLDER, LINK, REPOSITORY):
            return None
        return self._successful("cat-file", "blob", f"{commit}:{path}")

    def commit(self, base: str, files: Mapping[str, bytes], message: str, replaces: str = "") -> str:
        """Commit files after another commit, in git's store alone, and return the commit; ``base`` if nothing changes.

        Args:
            base: the commit before it.
            files: path below the checkout -> content.
            message: of the commit.
            replaces: a folder whose other files go.

        Raises:
            CheckoutError: git refuses, or there is no room.
        """
        modes = self._entries(base, *files)
        gone = {path for path in self._entries(base, "-r", f"{replaces}/") if path not in files} if replaces else ()
        try:
            with tempfile.TemporaryDirectory() as place:
                named = [Path(place, str(number)) for number in range(len(files))]
                for file, content in zip(named, files.values(), strict=True):
                    file.write_bytes(content)
                index, given = f"{place}/index", "".join(f"{file}\n" for file in named).encode()
                told = self._successful("hash-object", "-w", "--no-filters", "--stdin-paths", given=given)
                stored = _text(told).split()
                lines = [f"0 {'0' * len(stored[0])}\t{path}\0" for path in gone]  # as long as the repository's hashes
                for path, stored_as in zip(files, stored, strict=True):
                    lines.append(f"{modes.get(path, FILE)} {stored_as}\t{path}\0")
                self._successful("read-tree", base, index=index)
                changes = "".join(lines).encode(errors=KEEP)
                self._successful("update-index", "-z", "--index-info", given=changes, index=index)
                tree = _text(self._successful("write-tree", index=index))
        except OSError as error:
            raise CheckoutError(
                f"{error.filename or tempfile.gettempdir()} can't be written ({error.strerror}): make room for it"
            ) from error
        if tree == self.git("rev-parse", f"{base}^{{tree}}"):
            return base
        signs = ["-S"] if _text(self._run("config", "--type=bool", "commit.gpgSign").stdout) == "true" else []
        return _text(self._successful("commit-tree", *signs, "-p", base, tree, given=message.encode()))

    def move(self, branch: str, commit: str) -> None:
        """Change the files to a branch, which is made where it is not there, and which then ends with a commit.

        Raises:
            CheckoutError: git refuses. Branches and files are then as they were.
        """
        before, keep = self.git("rev-parse", "HEAD"), ("--quiet", "--no-overwrite-ignore")
        changes = self._listed("diff-tree", "-r", "--no-renames", "--name-only", before, commit)
        new = [path for path in changes if not os.path.lexists(self.folder / path)]
        present = _text(self._run("symbolic-ref", "--quiet", "HEAD").stdout) == f"refs/heads/{branch}"
        last = self.git("rev-parse", f"refs/heads/{branch}") if self._has(branch) else ""
        put = ("branch", "--no-track", *(["--force"] if last else []), branch)
        put_back = (*put, last) if last else ("branch", "--delete", "--force", branch)
        if not present:
            self.git(*put, commit)  # first: git refuses some names here alone
        try:
            if present:
                self._run_to_its_end("merge", *keep, "--ff-only", "--no-verify-signatures", commit)
            else:
                self._run_to_its_end("switch", *keep, branch)
        except BaseException:
            if self.git("rev-parse", "HEAD") == before:
                self._take_back(new)
                if not present:
                    self.succeeds(*put_back)
            raise

    def _take_back(self, new: Collection[str]) -> None:
        """Undo what git wrote before it failed: files that were not there, and changes of others."""
        if changed := self._listed("diff-files", "--name-only"):
            self._run("checkout-index", "--force", "-z", "--stdin", given="\0".join(changed).encode(errors=KEEP))
        for path in map(self.folder.joinpath, new):
            with suppress(OSError):
                path.unlink()
                os.removedirs(path.parent)  # as far as they are empty


def _text(output: bytes) -> str:
    """What git printed, with bytes that are no text kept."""
    return output.decode(errors=KEEP).strip()


def _said(ran: "subprocess.CompletedProcess[bytes]") -> str:
    """Return the line of git's that says why it refuses."""
    lines = _text(ran.stderr).splitlines() or ["no reason given"]
    return next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0])

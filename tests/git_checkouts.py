"""Git repositories for tests of what writes into one."""

import subprocess


def git(folder, *arguments):
    """Run git in a folder and return what it prints."""
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout


def make_repository(folder):
    """Commit all of a folder by a user of the repository's own."""
    git(folder, "init", "--quiet", "--initial-branch", "master")
    for key, value in (("user.name", "Tester"), ("user.email", "tester@example.invalid")):
        git(folder, "config", key, value)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "Begin")
    return folder

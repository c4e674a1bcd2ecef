"""What holds for every command: its help, its one error line, and choices that are those of the code behind it."""

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastreid_ext import cli
from fastreid_ext.cli import main
from fastreid_ext.commands import common, convert, derive_occluded_duke, synth
from fastreid_ext.data.datasets.occluded_duke import OccludedDuke
from fastreid_ext.data.synthetic.sizes import SIZES
from fastreid_ext.errors import UserError
from fastreid_ext.modeling.weights import CONVERTERS
from fastreid_ext.pose import options
from fastreid_ext.pose.readers import READERS
from fastreid_ext.search import kinds


def subparsers(parser):
    return next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})


PARSERS = {
    " ".join(filter(None, (name, action))): each
    for name, parser in subparsers(cli.argument_parser()).items()
    for action, each in (subparsers(parser) or {"": parser}).items()
}


@pytest.mark.parametrize("name", PARSERS)
def test_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*name.split(), "--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert f"example:\n  fastreid-ext {name}" in printed and "--debug" in printed


@pytest.mark.parametrize("name", PARSERS)
def test_every_value_has_a_metavar_and_every_option_a_sentence(name):
    for action in PARSERS[name]._actions:
        takes_value = action.nargs != 0
        assert not takes_value or action.metavar or action.choices, action.option_strings
        assert action.help, action.option_strings


@pytest.mark.parametrize("name", PARSERS)
def test_more_than_ten_options_are_in_groups(name):
    parser = PARSERS[name]
    options_of = [action for action in parser._actions if action.option_strings]
    groups = [group for group in parser._action_groups if group._group_actions]
    assert len(options_of) <= 10 or len(groups) > 2, len(options_of)


def test_no_command_and_unknown_ones(capsys):
    for arguments in ([], ["nothing"], ["synth", "more"], ["train", "KEY", "1", "--nothing"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 2
    assert "unrecognized arguments: more" in capsys.readouterr().err


def test_options_may_stand_between_keys_and_values(monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "run_command", seen.append)
    cli.main(["train", "SEED", "-1", "--resume", "SOLVER.BASE_LR", "0.1", "--num-gpus", "2"])
    (args,) = seen
    assert args.opts == ["SEED", "-1", "SOLVER.BASE_LR", "0.1"] and args.resume and args.num_gpus == 2


# ---- the one error line ---------------------------------------------------------------------------------------------


@pytest.fixture
def synth_raises(monkeypatch):
    """``synth_raises(error, ...)``: the exit status of ``synth`` with these options, whose work raises the error."""

    def call(error, *arguments):
        def run(args):
            raise error

        monkeypatch.setattr(synth, "run", run)
        return cli.main(["synth", *arguments])

    return call


def test_a_mistake_is_one_line(synth_raises, capsys):
    assert synth_raises(UserError("raise N")) == common.FAILED == 1
    assert capsys.readouterr() == ("", "fastreid-ext synth: raise N\n")


def test_debug_shows_its_traceback(synth_raises, capsys):
    assert synth_raises(UserError("raise N"), "--debug") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback") and printed.endswith("fastreid-ext synth: raise N\n")


@pytest.mark.parametrize("bug", [ValueError("'x' is not in list"), KeyError("x"), OSError("x"), RuntimeError("x")])
def test_a_bug_keeps_its_traceback(bug, synth_raises, capsys):
    with pytest.raises(type(bug)) as raised:
        synth_raises(bug)
    assert raised.value is bug and capsys.readouterr() == ("", "")


def test_a_name_that_is_too_long(synth_raises, capsys):
    """Every look at such a file raises, whichever option or key named it."""
    with pytest.raises(OSError, match="too long") as raised:
        (Path("/tmp") / ("x" * 300)).exists()
    assert synth_raises(raised.value) == 1
    said = capsys.readouterr().err
    assert said.startswith("fastreid-ext synth: the name /tmp/xxx") and "is too long for the file system" in said
    assert cli.main(["synth", "--root", "y" * 300]) == 1
    assert cli.main(["pose", "report", "y" * 300]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c(synth_raises, capsys):
    assert synth_raises(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "fastreid-ext synth: interrupted\n")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--num-gpus", "0"], "--num-gpus is 0 and must be 1 or more"),
        (["--num-machines", "-1"], "--num-machines is -1 and must be 1 or more"),
        (["--num-machines", "2", "--machine-rank", "5"], "--machine-rank is 5 and must be from 0 to below"),
        (["--machine-rank", "-1"], "--machine-rank is -1 and must be from 0 to below"),
    ],
)
def test_processes_that_can_not_be(options, sentence, capsys):
    assert cli.main(["train", "--config-file", "demo/tiny.yml", *options]) == 1
    assert capsys.readouterr().err.startswith(f"fastreid-ext train: {sentence}")


def test_train_without_a_config(capsys):
    assert cli.main(["train", "SEED", "3"]) == 1
    assert capsys.readouterr().err.startswith("fastreid-ext train: no config is named: add --config-file demo/tiny.yml")


def test_a_machine_says_what_it_waits_for(capsys, monkeypatch):
    monkeypatch.setattr("fastreid_ext.engine.launching.spawn_ranks", lambda *args: None)
    several = ["--num-machines", "2", "--machine-rank", "1", "--dist-url", "tcp://10.0.0.1:5000"]
    assert cli.main(["train", "--config-file", "demo/tiny.yml", *several]) == 0
    said = capsys.readouterr().err
    assert "machine 1 of 2" in said and "waits until all of them have started at --dist-url tcp://10.0.0.1:5000" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["masks", "--images", "x" * 300], "--images is a path of 300 characters, which is longer than"),
        (["masks", "--images", "fifo"], "--images is fifo, a pipe, a socket or a device: name a file or a folder"),
        (["masks", "--images", "loop"], "--images is loop, a link to itself"),
        (["masks", "--images", "a\0b"], "--images has a character of value 0"),
        (["masks", "--images", "y", "--limit", "-1"], "--limit is -1 and must be 0 or more"),
    ],
)
def test_options_of_any_command(options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("loop").symlink_to("loop")
    assert cli.main([*options, "--config-file", "demo/msreid.yml", "--output", "out"]) == 1
    assert capsys.readouterr().err.startswith(f"fastreid-ext masks: {said}")


def test_who_has_read_enough(tmp_path):
    """``fastreid-ext configs | head -1`` and ``> /dev/full`` end without a traceback."""
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}

    def shell(rest):
        command = f"{sys.executable} -m fastreid_ext configs {rest}"
        return subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = shell("| head -1")
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    done = shell("> /dev/full")
    said = "fastreid-ext configs: its output can't be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


# ---- choices --------------------------------------------------------------------------------------------------------


def test_choices_are_those_of_the_code():
    """A command names them itself, because its code would load torch or NumPy for a --help."""
    assert set(convert.PROJECTS) == set(CONVERTERS)
    assert set(synth.SIZES) == set(SIZES)
    assert tuple(options.FORMATS) == tuple(READERS)
    assert derive_occluded_duke.TARGET_FOLDER == OccludedDuke.folders[0]
    assert kinds.NAMES.keys() == kinds.BUILD.keys() == kinds.SEARCH.keys()


def test_a_command_whose_output_is_closed(monkeypatch):
    """As with >&- in a shell: print then writes nowhere."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["configs"]) == 0


FORGED = "x\nfastreid-ext search: forged\x1b[2J\x85\u202e"


def test_names_of_files_forge_no_line(capsys):
    """In an error, and in a warning where no run has set up its log."""
    assert main(["search", FORGED, "--image", "a.jpg"]) == 1
    warning = logging.lastResort.format(logging.makeLogRecord({"msg": "%s is left out", "args": (FORGED,)}))
    for said in (capsys.readouterr().err, warning):
        assert "\n  fastreid-ext search: forged\\x1b[2J\n  " in said
        assert not {"\x1b", "\x85", "\u202e"} & set(said)


def test_a_list_of_mistakes_stays_as_it_is():
    assert common.for_terminal("2 mistakes:\n  1. a\n  2. b") == "2 mistakes:\n  1. a\n  2. b"
    assert common.for_terminal("") == ""

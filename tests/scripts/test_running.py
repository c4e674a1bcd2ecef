"""``python -m fastreid_ext SCRIPT`` beside ``python SCRIPT``: the same path, arguments, output and end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fastreid_ext
from fastreid_ext.scripts.running import is_script

ROOT = Path(fastreid_ext.__file__).parents[1]
OURS = ("-m", "fastreid_ext")

# None of them imports FastReID: what Python does by itself is compared here.
SCRIPTS = {
    "itself": """
import inspect, sys
import beside
print(__name__, __file__, __spec__, __package__, __doc__, sys.argv, sys.path[0], beside.__file__)
print(sys.modules["__main__"].__dict__ is globals(), type(__loader__).__name__, __builtins__.__name__)
""",
    "ends": "import sys\nsys.exit(7)",
    "says why it ends": "import sys\nsys.exit('no data')",
    "fails": "def fail():\n    return {}['key']\n\n\ndef outer():\n    fail()\n\n\nouter()",
    "fails for a reason": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('two') from error",
    "is no Python": "def (:",
    "shows its own tracebacks": """
import sys, traceback
sys.excepthook = lambda kind, value, found: print(kind.__name__, [f.name for f in traceback.extract_tb(found)])
raise OSError
""",
    "ends by Ctrl-C": "raise KeyboardInterrupt",
    "pickles what it defines": """
import pickle


class Thing:
    pass


print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)
""",
    "is of later annotations": "from __future__ import annotations\nprint('__annotations__' in globals())",
    "has other letters": "# -*- coding: latin-1 -*-\nprint(ascii('\\xe9'))",
}


def start(words, cwd, **env):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env}
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(words, cwd, **env):
    """Exit status, output and errors."""
    process = start(words, cwd, **env)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def folder(tmp_path):
    """A folder that is not the working one, with a module beside the script."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "beside.py").touch()
    return tmp_path


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_plain_python(name, folder):
    (folder / "tools" / "script.py").write_bytes(SCRIPTS[name].encode("latin-1"))
    words = ["tools/script.py", "--num-gpus", "0", "KEY", "a b"]
    plain = end(words, folder)
    assert end([*OURS, *words], folder) == plain
    assert plain[1] + plain[2] or plain[0]


def test_a_link_to_a_script(folder):
    (folder / "tools" / "script.py").write_text(SCRIPTS["itself"])
    (folder / "link.py").symlink_to(folder / "tools" / "script.py")
    assert end([*OURS, "link.py"], folder) == end(["link.py"], folder)


def test_dots_behind_a_link(folder):
    """They lead on from where the link leads: another file than the name without them is."""
    (folder / "tools" / "deep").mkdir()
    (folder / "link").symlink_to(folder / "tools" / "deep")
    (folder / "tools" / "script.py").write_text("print(__file__)")
    (folder / "script.py").write_text("print('another')")
    plain = end(["link/../script.py"], folder)
    assert plain[1] == f"{folder}/link/../script.py\n"
    assert end([*OURS, "link/../script.py"], folder) == plain


@pytest.mark.parametrize("word", ["./tools", "tools/"])
def test_a_folder_with_a_main_program(word, folder):
    (folder / "tools" / "__main__.py").write_text(
        "import sys, beside\nprint(__file__, sys.argv, sys.path[0], __name__)"
    )
    plain = end([word, "a b"], folder)
    assert end([*OURS, word, "a b"], folder) == plain and plain[0] == 0


def test_a_folder_without_a_main_program(folder):
    assert end([*OURS, "./tools"], folder) == end(["./tools"], folder)


@pytest.mark.parametrize("flag", ["-P", "-I"])
def test_no_folder_is_put_on_the_path_where_python_puts_none(flag, folder):
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.11 brought -P")
    (folder / "script.py").write_text("import sys\nprint(sys.path)")
    start_it = (
        f"import sys; sys.path.append({str(ROOT)!r}); import runpy; runpy.run_module('fastreid_ext', None, '__main__')"
    )
    status, out, err = end([flag, "-c", start_it, "./script.py"], folder)
    plain = end([flag, "script.py"], folder)
    assert (status, eval(out)) == (0, [*eval(plain[1]), str(ROOT)]), err


def test_a_script_that_is_not_there(folder):
    status, out, err = end([*OURS, "tools/none.py"], folder)
    assert (status, out) == (2, "")
    assert err == f"{sys.executable}: can't open file '{folder}/tools/none.py': [Errno 2] No such file or directory\n"
    assert (status, out, err) == end(["tools/none.py"], folder)


WAITS = """
import time
print("ready", flush=True)
try:
    time.sleep(60)
finally:
    print("cleaned up", flush=True)
"""


@pytest.fixture
def heard_ctrl_c():
    """Children hear Ctrl-C, which a shell's "&" has ignored in all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.linux("signals")
@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_reaches_the_script(folder):
    """The shell sees that the signal ended it, as it must to stop a loop of its own."""
    (folder / "script.py").write_text(WAITS)
    ends = []
    for words in (["script.py"], [*OURS, "script.py"]):
        process = start(words, folder)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        ends.append((*process.communicate(timeout=60), process.returncode))
    assert ends[0] == ends[1]
    assert ends[1][2] == -signal.SIGINT and ends[1][0] == "cleaned up\n"


@pytest.mark.parametrize(
    ("word", "script"),
    [
        *(("tools/train_net.py", True), ("demo.py", True), ("./train", True), ("/x/run", True), ("gui.pyw", True)),
        *(("train", False), ("train_net", False), ("--help", False), ("--config-file=a/b.py", False), ("", False)),
    ],
)
def test_what_is_a_script(word, script):
    assert is_script(word) is script


def test_a_command_stays_a_command_beside_a_file_of_its_name(folder):
    (folder / "configs").write_text("print('the file')")
    status, out, _ = end([*OURS, "configs", "--help"], folder)
    assert status == 0 and "usage: fastreid-ext configs" in out
    assert end([*OURS, "./configs"], folder)[1] == "the file\n"


# ---- which FastReID -------------------------------------------------------------------------------------------------

FIND = "import sys\n{change}\nimport importlib.util\nprint(importlib.util.find_spec('fastreid').origin)"


@pytest.fixture
def checkout(tmp_path):
    """A folder with a package fastreid, beside the one that is installed."""
    for name in ("checkout", "other"):
        (tmp_path / name / "fastreid").mkdir(parents=True)
        (tmp_path / name / "fastreid" / "__init__.py").touch()
        (tmp_path / name / "tools").mkdir()
    return tmp_path / "checkout"


@pytest.mark.parametrize("change", ["sys.path.append('.')", "sys.path.insert(0, '.')", "sys.path.append({checkout!r})"])
def test_the_checkout_that_a_script_names_is_found(change, checkout):
    (checkout / "tools" / "script.py").write_text(FIND.format(change=change.format(checkout=str(checkout))))
    status, out, err = end([*OURS, "tools/script.py"], checkout)
    assert (status, out) == (0, f"{checkout}/fastreid/__init__.py\n"), err


def test_what_pythonpath_names_goes_before_what_a_script_appends(checkout):
    (checkout / "tools" / "script.py").write_text(FIND.format(change="sys.path.append('.')"))
    other = checkout.parent / "other"
    _, out, _ = end([*OURS, "tools/script.py"], checkout, PYTHONPATH=f"{other}{os.pathsep}{ROOT}")
    assert out == f"{other}/fastreid/__init__.py\n"


def test_the_installed_one_where_there_is_no_other(checkout, tmp_path):
    (tmp_path / "fastreid").mkdir()  # data, say
    (checkout / "tools" / "script.py").write_text(FIND.format(change="sys.path.append('.')"))
    _, out, _ = end([*OURS, checkout / "tools" / "script.py"], tmp_path)
    assert Path(out.strip()).parents[1] != checkout and Path(out.strip()).is_file()

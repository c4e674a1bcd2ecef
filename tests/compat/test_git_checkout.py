"""A FastReID git checkout on PYTHONPATH takes the wheel's place, without a warning."""

import shutil
from pathlib import Path

import fastreid
import pytest

# The whole difference between the wheel and the last commit.
WHEEL = "from torch._six import string_classes\nfrom collections import Mapping\n"
GIT = """TORCH_MAJOR = int(torch.__version__.split('.')[0])
TORCH_MINOR = int(torch.__version__.split('.')[1])

if TORCH_MAJOR == 1 and TORCH_MINOR < 8:
    from torch._six import string_classes
else:
    string_classes = str

from collections import Mapping
"""

SCRIPT = """
import warnings
warnings.simplefilter("default", RuntimeWarning)
import fastreid_ext, fastreid
from fastreid.data.build import fast_batch_collator
print(fastreid.__file__)
assert fast_batch_collator([{"img_paths": "a"}]) == {"img_paths": ["a"]}
"""


@pytest.mark.slow
@pytest.mark.parametrize("changed", [False, True], ids=["as-committed", "edited"])
def test_checkout(changed, tmp_path, exit_of):
    checkout = tmp_path / "fast-reid"
    shutil.copytree(Path(fastreid.__file__).parent, checkout / "fastreid", ignore=shutil.ignore_patterns("__pycache__"))
    build = checkout / "fastreid" / "data" / "build.py"
    source = build.read_text()
    assert source.count(WHEEL) == 1
    source = source.replace(WHEEL, GIT)
    if changed:
        source = source.replace("num_workers=4):", "num_workers=3):")
    build.write_text(source)
    status, printed = exit_of(f"import sys\nsys.path.insert(0, {str(checkout)!r})\n{SCRIPT}")
    assert status == 0, printed
    assert str(checkout / "fastreid" / "__init__.py") in printed.splitlines()
    assert printed.count("the patch 'test-workers' (data/build.py:124)") == int(changed)
    assert printed.count("reads differently here") == int(changed)

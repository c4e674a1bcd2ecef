#!/usr/bin/env python3
"""Train or evaluate: python projects/MGRe/train_net.py --config-file configs/demo/mgre.yml"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout works without being installed

from fastreid_ext.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))

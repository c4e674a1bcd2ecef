"""Files of weights whose pickle instructions a test writes itself."""

import pickle
import pickletools
import zipfile

import torch


def save_instructions(path, data_pkl):
    """Write a checkpoint of torch whose pickle is given; the other files of the archive are torch's own."""
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, data_pkl if name.endswith("data.pkl") else content)


def piece(value):
    """Return the instructions that put a value on the stack, without protocol and STOP."""
    return pickletools.optimize(pickle.dumps(value, 2))[2:-1]

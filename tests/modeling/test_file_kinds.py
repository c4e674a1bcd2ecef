"""Files that are no weights: each is named for what it is, wherever weights are read."""

import gzip
import io
import os
import struct
import tarfile
import zipfile

import pytest
import torch
from torch import nn

from fastreid_ext.engine.checkpoint import AtomicCheckpointer, CheckpointError
from fastreid_ext.modeling.file_kinds import what_it_is
from fastreid_ext.modeling.pretrained import load_pretrained
from fastreid_ext.modeling.weights import WeightsError, read_state


def saved(**options):
    file = io.BytesIO()
    torch.save({"weight": torch.rand(40, 40), "bias": torch.rand(40)}, file, **options)
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return file.getvalue()


HEADER = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
KINDS = {
    "empty": (b"", "is empty; download it again"),
    "half": (saved()[:3000], "is cut off or damaged: .*; download it again"),
    "half of the old format": (
        saved(_use_new_zipfile_serialization=False)[:3000],
        "is in the format of torch before 1.6, and cut off.*; download it again",
    ),
    "a web page": (b"\n<!DOCTYPE html>\n<html><body>Quota exceeded</body></html>", "is a web page.*; open its address"),
    "a page without a doctype": (b"<HTML><head></head></HTML>", "is a web page"),
    "an error of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "is a pointer of Git LFS to the file; run `git lfs pull`",
    ),
    "gzip": (gzip.compress(saved()), "is packed by gzip; unpack it"),
    "zip": (zipped(readme__txt=b"hello"), "is a zip archive of something else"),
    "zip of weights": (zipped(model__pth=saved()), "is a zip archive with model.pth in it; unpack it"),
    "TorchScript": (zipped(**{"m/data__pkl": b"", "m/constants__pkl": b""}), "is a program of TorchScript"),
    "tar": (tarred(), "is a tar archive; unpack it"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(99), "is a file of HDF5"),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(99), "is an array of NumPy"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is a picture"),
    "zeros": (bytes(5000), "is full of zeros"),
    "text": ("Gewichte für später\n".encode() * 90, "is a text"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_named_for_what_it_is(kind, tmp_path):
    data, said = KINDS[kind]
    path, model = tmp_path / "weights.pth", nn.Linear(40, 40)
    path.write_bytes(data)
    (tmp_path / "last_checkpoint").write_text(path.name)
    for error, read in (
        (WeightsError, lambda: load_pretrained(model, path)),
        (WeightsError, lambda: read_state(path)),
        (CheckpointError, lambda: AtomicCheckpointer(model).load(str(path))),
        (CheckpointError, lambda: AtomicCheckpointer(model, str(tmp_path)).resume_or_load("", resume=True)),
    ):
        with pytest.raises(error, match=f"weights.pth .* it {said}") as caught:
            read()
        assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


def test_safetensors(tmp_path):
    path, model = tmp_path / "weights.pth", nn.Linear(1, 1, bias=False)  # whatever its name is
    whole = struct.pack("<Q", len(HEADER)) + HEADER + struct.pack("<f", 0.5)
    path.write_bytes(whole)
    assert read_state(path)["weight"].tolist() == [0.5]
    for data in (
        whole[:-1],
        whole + b"\0",
        whole[:40],
        whole.replace(b"[0,4]", b"[0,8]"),
        whole.replace(b"[1]", b"[9]"),
    ):
        path.write_bytes(data)
        for error, read in (
            (WeightsError, lambda: read_state(path)),
            (CheckpointError, lambda: AtomicCheckpointer(model).load(str(path))),
        ):
            with pytest.raises(error, match="weights.pth is damaged, or not in the format of safetensors"):
                read()


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    for path, said in (
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "pipe", "is no file but a device or pipe"),
    ):
        for error, read in (
            (WeightsError, lambda path=path: load_pretrained(nn.Linear(1, 1), path)),
            (CheckpointError, lambda path=path: AtomicCheckpointer(nn.Linear(1, 1)).load(str(path))),
        ):
            with pytest.raises(error, match=said):
                read()
    assert what_it_is(tmp_path / "nowhere.pth") == ""


def test_what_is_not_recognised_has_the_reason(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(WeightsError, match=r"x.pth can't be read safely as weights \(.+\)"):
        load_pretrained(nn.Linear(1, 1), tmp_path / "x.pth")
    torch.save({"weight": torch.zeros(1, 1)}, tmp_path / "good.pth")
    assert what_it_is(tmp_path / "good.pth") == ""

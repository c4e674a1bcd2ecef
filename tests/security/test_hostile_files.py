"""What an unknown file may not do: run code, take all memory, make us wait for ever, or write elsewhere."""

import io
import json
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from fastreid_ext import foreign_files
from fastreid_ext.errors import UserError
from fastreid_ext.files import write_atomically


class Payload:
    """Whoever unpickles it is asked to make a file."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


def array_file(header, data=b""):
    """An array in NumPy's format with any header."""
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def header_of(shape, descr="<f4", fortran=False):
    return str({"descr": descr, "fortran_order": fortran, "shape": shape})


def objects(mark):
    file = io.BytesIO()
    np.save(file, np.array([[Payload(mark)]], dtype=object), allow_pickle=True)
    return file.getvalue()


def with_arrays(**changed):
    """Change arrays of an .npz file; None leaves one out."""

    def edit(file, _):
        with np.load(file) as given:
            arrays = {name: given[name] for name in given.files}
        for name, change in changed.items():
            arrays[name] = change(arrays[name].copy())
        write_atomically(file, lambda opened: np.savez(opened, **arrays))

    return edit


def member(name, content, packed=zipfile.ZIP_STORED):
    """Put other bytes in the place of a file in an archive."""

    def edit(file, mark):
        with zipfile.ZipFile(file) as archive:
            contents = {one: archive.read(one) for one in archive.namelist()}
        contents[name] = content(mark) if callable(content) else content
        with zipfile.ZipFile(file, "w", packed) as archive:
            for one, data in contents.items():
                archive.writestr(one, data)

    return edit


def content(data):
    return lambda file, mark: file.write_bytes(data(mark) if callable(data) else data)


def in_json(**changed):
    return lambda file, _: file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


def no_letter(names):
    names.view(np.uint32)[0] = 0x110000
    return names


def twice(array):
    return np.concatenate([array, array])


def shifted(sizes):
    """Sizes of lists whose sum stays that of the images."""
    sizes[:2] = -5, sizes[:2].sum() + 5
    return sizes


def level_neighbour(array):
    """HNSW: the first image's first neighbour on level 0 stays; the top image's on level 1 becomes one without it."""
    array[...] = 79
    return array


def bomb_png(side=12_000):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((side // 8 + 1) * 64))
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def eps(_):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "EPS")
    return file.getvalue()


def wide_image(file, _):
    known = json.loads(file.read_text())
    known["images"][0]["width"] = 1 << 70
    file.write_text(json.dumps(known))


DEEP = b"[" * 100_000
CELL = b"path,person,camera\n" + b"a" * 200_000 + b",1,1\n"
TAG = b"SEED: !!python/object/apply:builtins.open [%s, w]\n"
BOMB = array_file(header_of((1 << 40,), "<f4"), bytes(400))

# loader of fuzz_samples.py, what the file does, how it is made, what is said
HOSTILE = [
    ("weights", "code", content(lambda mark: pickle.dumps(Payload(mark))), "can be read safely"),
    ("weights", "packed", member("model/version", b"3\n", zipfile.ZIP_DEFLATED), "packed or whose members overlap"),
    ("weights before torch 1.6", "code", content(lambda mark: pickle.dumps(Payload(mark), 2)), "can be read safely"),
    ("weights to convert", "code", content(lambda mark: pickle.dumps(Payload(mark), 2)), "can't be read safely"),
    ("last_checkpoint", "another folder", content(b"../elsewhere/model.pth"), "which is not a file of that folder"),
    ("last_checkpoint", "an absolute path", content(b"/tmp/model.pth"), "which is not a file of that folder"),
    ("last_checkpoint", "a zero byte", content(b"model\0.pth"), "which is not a file of that folder"),
    ("store: features.npy", "code", content(objects), r"features.npy can't be read: an array of dtype\('O'\)"),
    ("store: features.npy", "memory", content(array_file(header_of((1 << 40, 6)))), r"it holds \(1099511627776, 6\)"),
    ("store: features.npy", "too short", content(array_file(header_of((8, 6)), bytes(8))), "float32 in 8 bytes"),
    ("store: features.npy", "another order", content(array_file(header_of((8, 6), "<f4", True))), "it holds"),
    ("store: features.npy", "a header of code", content(array_file("__import__('os').getpid()")), "can't be read"),
    ("store: features.npy", "an archive", content(b"PK\x03\x04" + bytes(60)), "features.npy can't be read"),
    ("store: meta.json", "depth", content(DEEP), "nested too deeply"),
    (
        "store: meta.json",
        "counts",
        in_json(done=-1, count=-1),
        "has dim 6, count -1, done -1, listed 8, which do not fit",
    ),
    ("store: meta.json", "a huge count", in_json(count=1 << 70), "which do not fit"),
    ("store: meta.json", "no length", in_json(dim=0), "which do not fit"),
    ("store: meta.json", "a shape of text", in_json(dim="6"), "which do not fit"),
    ("store: images.csv", "a large cell", content(CELL), "line 2 of .*images.csv can't be read .field larger"),
    ("index: hnsw", "code", member("levels.npy", objects), r"an array of dtype\('O'\)"),
    ("index: hnsw", "memory", member("levels.npy", BOMB), "levels is of float32"),
    ("index: hnsw", "addresses", with_arrays(neighbours=put(5, 80)), "neighbours that do not fit"),
    ("index: hnsw", "negative addresses", with_arrays(neighbours=put(5, -2)), "neighbours that do not fit"),
    ("index: hnsw", "levels", with_arrays(levels=put(5, 90)), "levels that do not fit"),
    (
        "index: hnsw",
        "a neighbour below its level",
        with_arrays(neighbours=level_neighbour),
        "neighbours that do not fit",
    ),
    ("index: hnsw", "the entry", with_arrays(entry=put(0, 80)), "entry that do not fit"),
    ("index: hnsw", "an entry below the top", with_arrays(entry=put(0, 1)), "entry that do not fit"),
    ("index: hnsw", "two entries", with_arrays(entry=lambda one: one.repeat(2)), "shapes that do not fit"),
    ("index: hnsw", "fewer levels", with_arrays(levels=lambda levels: levels[1:]), "shapes that do not fit"),
    ("index: hnsw", "more neighbours", with_arrays(neighbours=twice), "number of neighbours that do not fit"),
    ("index: ivfpq", "rows twice", with_arrays(rows=put(0, 5)), "rows that do not fit"),
    ("index: ivfpq", "sizes", with_arrays(sizes=put(slice(2), (-5, 60))), "sizes of the lists that do not fit"),
    ("index: ivfpq", "a negative size", with_arrays(sizes=shifted), "sizes of the lists that do not fit"),
    ("index: ivfpq", "wide codes", with_arrays(codes=lambda codes: codes.astype("u2")), "values that do not fit"),
    ("index: ivfpq", "centroids", with_arrays(centroids=put(0, np.inf)), "values that do not fit"),
    ("index: ivfpq", "codes", with_arrays(codes=lambda codes: codes[:, :0]), "shapes that do not fit"),
    ("index: ivfpq", "codebooks", with_arrays(codebooks=put(0, np.nan)), "values that do not fit"),
    ("index: record", "memory", in_json(build={"m": 1 << 40, "ef_construction": 200}), "number of neighbours"),
    ("index: record", "a text", in_json(build={"m": "4", "ef_construction": 200}), "its parameters are"),
    ("pose file", "code", member("joints.npy", objects), r"an array of dtype\('O'\)"),
    ("pose file", "memory", member("joints.npy", BOMB), "joints is of shape .1099511627776,. in 400 bytes"),
    ("pose file", "names above", with_arrays(names=put(0, "../../x.jpg")), "'../../x.jpg', which is not a path below"),
    ("pose file", "absolute names", with_arrays(names=put(0, "/etc/x.jpg")), "'/etc/x.jpg', which is not a path below"),
    ("pose file", "no letters", with_arrays(names=no_letter), "letters that Unicode does not have"),
    ("pose file", "infinite", with_arrays(joints=put(0, np.inf)), "joints must be finite"),
    ("pose run: settings.json", "depth", content(DEEP), "settings.json can't be read: delete"),
    ("poses: COCO", "depth", content(DEEP), "nested too deeply"),
    (
        "poses: results, AlphaPose",
        "huge numbers",
        content(b'[{"image_id": "a", "keypoints": [%s]}]' % b",".join([b"1e999"] * 51)),
        "not a number",
    ),
    ("poses: OpenPose", "digits without end", content(b'{"people": ' + b"9" * 10_000 + b"}"), "is not a JSON file"),
    ("pose model (ONNX)", "no model", content(b"\x07" * 50), "it is damaged, or not an ONNX file"),
    ("pose model (ONNX)", "a length beyond", content(b"\x3a\xff\xff\xff\xff\x0f"), "a field is longer than the file"),
    ("CSVDataset", "a large cell", content(CELL), "line 2 of .*query.csv can't be read .field larger"),
    ("CSVDataset", "a zero byte", content(b"path,person,camera\na\0.jpg,1,1\n"), "are not there"),
    (
        "OPReID: list",
        "digits without end",
        content(b"0001_c2_1.jpg " + b"9" * 5000 + b" 1\n"),
        "doesn't tell the person",
    ),
    ("list of images (CSV)", "a large cell", content(CELL), "line 2 of .*list.csv can't be read"),
    ("pairs (CSV)", "a large cell", content(CELL), "line 2 of .*pairs.csv can't be read"),
    ("SynthReID: annotations", "depth", content(DEEP), "is damaged .*nested too deeply"),
    ("SynthReID: annotations", "a huge size", wide_image, "is damaged .OverflowError"),
    ("SynthReID: annotations", "another kind", content(b'{"images": 5, "annotations": []}'), "is damaged .TypeError"),
    ("CUHK03: images (HDF5)", "damage", content(b"\x89HDF\r\n\x1a\n" + b"\xff" * 4000), "the MATLAB files of"),
    ("CUHK03: split (.mat)", "damage", content(bytes(124) + b"\x00\x01IM" + b"\xff" * 400), "the MATLAB files of"),
    ("config (YAML)", "code", content(lambda mark: TAG % str(mark).encode()), "config.yaml"),
    ("config.yaml of a run", "digits without end", content(b"SEED: " + b"9" * 5000), "is damaged"),
    ("config.yaml of a run", "itself", content(b"MODEL: &a {HEADS: *a}"), "is damaged"),
    ("config.yaml of a run", "code", content(lambda mark: TAG % str(mark).encode()), "is damaged"),
    ("same_person.json", "depth", content(DEEP), "nested too deeply"),
    ("same_person.json", "digits without end", content(b'{"seed": ' + b"9" * 10_000 + b"}"), "is not a JSON file"),
    ("same_person.json", "a huge number", in_json(people=1 << 70), "has the people 1180591620717411303424"),
    ("same_person.json", "no number", in_json(prior=float("nan")), "has the prior nan, which can't be"),
    (
        "same_person.json",
        "falling steps",
        in_json(calibration={"method": "isotonic", "starts": [0.0], "log_odds": [1.0, -1.0]}),
        "has the calibration",
    ),
    (
        "same_person.json",
        "an infinite slope",
        in_json(calibration={"method": "platt", "slope": float("inf"), "offset": 0, "lowest": -1, "highest": 1}),
        "has the calibration",
    ),
    ("results.json of a run", "depth", content(DEEP), "nested too deeply"),
    ("image (jpg)", "Ghostscript", content(eps), "cannot identify image file"),
    ("image (png)", "memory", content(bomb_png()), "12000 x 12000 are more than 67108864 pixels"),
    ("image (tif)", "nothing", content(b""), "cannot identify image file"),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("name", "what", "edit", "said"), HOSTILE, ids=[f"{one[0]}-{one[1]}" for one in HOSTILE])
def test_refused_in_a_sentence(name, what, edit, said, loader_of, tmp_path):
    file, load = loader_of(name)
    if not name.startswith("CUHK03"):  # what it extracts would be read the second time
        load()
    before = sorted(tmp_path.iterdir())
    edit(file, tmp_path / "code_was_run")
    with pytest.raises(UserError, match=said):
        load()
    assert sorted(tmp_path.iterdir()) == before


def test_a_packed_pose_file_unpacks_to_so_much(loader_of, monkeypatch):
    file, load = loader_of("pose file")
    monkeypatch.setattr(foreign_files, "UNPACKED_FREELY", 1000)
    with_arrays(joints=lambda joints: np.zeros((5, 5000, 3)))(file, None)
    load()  # not packed: as large as it says
    with np.load(file) as arrays:
        np.savez_compressed(file, **arrays)
    with pytest.raises(UserError, match=r"bytes would unpack to 60\d\d\d\d"):
        load()


def test_a_store_that_is_continued_does_not_grow(loader_of):
    """NumPy lengthens a file that it maps for writing to what the header claims."""
    file, _ = loader_of("store: features.npy")
    file.write_bytes(array_file(header_of((1 << 30, 6))))
    size = file.stat().st_size
    for shape in ((8, 6), (1 << 30, 6)):
        with pytest.raises(ValueError, match="it holds|in 0 bytes"):
            foreign_files.map_array(file, shape, np.dtype("<f4"), "r+")
    assert file.stat().st_size == size


def test_codes_of_an_index_that_no_memory_holds(loader_of):
    file, load = loader_of("index: ivfpq")
    load()
    in_json(build={"nlist": 4, "pq_m": 2, "pq_bits": 1 << 33})(file.with_suffix(".json"), None)
    with pytest.raises(UserError, match="parameters that do not fit"):
        load()

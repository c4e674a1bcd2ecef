"""FastReID's sets that are read from lists: VehicleID, VERI-Wild and Airport."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.data.datasets.files import LabelError, training_item
from fastreid_ext.data.datasets.host_classes import mend
from fastreid_ext.files import read_text
from fastreid_ext.foreign_files import is_below, shown, whole_number


def lines_of(file: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of every line that isn't empty."""
    for number, line in enumerate(read_text(Path(file)).splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def refuse_line(file: str, number: int, line: str, expected: str) -> LabelError:
    """Return the error of a line that can't be read."""
    return LabelError(f"line {number} of {file} can't be read, it is {shown(line)}: expected is {expected}")


class ListedVehicles:
    """VehicleID: lines of an image's number and its vehicle, such as ``0000001 2``.

    Rule: one image of each test vehicle is the gallery. It is drawn from a seed, so that every process and run has the
    same; FastReID draws anew each time. The camera is the image's number, so nothing is left out.
    """

    image_dir: str
    dataset_name: str

    def process_dir(self, list_file: str, is_train: bool = True) -> Any:
        """List (path, vehicle, camera) of the training images, or of the queries and of the gallery.

        Raises:
            LabelError: a line can't be read.
        """
        items: list[tuple] = []
        for number, line in lines_of(list_file):
            name, _, label = line.partition(" ")
            image, vehicle = whole_number(name), whole_number(label)
            if image is None or vehicle is None or not is_below(name):
                raise refuse_line(list_file, number, line, "an image's number and its vehicle, such as 0000001 2")
            path = Path(self.image_dir, f"{name}.jpg")
            labels = vehicle, image
            items.append(training_item(path, self.dataset_name, *labels) if is_train else (str(path), *labels))
        if is_train:
            return items
        random.Random(0).shuffle(items)
        gallery = list({item[1]: item for item in reversed(items)}.values())  # the first of each vehicle
        chosen = set(gallery)
        return [item for item in items if item not in chosen], gallery


class VehiclesInTheWild:
    """VERI-Wild: lists of ``vehicle/image.jpg``, and vehicle_info.txt with ``vehicle/image;camera;...``.

    Rule: what the query's own camera saw of the vehicle is left out.
    """

    image_dir: str
    dataset_name: str
    imgid2camid: dict[str, str]
    imgid2imgpath: dict[str, str]

    def process_vehicle(self, vehicle_info: str) -> Sequence[dict[str, str]]:
        """Return vehicle, camera and path of every image, by its number; the first line is a title.

        Raises:
            LabelError: a line can't be read.
        """
        vehicles, cameras, paths = {}, {}, {}
        for number, line in lines_of(vehicle_info):
            if number == 1:
                continue
            name, camera, *_ = *line.split(";"), ""
            vehicle, _, image = name.partition("/")
            if not image or not is_below(name) or whole_number(camera) is None:
                raise refuse_line(vehicle_info, number, line, "vehicle/image;camera;..., such as 00001/000001;37")
            vehicles[image], cameras[image] = vehicle, camera
            paths[image] = str(Path(self.image_dir, vehicle, f"{image}.jpg"))
        return vehicles, cameras, paths

    def process_dir(self, img_list: str, is_train: bool = True) -> list[tuple]:
        """List (path, vehicle, camera) of one list.

        Raises:
            LabelError: a line can't be read, or names an image that vehicle_info.txt lacks.
        """
        items = []
        for number, line in lines_of(img_list):
            name, _, rest = line.partition("/")
            vehicle, image = whole_number(name), rest.partition(".")[0]
            if vehicle is None or image not in self.imgid2imgpath:
                expected = "vehicle/image.jpg, such as 00001/000001.jpg, with a line in vehicle_info.txt"
                raise refuse_line(img_list, number, line, expected)
            path, labels = Path(self.imgid2imgpath[image]), (vehicle, int(self.imgid2camid[image]))
            items.append(training_item(path, self.dataset_name, *labels) if is_train else (str(path), *labels))
        return items


class ListedPersons:
    r"""Airport: filepath.txt with lines of camera, person and image, such as ``camera01\11001\a.jpg``; training alone.

    Persons below 11001 are distractors and left out.
    """

    FIRST_PERSON = 11001
    dataset_name: str

    def process_train(self, dir_path: str, train_file: str) -> list[tuple]:
        """List (path, person, camera) of the training images.

        Raises:
            LabelError: a line can't be read.
        """
        items = []
        for number, line in lines_of(train_file):
            name = line.replace("\\", "/")
            camera, person, *image = name.split("/") if name.count("/") > 1 else ("", "")
            label = whole_number(person)
            if not image or label is None or not is_below(name):
                raise refuse_line(train_file, number, line, "camera, person and image, such as camera01\\11001\\a.jpg")
            if label >= self.FIRST_PERSON:
                items.append(training_item(Path(dir_path, name), self.dataset_name, person, camera))
        return items


READERS = {
    **dict.fromkeys(("VehicleID", "SmallVehicleID", "MediumVehicleID", "LargeVehicleID"), ListedVehicles),
    **dict.fromkeys(("VeRiWild", "SmallVeRiWild", "MediumVeRiWild", "LargeVeRiWild"), VehiclesInTheWild),
    "AirportALERT": ListedPersons,
}
# They are also attributes of this module, so that they pickle.
for _name, _reader in READERS.items():
    if _kind := mend(_name, _reader):
        globals()[_name] = _kind

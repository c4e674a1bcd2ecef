"""Draws cbe.png: a batch of SynthReID before and after compound batch erasing.

python docs/figures/cbe.py
"""

from pathlib import Path

import torch
from PIL import Image, ImageDraw

from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.occluded import CompoundBatchErasing

# isort: split
from fastreid.data.transforms import ToTensor

MEAN, GAP, MARGIN = (124, 116, 104), 8, 80


def main() -> None:
    items = sorted(load_dataset("SynthReID", ("train",)).train)[5::97][:10]
    images = ReIDImages(items, ToTensor(), relabel=True)
    batch = torch.stack([images[index]["images"] for index in range(len(items))])
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    (full,) = CompoundBatchErasing(generator=torch.Generator().manual_seed(3))(batch - mean)
    erased, striped = (full + mean).chunk(2)
    rows = {"sampled": batch, "X_re": erased, "X_bce": striped}

    height, width = batch.shape[2] + GAP, batch.shape[3] + GAP
    sheet = Image.new("RGB", (MARGIN + len(items) * width, len(rows) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(rows.items()):
        draw.text((GAP, row * height + height // 2 - 8), name, fill=(40, 40, 40), font_size=16)
        for column, picture in enumerate(pictures.byte().permute(0, 2, 3, 1).numpy()):
            sheet.paste(Image.fromarray(picture), (MARGIN + column * width, row * height + GAP // 2))
    sheet.save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()

"""Reads a data set with datumaro and writes it again, in its own environment: `python datumaro_reads.py FOLDER FORMAT OUT`.

OUT/read.json has what was read: for each item and each label, the mask as rows of 0 and 1. OUT/export has what datumaro writes.
"""

import json
import sys
from pathlib import Path

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

folder, format, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
dataset = Dataset.import_from(str(folder), format)
names = [label.name for label in dataset.categories()[AnnotationType.label]]
read = {}
for item in dataset:
    masks = read.setdefault(item.id, {})
    for annotation in item.annotations:
        if annotation.type == AnnotationType.mask:
            masks[names[annotation.label]] = np.asarray(annotation.image).astype(int).tolist()
(out / "read.json").write_text(json.dumps(read))
dataset.export(str(out / "export"), format, save_media=False, **({"segmentation_mode": "mask"} if "coco" in format else {}))

"""Reads and writes formats as datumaro does, in an environment of its own: `python datumaro_reads.py FOLDER FORMAT OUT`.

What it read goes to OUT/read.json (by item: by label: the run lengths of its mask), and what it writes of that to OUT/export.
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

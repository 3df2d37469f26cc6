"""How a batch of items is chosen as a whole: pure functions of representations. Imports torch only.

Axes: n unlabeled items, m labeled ones (m may be 0), D features, C classes, K passes. A function such as :func:`k_center` returns
positions ``(size,)`` among the unlabeled items, in the order of choice. Its twin ``scored_...`` returns a :class:`Batch`, which also has
the score of each item at the time it was chosen. ``size`` is at most n.

All of them take inputs of any floating type, and compute in float32 (or float64) block by block, so that the representation is never
copied as a whole. Of equal items, the first is chosen: a caller who wants random ties permutes the rows. Random numbers come from the
given generator, which draws on its own device. The same inputs give the same choice; another size of blocks changes results by rounding
at most. A number that is not finite is refused with its position (:class:`NotFinite`).
"""

from al_lightning.acquisition.batches.batch import Batch, NotFinite
from al_lightning.acquisition.batches.centers import k_center, scored_k_center
from al_lightning.acquisition.batches.clusters import cluster_margin, k_means, scored_typiclust, typiclust
from al_lightning.acquisition.batches.coverage import (
    coverage_radius,
    kernel_width,
    max_herding,
    prob_cover,
    scored_max_herding,
    scored_prob_cover,
    scored_uncertainty_herding,
    uncertainty_herding,
    uncertainty_width,
)
from al_lightning.acquisition.batches.gradients import badge, scored_badge
from al_lightning.acquisition.batches.information import batch_bald, epig
from al_lightning.acquisition.batches.keys import class_stratified, most_added_class, power_keys

__all__ = [
    "Batch",
    "NotFinite",
    "badge",
    "batch_bald",
    "class_stratified",
    "cluster_margin",
    "coverage_radius",
    "epig",
    "k_center",
    "k_means",
    "kernel_width",
    "max_herding",
    "most_added_class",
    "power_keys",
    "prob_cover",
    "scored_badge",
    "scored_k_center",
    "scored_max_herding",
    "scored_prob_cover",
    "scored_typiclust",
    "scored_uncertainty_herding",
    "typiclust",
    "uncertainty_herding",
    "uncertainty_width",
]

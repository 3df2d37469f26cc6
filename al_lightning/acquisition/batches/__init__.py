"""How a batch is chosen together: pure functions of representations. Imports torch only.

Axes: n unlabeled items, m labeled ones (m may be 0), D features, C classes, K passes. A function of the issue's name returns positions
``(size,)`` among the unlabeled items, in the order of choice; ``scored_...`` returns a :class:`Batch`, which says too what was thought of
each one when it was chosen. ``size`` is at most n.

What all of them keep: inputs of any floating type, computed in float32 (or float64) block by block, so that nothing of the size of the
representation is made a second time; a tie falls to the first position, so a caller who wants ties to fall by chance permutes the rows;
what is random comes from the generator that is given, which draws on its own device; the same inputs give the same choice, and other
blocks give the same but for rounding. A number that is not finite is refused with its position (:class:`NotFinite`).
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

"""(d) Compares our dense BALD with baal's, on the same network, images and passes: make bench-baal, in its own environment."""

import statistics

import torch
from baal.active.heuristics import BALD as BaalBALD
from baal.bayesian.dropout import patch_module
from baal.modelwrapper import ModelWrapper, TrainingArgs

from al_lightning.acquisition import BALD
from al_lightning.callbacks.scoring import PeakMemory
from benchmarks.common import alternating, prepare, ratio, seconds
from benchmarks.segmentation import DEVICE, SMALL, forward, network, scorer

PASSES, ROUNDS = 10, 3


def main() -> None:
    """Runs both alternately, and prints the table."""
    prepare()
    images = torch.randn(1, 3, *SMALL, device=DEVICE)
    ours, theirs = network(), network()
    theirs.decoder.aspp[0].project[-1].p = 0.5
    wrapper = ModelWrapper(
        patch_module(theirs, inplace=True), TrainingArgs(use_cuda=DEVICE.type == "cuda", replicate_in_memory=False, batch_size=1)
    )
    heuristic = BaalBALD(reduction="mean")

    def baal() -> None:
        wrapper.eval()
        heuristic(wrapper.predict_on_batch(images, iterations=PASSES).cpu().numpy())

    def score() -> float:
        return scorer(ours, images, BALD(PASSES, 0.5))

    plain = network()
    score(), baal(), forward(plain, images)
    mine, its, base = alternating(ROUNDS, score, lambda: seconds(baal), lambda: forward(plain, images))
    peaks = []
    for work in (score, baal):
        record = PeakMemory(DEVICE)
        before = record.bytes()
        work()
        peaks.append((record.bytes() - before) / 2**20)
    print(f"| BALD, {PASSES} passes, {SMALL[0]}x{SMALL[1]}, 19 classes | seconds an image | forward passes | memory over the start |")
    print("|---|---|---|---|")
    for name, times, peak in (("al_lightning", mine, peaks[0]), ("baal `predict_on_batch` + `BALD`", its, peaks[1])):
        print(f"| {name} | {statistics.median(times):.2f} | {ratio(times, base):.1f} | {peak:.0f} MiB |")


if __name__ == "__main__":
    main()

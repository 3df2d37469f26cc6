"""Dotted keys of settings that the program asks for by name."""

SEED = "seed_everything"
STRATEGY = "active_learning.strategy"
STRIDE = "active_learning.stride"
QUERY_SIZE = "active_learning.query_size"
CYCLES = "active_learning.cycles"
INITIAL_SIZE = "data.init_args.initial_size"
INITIAL_ITEMS = "data.init_args.initial_items"
INITIAL_RUN = "active_learning.initial_run"
INITIAL_STRATEGY = "active_learning.initial_strategy"
RANDOM_SHARE = "active_learning.random_share"
NETWORK = "model.init_args.network.class_path"
DATA = "data.class_path"
CONTENT = "data content"  # a hash, which comes with the settings that are compared
ROOT = "data.init_args.root"
EVALUATION = "data.init_args.evaluation"
ENCODER_WEIGHTS = "model.init_args.network.init_args.encoder_weights"
LABEL_BUDGET = "active_learning.label_budget"
FILE_SUFFIXES = (".ckpt", ".csv", ".pt", ".pth", ".safetensors", ".txt")  # of files that settings name
# How far a run goes. This may differ, as the comparison uses only the range that all runs have reached; and a run may go further.
TARGET = "active_learning.target"
BUDGET = (CYCLES, LABEL_BUDGET, TARGET)
# Cycle 0 does not depend on these keys, nor on those below them.
LATER_CYCLES = (
    *(STRATEGY, STRIDE, QUERY_SIZE, *BUDGET, RANDOM_SHARE),
    *(f"active_learning.{name}" for name in ("also_record", "keep", "checkpoint_minutes", "retrain", "initial_weights")),
)

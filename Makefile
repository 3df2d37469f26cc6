PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# glibc would clear the memory of each large tensor anew
KEPT_MEMORY := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1099511627776

.DEFAULT_GOAL := help
.PHONY: help demo demo-segmentation demo-label test test-slow test-wheel test-slurm test-label-studio test-tools test-gpu stress lint bench bench-gpu bench-baal docs clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## Run the main job on the embedded sample, and say where its learning curve lies
	rm -rf runs/demo
	OMP_NUM_THREADS=1 $(BIN)/python -m al_lightning fit --config configs/demo.yaml --run_dir runs/demo

demo-segmentation: $(INSTALLED)  ## The same for street scenes: draws them, trains DeepLabv3+, leaves pictures of each cycle
	rm -rf runs/demo-segmentation
	$(KEPT_MEMORY) OMP_NUM_THREADS=1 $(BIN)/python -m al_lightning fit --config configs/synthetic_scenes/entropy.yaml --run_dir runs/demo-segmentation

demo-label: $(INSTALLED)  ## A scripted person labels what a run asks for; ends with the page of what to label next
	rm -rf runs/demo-label
	$(KEPT_MEMORY) OMP_NUM_THREADS=1 $(BIN)/python -m tools.demo_label

test: $(INSTALLED)  ## Run the whole test suite, on two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(INSTALLED)  ## Run every run of the shipped sweeps on tiny data, among other slow checks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-wheel: $(INSTALLED)  ## Build the wheel, install it into a new environment, and run the demo from an empty folder
	rm -rf build/wheel && mkdir -p build/wheel/empty
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet --constraint constraints.txt build/wheel/*.whl
	cd build/wheel/empty && OMP_NUM_THREADS=1 WANDB_MODE=offline ../venv/bin/al-lightning fit --config demo --run_dir run

test-slurm: $(INSTALLED)  ## Requeue jobs of a SLURM cluster on this machine; needs Debian's slurm-wlm and munge
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm

test-label-studio: $(INSTALLED)  ## Go to Label Studio and back, in an environment of its own (1 GB), on this machine
	test -x .venv-label-studio/bin/label-studio || ($(PYTHON) -m venv .venv-label-studio && \
		.venv-label-studio/bin/python -m pip install --quiet "label-studio==1.23.2")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m label_studio tests/annotation/test_label_studio_server.py

test-tools: $(INSTALLED)  ## Have datumaro, by which CVAT reads and writes, read packages and write exports
	test -x .venv-tools/bin/datum || ($(PYTHON) -m venv .venv-tools && \
		.venv-tools/bin/python -m pip install --quiet "datumaro==1.13.12" "pycocotools>=2.0.8")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/annotation/test_datumaro.py

test-gpu: $(INSTALLED)  ## Run the tests that need a graphics card, which is hidden from all others
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/tasks/test_recorded.py

stress: $(INSTALLED)  ## Kill runs at random, start several at once, damage files: about half an hour on two cores
	OMP_NUM_THREADS=1 WANDB_MODE=offline $(BIN)/python -m tools.stress

lint: $(INSTALLED)  ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)  ## Measure speed and memory; prints the tables of docs/benchmarks.md
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.start
	$(KEPT_MEMORY) $(BIN)/python -m benchmarks.loop
	$(BIN)/python -m benchmarks.query
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.batches
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.strategies
	$(KEPT_MEMORY) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.folder
	OMP_NUM_THREADS=1 WANDB_MODE=offline $(BIN)/python -m benchmarks.many_runs
	$(KEPT_MEMORY) $(BIN)/python -m benchmarks.headline
	$(KEPT_MEMORY) $(BIN)/python -m benchmarks.segmentation
	$(KEPT_MEMORY) $(BIN)/python -m benchmarks.epochs

bench-gpu: $(INSTALLED)  ## Measure on a graphics card, in less than eight minutes; a table, and runs/bench-gpu.json
	$(BIN)/python -m benchmarks.gpu

bench-baal: pyproject.toml constraints.txt  ## Measure dense BALD beside baal's, in an environment of its own
	test -x .venv-baal/bin/python || $(PYTHON) -m venv .venv-baal
	.venv-baal/bin/python -m pip install --quiet --constraint constraints.txt --editable . "baal>=2"
	$(KEPT_MEMORY) OMP_NUM_THREADS=1 .venv-baal/bin/python -m benchmarks.against_baal

docs: pyproject.toml constraints.txt  ## Build the site into build/site, in an environment of its own; a broken link is an error
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet "pip>=25.1"
	.venv-docs/bin/python -m pip install --quiet --constraint constraints.txt --group docs
	.venv-docs/bin/zensical build --clean --strict

clean:  ## Remove the environments and caches; runs stay
	rm -rf .venv .venv-baal .venv-docs .venv-label-studio .venv-tools .cache .mypy_cache .ruff_cache build *.egg-info
	find al_lightning tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

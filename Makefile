PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## Run the main job on the embedded sample, and say where its learning curve lies
	rm -rf runs/demo
	OMP_NUM_THREADS=1 $(BIN)/python -m al_lightning fit --config configs/demo.yaml --run_dir runs/demo

test: $(INSTALLED)  ## Run the whole test suite
	$(BIN)/python -m pytest

lint: $(INSTALLED)  ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)  ## Measure speed and memory; prints the README's tables
	$(BIN)/python -m benchmarks.loop
	$(BIN)/python -m benchmarks.headline

clean:  ## Remove the environment and caches; runs stay
	rm -rf .venv .mypy_cache .ruff_cache build *.egg-info
	find al_lightning tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

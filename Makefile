# `make study` runs the default study; `make test` runs every test. Both set up .venv themselves.

PYTHON ?= python3
VENV   ?= .venv
STUDY  ?= movielens-100k
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help study ablation test quick lint bench clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

study: $(VENV)/installed  ## Run the default study on MovieLens 100K and write its report
	$(BIN)/sweep launch studies/$(STUDY).toml
	$(BIN)/sweep export $(STUDY) --pick knee --output reports/$(STUDY)/best.json
	$(BIN)/sweep report $(STUDY)
	$(BIN)/sweep front $(STUDY)
	@echo "Report: reports/$(STUDY)/index.html"

test: $(VENV)/installed-test  ## Install what the tests need and run all of them
	$(BIN)/python -m pytest

quick: $(VENV)/installed-test  ## Run the tests that take seconds
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/installed-test  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ablation: $(VENV)/installed  ## Measure what each setting of the default study is worth (ten minutes)
	$(BIN)/sweep ablate $(STUDY) --seeds 5
	$(BIN)/sweep report $(STUDY)

bench: $(VENV)/installed-test  ## Time a trial and a study against the tutorial (five minutes)
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/bench_trial.py

clean:  ## Remove the environment and caches, but no study and no report
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	  ok or sys.exit("sweep needs Python 3.11, 3.12 or 3.13, found " + sys.version.split()[0] + \
	  "; name another with: make PYTHON=python3.12 ...")'
	@echo "Making the virtual environment $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing sweep and what it needs; TensorFlow is large, so the first time takes minutes"
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "Installing what the tests need"
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[test,lint]"
	@touch $@

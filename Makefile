# Needs make and Python 3.11 to 3.13, nothing else. Everything is installed into .venv, once.
VENV := .venv
BIN := $(VENV)/bin
OUT := runs
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
CANDIDATES := python3.11 python3.12 python3.13 python3 python

# The first supported interpreter on PATH; `make PYTHON=/path/to/python3.12 demo` picks another.
PYTHON ?= $(shell for p in $(CANDIDATES); do "$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test test-all test-torch lint types docs bench clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /:/' | awk -F: '{printf "  %-12s%s\n", $$1, $$2}'

demo: $(VENV)/.runtime  ## throw a cube to a target, three ways (results in runs/trajopt)
	$(BIN)/python -m experiments.trajopt --out $(OUT)/trajopt

test: lint types  ## lint, types and the fast tests
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: lint types  ## the same, with the slow tests
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow or not slow"

test-torch: $(VENV)/.dev  ## the PyTorch face, slow tests too (torch must be in .venv)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow or not slow" \
	  tests/softjax_ops/test_torch.py tests/softsim/test_torch.py tests/softsim/test_torch_cuda.py

lint: $(VENV)/.dev  ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## static types
	$(BIN)/mypy

docs: $(VENV)/.docs  ## the site, built strictly (into build/site)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(VENV)/.dev  ## every benchmark (results in runs/bench)
	set -e; for name in operators contact engine; do \
	  $(BIN)/python -m experiments.bench $$name --out $(OUT)/bench/$$name; \
	done

clean:  ## remove the environment and every cache (results stay)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(call environment)
	@echo "Installing softsim into $(VENV) (a minute or two, once)"
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Installing the test tools into $(VENV)"
	@$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime
	@echo "Installing the site's tools into $(VENV)"
	@$(INSTALL) --editable '.[docs]'
	@touch $@

# A working .venv is kept; a missing or half-made one is made afresh.
define environment
if ! $(BIN)/python -c '$(SUPPORTED); import pip' 2>/dev/null; then \
  if [ -z "$(PYTHON)" ]; then \
    echo "error: no Python 3.11 to 3.13 found on PATH; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; \
  elif ! command -v "$(PYTHON)" >/dev/null; then \
    echo "error: PYTHON=$(PYTHON) is not a program; softsim needs Python 3.11 to 3.13" >&2; exit 1; \
  elif ! "$(PYTHON)" -c '$(SUPPORTED)'; then \
    echo "error: $(PYTHON) is $$("$(PYTHON)" --version 2>&1); softsim needs Python 3.11 to 3.13" >&2; exit 1; \
  fi; \
  "$(PYTHON)" -m venv --clear $(VENV); \
fi
endef

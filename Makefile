# Every target sets up what it needs first, so each of them works in a fresh clone.
PYTHON ?= 3.11
PYTHON_OLDEST ?= 3.10
VENV ?= .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# The whole demo takes three times as long; before a release: make smoke DEMO_ARGS=
DEMO_ARGS ?= --model scenes:deit
BENCH_ARGS ?= --out docs/benchmarks --page docs/benchmarks.md
export NO_MKDOCS_2_WARNING := 1

# uv from the PATH if it runs there, else one of our own from PyPI.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .venv-uv/bin/uv)

# A version that nobody asked for may be replaced by another one that is there already.
ANY_PYTHON := 3.11 3.12 3.13 3.10
PYTHONS := $(if $(filter file,$(origin PYTHON)),$(ANY_PYTHON),$(PYTHON))
PYTHONS_OLDEST := $(PYTHON_OLDEST) $(if $(filter file,$(origin PYTHON_OLDEST)),$(ANY_PYTHON))

# $(call venv,directory,python versions): create the environment with the first Python found on this machine,
# else with one that uv fetches.
define venv
	@test -x $(1)/bin/python || { \
	  for version in $(2); do \
	    $(UV) venv --quiet --allow-existing --no-python-downloads --python $$version $(1) 2>/dev/null && break; \
	  done; \
	  test -x $(1)/bin/python || $(UV) venv --allow-existing --python $(firstword $(2)) $(1); }
endef

.DEFAULT_GOAL := help
.PHONY: help setup check test test-oldest demo docs pictures tutorials dist smoke licenses bench figures format constraints clean
.PHONY: check-pyright check-mypy check-documentation check-imports check-style

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "  Another Python: make test PYTHON=3.12 VENV=.venv-3.12"

setup: $(VENV)/.ready ## Make the development environment in .venv

$(VENV)/.ready: pyproject.toml constraints.txt | $(UV)
	$(call venv,$(VENV),$(PYTHONS))
	$(UV) pip install --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv-uv/bin/uv:
	@rm -rf .venv-uv
	@{ python3 -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet uv; } \
	  || { rm -rf .venv-uv && python3 -m pip install --quiet --target .venv-uv uv; } \
	  || { echo "make: uv is missing and python3 -m pip could not install it; see CONTRIBUTING.md" >&2; exit 1; }

# The slowest first, two at a time; the output of each stays together.
CHECKS := check-pyright check-mypy check-documentation check-imports check-style

check: setup ## Lint, types, import contracts, documentation
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target $(CHECKS)

check-pyright:
	$(BIN)/pyright --pythonpath $(BIN)/python

check-mypy:
	$(BIN)/mypy

check-documentation:
	$(BIN)/mkdocs build --strict

check-imports:
	$(BIN)/lint-imports

check-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: setup ## Run the tests (PYTEST_ARGS="-m 'not slow'" for a quick round)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-oldest: $(OLDEST)/.ready ## Run the tests with the oldest supported dependencies
	$(OLDEST)/bin/python -m pytest -W ignore::DeprecationWarning -W ignore::FutureWarning -W ignore::SyntaxWarning \
	  $(PYTEST_ARGS)

$(OLDEST)/.ready: pyproject.toml constraints-oldest.txt | $(UV)
	$(call venv,$(OLDEST),$(PYTHONS_OLDEST))
	$(UV) pip install --compile-bytecode --python $(OLDEST)/bin/python --constraint constraints-oldest.txt \
	  --editable '.[test]'
	@touch $@

demo: setup ## Take the embedded models apart and write demo-out/report.html
	$(BIN)/vitdecomp demo --out demo-out

bench: setup ## Measure what decompositions cost, for docs/benchmarks.md (half an hour; BENCH_ARGS="--quick" to try)
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/speed.py $(BENCH_ARGS)

figures: setup ## Measure the embedded models again for docs/benchmarks (about two hours)
	$(BIN)/python benchmarks/alignment.py -n 3000 --seeds 2 --out docs/benchmarks
	$(BIN)/python benchmarks/alignment_time.py -n 6000 --rounds 2 --out docs/benchmarks
	$(BIN)/python benchmarks/scenes_scores.py -n 800 --seed 11 --out docs/benchmarks
	$(BIN)/python benchmarks/scenes_retrieval.py -n 1000 --seed 11 --out docs/benchmarks
	$(BIN)/python benchmarks/debias.py --out docs/benchmarks

pictures: setup ## Draw the pictures of the README again (some minutes)
	$(BIN)/python docs/pictures

tutorials: setup ## Execute the tutorials again (a minute or two)
	$(BIN)/python docs/notebooks.py

docs: setup ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

dist: setup ## Build the source distribution, and the wheel from it, into dist/
	@rm -rf dist
	$(UV) build --quiet --out-dir dist

smoke: dist ## Install the wheel in an empty environment outside the repository, and run a demo there
	@set -eu; empty=$$(mktemp -d); trap 'rm -rf "$$empty"' EXIT; \
	root=$$(pwd); uv=$$(command -v $(UV)); case $$uv in /*) ;; *) uv=$$root/$$uv ;; esac; \
	python=$$($(BIN)/python -c 'import sys; print(sys._base_executable)'); \
	cd "$$empty"; \
	"$$uv" venv --quiet --python "$$python" venv; \
	"$$uv" pip install --quiet --python venv/bin/python --constraint "$$root/constraints.txt" "$$root"/dist/*.whl; \
	venv/bin/python -c 'import vitdecomp, vitdecomp_adapters, vitdecomp_alignment'; \
	venv/bin/python -c 'import importlib.util; assert not importlib.util.find_spec("scenes_training")'; \
	venv/bin/vitdecomp --version; \
	venv/bin/vitdecomp demo $(DEMO_ARGS) --quiet --out report; \
	test -s report/report.html

licenses: setup ## Write the licenses of all dependencies into docs/licenses.md
	$(BIN)/python docs/licenses.py

format: setup ## Rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: | $(UV) ## Pin the newest dependencies again, for every supported Python
	$(UV) pip compile pyproject.toml --extra dev --extra bench --extra faithfulness-peers --universal \
	  --python-version 3.10 --upgrade --quiet --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --output-file constraints.txt

clean: ## Remove everything that was built, environments too
	rm -rf .venv .venv-* dist build site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

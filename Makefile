# `make gan` and `make test` need nothing but Python 3.11 or newer and make: the first call makes .venv and installs into it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BENCHMARKS := gan_throughput cvae_throughput tune_overhead rollout_throughput gradient_variance reinforce_time_to_solve
.DEFAULT_GOAL := help
.PHONY: help install data gan cvae test slow test-cluster check bench

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## make .venv and install the project into it, at the versions of constraints.txt
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,tensorboard,video]'
	@touch $(STAMP)

data: $(STAMP) ## fetch MNIST into the user's cache, once
	@$(BIN)/python -m algorithms.mnist

gan: $(STAMP) ## search DCGAN hyperparameters on MNIST (about a quarter of an hour on two cores)
	@$(BIN)/python -m algorithms.mnist || true
	@$(BIN)/python workflows/tune_gan.py

cvae: $(STAMP) ## search CVAE hyperparameters on MNIST (about nine minutes on two cores)
	@$(BIN)/python -m algorithms.mnist || true
	@$(BIN)/python workflows/tune_cvae.py

test: $(STAMP) ## run the tests, but for those that take long
	@# Tests with Ray mostly wait for processes to start, so the others run beside them, as nice as Ray's workers.
	@others=$$(mktemp); trap 'rm -f $$others' EXIT; \
	OMP_NUM_THREADS=1 nice -n 15 $(BIN)/python -m pytest -m "not ray and not slow and not cluster" > $$others 2>&1 & \
	trap "kill $$! 2> /dev/null; exit 130" INT TERM; \
	$(BIN)/python -m pytest -m "ray and not slow and not cluster"; with_ray=$$?; \
	wait $$!; without=$$?; cat $$others; \
	[ $$with_ray = 0 ] && [ $$without = 0 ]

slow: $(STAMP) ## run the tests that take long
	@$(BIN)/python -m pytest -m slow

test-cluster: $(STAMP) ## bring up a cluster with `ray up`, on three hosts made here of namespaces (needs root; five minutes)
	@$(BIN)/python -m pytest -m cluster --log-cli-level=INFO

check: $(STAMP) ## lint, formatting, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP) ## run the benchmarks that need no peer installed (half an hour); each writes its figures to benchmarks/results/
	@for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python benchmarks/$$script.py || exit 1; done

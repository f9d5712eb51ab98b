# Everything starts here; each target sets up what it needs. `make` alone lists them.
#
#   PYTHON       the interpreter that makes the environment (3.11 or newer)
#   TORCH_INDEX  package index for torch, where the default one has no build for this machine
.DEFAULT_GOAL := help
PYTHON ?= python3
TORCH ?= 2.13.0
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet
TESTS ?= tests

.PHONY: help setup demo up test test-s3 check format lock bench clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/runtime.stamp  ## install Fettle and what it needs into .venv

demo: .venv/runtime.stamp  ## train the bundled model on a small task and show what it gained
	@$(BIN)/python examples/demo/demo.py

up: .venv/runtime.stamp  ## run the platform until Ctrl-C
	@$(BIN)/fettle up

test: .venv/dev.stamp  ## run every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest $(TESTS)

CEPH := radosgw ceph-mon ceph-osd ceph-common

test-s3: .venv/dev.stamp  ## the store's tests on a real S3 server (Ceph, from Debian's packages)
	@type radosgw ceph-mon ceph-osd ceph > /dev/null 2>&1 || { test "$$(id -u)" = 0 && \
		apt-get update -q && apt-get install -y -q --no-install-recommends $(CEPH); } || \
		{ echo "needed: apt-get install $(CEPH)"; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/workers/store -m real_s3

check: .venv/dev.stamp  ## lint, types and import rules alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: .venv/dev.stamp  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/runtime.stamp  ## the benchmarks that need no other environment
	$(BIN)/python benchmarks/server_budget.py

UNLOCKED := torch triton fettle-server cuda-bindings cuda-pathfinder cuda-toolkit \
	$(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse \
	cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	$(addprefix --no-emit-package ,$(UNLOCKED)) --extra platform --extra workers pyproject.toml requirements/runtime.in

lock: .venv/dev.stamp  ## choose newer versions within pyproject.toml's ranges
	$(COMPILE) --upgrade --output-file requirements/runtime.txt
	$(COMPILE) --upgrade --extra dev --constraints requirements/runtime.txt --output-file requirements/dev.txt

clean:  ## remove the environment
	rm -rf .venv

# torch stands apart: its CPU and CUDA builds share a version but not their files, so a hash would choose for you.
.venv/torch.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + \
		sys.version.split()[0] + "; name one with: make PYTHON=/path/to/python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH)
	@touch $@

.venv/runtime.stamp: .venv/torch.stamp requirements/runtime.txt pyproject.toml sdk/pyproject.toml
	$(PIP) --require-hashes --no-deps -r requirements/runtime.txt
	$(PIP) --no-deps --no-build-isolation -e . -e ./sdk
	@touch $@

.venv/dev.stamp: .venv/runtime.stamp requirements/dev.txt requirements/openai-1x.txt
	$(PIP) --require-hashes --no-deps -r requirements/dev.txt
	$(PIP) --require-hashes --no-deps --upgrade --target .venv/openai-1x -r requirements/openai-1x.txt
	@touch $@

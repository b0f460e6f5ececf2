# A clean clone needs Python 3.11 or later with venv, and a package registry; the tests OpenSSH and Chromium too.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEMO := runs/demo
SSHD := /usr/sbin/sshd
CHROMIUM := /usr/bin/chromium
PROMETHEUS := /usr/bin/prometheus
MLFLOW := $(VENV)-mlflow/bin/mlflow
MOTO := $(VENV)-moto/bin/moto_server
WORKERS ?= $(shell nproc)

.PHONY: demo test test-long bench gpu-check lint format clean
.DELETE_ON_ERROR:

demo: export RINGRIFT_RESULTS = $(DEMO)/results.sqlite
demo: export RINGRIFT_MODELS = $(DEMO)/models
demo: $(STAMP)  ## learns hex8 from nothing for two cycles, and shows how strong that made it
	rm -rf $(DEMO)
	$(BIN)/ringrift verify tests/conformance/*.jsonl.gz
	$(BIN)/ringrift cycle --config demo.yaml --cycles 2
	$(BIN)/ringrift status --config demo.yaml
	$(BIN)/ringrift report --config demo.yaml
	$(BIN)/ringrift eval match model:champion,sims=32 random --games 200
	$(BIN)/ringrift eval match model:champion,sims=32 heuristic:default --games 200

test: $(STAMP) $(SSHD) $(CHROMIUM)  ## many at once, then those that measure time with nothing beside them
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not long and not alone'
	$(BIN)/pytest -m 'alone and not long'

test-long: $(STAMP) $(SSHD) $(CHROMIUM) $(PROMETHEUS) $(MLFLOW) $(MOTO)
	$(BIN)/pytest -m long

bench: $(STAMP)
	$(BIN)/ringrift bench engine

gpu-check: $(STAMP)  ## needs a CUDA GPU: all that it does must be what the CPU does; how fast
	$(BIN)/python -m ringrift_cli.bench.gpu_check

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) $(VENV)-mlflow $(VENV)-moto $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The tests of the fleet run SSH servers of their own on loopback ports, those of the web a browser;
# long ones a Prometheus.
$(SSHD): PACKAGE := openssh-server
$(CHROMIUM): PACKAGE := chromium
$(PROMETHEUS): PACKAGE := prometheus
$(SSHD) $(CHROMIUM) $(PROMETHEUS):
	@command -v apt-get >/dev/null || \
	    { echo 'make: the tests need $@: install $(PACKAGE)' >&2; exit 1; }
	@sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	{ [ -z "$$sudo" ] || command -v sudo >/dev/null; } && $$sudo apt-get -qq update && \
	    $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y $(PACKAGE) || \
	    { echo 'make: the tests need $@: as root, apt-get install $(PACKAGE)' >&2; exit 1; }

# Servers of long tests, each in an environment of its own: their dependencies fit no other.
$(MLFLOW): PACKAGE := mlflow>=3,<4
$(MOTO): PACKAGE := moto[server]>=5,<6
$(MLFLOW) $(MOTO):
	$(PYTHON) -m venv $(patsubst %/bin/,%,$(dir $@))
	$(dir $@)pip install --quiet --disable-pip-version-check '$(PACKAGE)'

# One stamp for the whole environment: it is made again when what it was made from changes.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'make: $(PYTHON) is older than Python 3.11: make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo 'make: $(PYTHON) cannot make virtual environments: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

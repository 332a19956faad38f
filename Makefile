# Needs Python 3.10 or newer with venv; everything else goes into .venv, at the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
# torch is fixed at one release, and its CUDA packages are left to it: which of them are needed depends on the machine.
TORCH := 2.13.0

.DELETE_ON_ERROR:
.PHONY: help demo test clients lint docs format lock clean

help:
	@echo "make demo    a complete run on simulated users: prepare, embed, train, adapt, evaluate, report"
	@echo "make test    all tests"
	@echo "make clients sets up real clients of other rerank servers; make test then runs them, too"
	@echo "make lint    style, types, and imports between rooms"
	@echo "make docs    the documentation site, in build/docs; a broken link is an error"
	@echo "make format  format the code"
	@echo "make lock    write constraints.txt again (needs uv)"
	@echo "make clean   remove .venv, .venv-clients and the caches of tools"

demo: $(VENV)/.base
	@$(BIN)/lorerm demo

# One thread per worker: with several, threads wait for each other on few cores, and tests take longer.
test: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

# In an environment of their own: their packages and those of the project need different versions of others.
clients: $(CLIENTS)/.done

$(CLIENTS)/.done: tests/clients/requirements.txt tests/clients/constraints.txt
	@echo "Setting up $(CLIENTS) (once, some minutes)"
	@$(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install -qq --disable-pip-version-check \
		--constraint tests/clients/constraints.txt --requirement tests/clients/requirements.txt
	@touch $@

lint: $(VENV)/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

docs: $(VENV)/.dev
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) is older than Python 3.10: name a newer one, as in make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once, some minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "Adding the development tools to $(VENV) (once)"
	@$(INSTALL) --editable '.[dev]'
	@touch $@

lock:
	@{ echo "# The versions that make demo, make test and CI install, for every supported Python. Written by make lock."; \
	   uv pip compile pyproject.toml --extra dev --extra bench --universal --python-version 3.10 --upgrade-package torch==$(TORCH) \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet \
		| grep -v -E '^(nvidia-|cuda-|triton)'; } > constraints.new \
		&& mv constraints.new constraints.txt || { rm -f constraints.new; exit 1; }

clean:
	rm -rf $(VENV) $(CLIENTS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

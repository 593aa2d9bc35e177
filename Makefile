# The two commands of the README are `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready

.PHONY: help setup demo test lint kills bench bench-noloss bench-gateway mutation clients lock docs clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv with everything, from the hashed lock

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Arbiter needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## the main job, from nothing, on the models that ship
	@$(BIN)/arbiter demo

test: $(STAMP) ## everything
	@$(BIN)/python tests/run.py

lint: $(STAMP) ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

kills: $(STAMP) ## SIGKILL twenty times at each named place of a rollout and of its watch (half an hour)
	@ARBITER_TEST_KILLS=20 $(BIN)/python -m pytest -q -n 2 tests/story/test_kill_a_rollout.py tests/story/test_kill_a_watch.py tests/story/test_slices.py

bench: $(STAMP) ## every figure that the docs quote
	@$(BIN)/python -m bench.run

bench-noloss: $(STAMP) ## streams while models are swapped, evicted, unloaded and killed: none lost
	@$(BIN)/arbiter bench noloss

bench-gateway: $(STAMP) ## the house beside LiteLLM and TensorZero, in one run
	@$(BIN)/python -m bench.gateway

mutation: $(STAMP) ## mutation score of the pure modules (hours); one: make mutation MODULE=arbiter.swap.rollout
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutation.txt
	@$(BIN)/python -m bench.mutation $(MODULE)

clients: $(STAMP) ## LangChain, LlamaIndex and DSPy in .clients, so that their examples are tested
	@$(PYTHON) -m venv .clients
	@.clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/clients.txt

docs: $(STAMP) ## write the generated parts of the docs again
	@$(BIN)/python -m tests.docs.generate

lock: ## resolve the dependencies again and write the hashes
	@$(BIN)/python requirements/lock.py

clean: ## remove what was built
	rm -rf $(VENV) .clients build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants

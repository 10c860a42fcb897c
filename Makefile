# What a contributor types. `make` lists it; each line after `##` is the help.
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help setup hooks format lint types rooms check fast test goldens attack lowest pythons bench pictures docs ci

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv and install the project with what tests and tools need
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -e '.[dev]'

hooks: ## run format, lint, types, rooms and the fast tests before every commit
	pre-commit install

format: ## format all Python files
	ruff format .
	ruff check --fix --select I .

lint: ## the linter, and whether files are formatted
	ruff format --check .
	ruff check .

types: ## the type checker, strict, on all four packages
	mypy

rooms: ## which room may import which (docs/architecture.md), lazy imports included
	lint-imports

check: lint types rooms ## all that must hold before a commit, but for tests

fast: ## the tests that take a moment: language, bound mappings, counts, the command line
	pytest -n 2 -m 'not slow' tests/einsum_cascade/syntax/test_parse.py tests/archsim tests/test_readme.py

test: ## all tests, the slow ones included
	pytest -n 2

goldens: ## write the golden texts of simulate --dump anew; look at the difference before you commit
	pytest tests/golden --write-goldens

attack: ## hostile files, mutants, command lines, machines, mappings, searches at length; SEED=n repeats
	$(PYTHON) -W ignore tests/attack/attacking.py $(if $(SEED),--seed $(SEED))

lowest: ## all tests with the lowest versions that pyproject.toml allows
	.ci/lowest $(PYTHON) . . -n 2

pythons: ## validate all and reproduce fusemax, whole, on every Python from 3.11 on that is here
	.ci/pythons

bench: ## ratios of speed, each of one run
	$(PYTHON) benchmarks/engine.py

pictures: ## draw the pictures of the documentation anew, and print its tables
	for script in pictures decoding comparison fusemax validation; do $(PYTHON) docs/make_$$script.py || exit 1; done

docs: ## the site in build/site: every page, and the notebooks with their pictures
	$(PYTHON) -m sphinx -W --keep-going -q -c docs . build/site

ci: ## everything, in fresh environments, as it is run before a change is merged
	.ci/run

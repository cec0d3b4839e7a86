# make run   sets up and runs the pocket study      make test   sets up and runs the tests
# make lint  checks code, rules and types           make lock   pins every package anew
.PHONY: run test lint lock
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= all
BIN := .venv/bin

run: .venv/run
	@start=$$(date +%s) && \
	$(BIN)/snakemake --cores $(CORES) && \
	$(BIN)/snakemake --cores $(CORES) --report results/pocket/report.html && \
	printf '\nThe study took %s s. Open results/pocket/report.html; tables lie in results/pocket/tables/.\n' \
	  $$(( $$(date +%s) - start ))

test: .venv/dev
	$(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy workflow/scripts
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

lock: .venv/dev
	$(BIN)/python -m pip freeze --exclude goodhart | sed 's/+cpu//' > constraints.txt

# The environment is made anew only when its list of packages changes. Installing "." installs what it needs.
.venv/run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	touch $@

.venv/dev: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[dev]'
	touch $@

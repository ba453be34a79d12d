PYTHON ?= python3
VENV ?= .venv
# Flags of the command line, such as ARGS="--profile bench --world shared_view"; python -m cdgkd_utils run --help
ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# One thread per process: the parallelism is over folds. Freed memory is kept for the next mini-batch (glibc).
export OMP_NUM_THREADS ?= 1
export MALLOC_MMAP_THRESHOLD_ ?= 1000000000
export MALLOC_TRIM_THRESHOLD_ ?= 1000000000

.PHONY: help run test lab notebooks class book lint

help:
	@echo 'make run        all notebooks by papermill into build/notebooks, then both tables;'
	@echo '                make run ARGS="--profile smoke --dataset deap --data-root /path --world mixed"'
	@echo "make test       tests, then the committed notebooks under nbval"
	@echo "make lab        JupyterLab"
	@echo "make notebooks  re-execute the committed notebooks and store their outputs"
	@echo "make class      copies of the notebooks for a class: students' without solutions"
	@echo "make book       all notebooks as one static site"
	@echo "make lint       ruff over package, tests, benchmarks and notebooks"

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

run: $(READY)
	@$(BIN)/python -m cdgkd_utils run $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 tests
	TQDM_DISABLE=1 $(BIN)/python -m pytest --nbval-lax --nbval-current-env -p no:cacheprovider notebooks

lab: $(READY)
	$(BIN)/jupyter lab notebooks

notebooks: $(READY)
	$(BIN)/python -m cdgkd_utils store

class book: $(READY)
	$(BIN)/python -m cdgkd_utils $@ $(ARGS)

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test lint bench model clean

demo: $(READY)
	$(BIN)/srpo train

test: $(READY)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: $(READY)
	$(BIN)/ruff check src tests bench docs
	$(BIN)/ruff format --check src tests bench docs
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m bench.scoring
	$(BIN)/python -m bench.step
	$(BIN)/python -m bench.scaling
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.first_step
	$(BIN)/python -m bench.tables
	$(BIN)/python -m bench.tables --page docs/recipes.md

model: $(READY)
	$(BIN)/python -m srpo.tiny.cold_start src/srpo/tiny/model

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

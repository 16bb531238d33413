# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv when it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Three at a time on two cores: most tests wait for a server. Each worker has servers of its own.
TOGETHER := -n 3

.PHONY: demo test test-slow test-faults test-versions bench tour lint format clean

demo: $(VENV)/.ready
	$(BIN)/livesync-tui demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow and not faults and not versions"

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest $(TOGETHER) -m slow

test-faults: $(VENV)/.ready
	$(BIN)/python -m pytest -m faults -s tests/faults

test-versions: $(VENV)/.ready
	$(BIN)/python -m pytest $(TOGETHER) -m versions tests/versions

# For example ARGS="apply --quick"; without: all five at full size, nearly half an hour.
bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks $(ARGS)

# The README's pictures, of a run over the demo's servers.
tour: $(VENV)/.ready
	$(BIN)/python -m livesync_tui.demo.tour docs/tour

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]' --group dev
	touch $@

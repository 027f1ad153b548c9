# make demo: a prompt becomes a picture. make test: the tests. make check: format, lint, types.
# Each sets up .venv by itself; a second run is quick.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TYPED  := $(foreach room,pipelines nodes serving preprocessors,-p fooocus_stages.$(room))

.PHONY: demo test check format workflows clean

demo: $(READY)
	$(BIN)/fooocus-stages run text-to-image-extreme-speed --models pocket -o outputs

test: $(READY)
	$(BIN)/pytest $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TYPED)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

workflows: $(READY)
	$(BIN)/python -m fooocus_stages.serving.cli workflows --write .

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps open_clip_torch
	mkdir -p $(VENV)/typed && ln -sfn ../.. $(VENV)/typed/fooocus_stages
	touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

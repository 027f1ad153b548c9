# make demo: a prompt becomes a picture. make test: the tests. make check: format, lint, types.
# make test-oldest: the tests on the lower bounds of the requirements, in .venv-oldest.
# Each sets up its environment by itself; a second run is quick.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OLDEST := .venv-oldest
TYPED  := $(foreach room,pipelines nodes serving preprocessors pocket,-p fooocus_stages.$(room))

.PHONY: demo test test-oldest check format workflows clean

demo: $(READY)
	$(BIN)/fooocus-stages run text-to-image-extreme-speed --models pocket -o outputs

test: $(READY)
	$(BIN)/pytest $(ARGS)

# Old libraries warn of what was to come: here their warnings are no errors. The pocket is only trained on the new ones.
test-oldest: $(OLDEST)/.ready
	$(OLDEST)/bin/pytest -W default -k "not a_training_can_be_begun_again" $(ARGS)

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

$(OLDEST)/.ready: pyproject.toml constraints-oldest.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e '.[dev]'
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps open_clip_torch
	touch $(OLDEST)/.ready

clean:
	rm -rf $(VENV) $(OLDEST) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

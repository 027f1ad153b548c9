# make demo: a prompt becomes a picture. make test: the tests. make check: format, lint, types.
# make test-oldest: the tests on the lower bounds of the requirements, in .venv-oldest.
# make test-comfyui COMFYUI_DIR=~/ComfyUI [COMFYUI_PYTHON=…]: the tests in that ComfyUI, over HTTP and in its page.
# Each sets up its environment by itself; a second run is quick.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OLDEST := .venv-oldest
BROWSER := .browser
CLIENTS := .clients
TYPED  := $(foreach room,pipelines nodes serving preprocessors pocket,-p fooocus_stages.$(room))

.PHONY: browser clients ray demo test test-oldest test-comfyui check format workflows clean

demo: $(READY)
	$(BIN)/fooocus-stages run text-to-image-extreme-speed --models pocket -o outputs

# One thread each, as networks this small gain nothing from a second one; three processes, as some tests wait. ARGS="-n 0": one.
# Python may keep what it compiles, as tests start many processes.
test: $(READY)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist loadfile $(ARGS)

# Old libraries warn of what was to come: here their warnings are no errors. The pocket is only trained on the new ones.
test-oldest: $(OLDEST)/.ready
	$(OLDEST)/bin/pytest -W default -k "not a_training_can_be_resumed" $(ARGS)

# COMFYUI_PYTHON: the Python with ComfyUI's and the pack's requirements. Its tests also want pytest and websocket-client.
test-comfyui: $(READY) $(BROWSER)/.ready
	test -f "$(COMFYUI_DIR)/main.py" || { echo "make test-comfyui needs COMFYUI_DIR=<a ComfyUI checkout>"; exit 2; }
	COMFYUI_DIR="$(COMFYUI_DIR)" COMFYUI_PYTHON="$(COMFYUI_PYTHON)" $(BIN)/pytest tests/comfyui -v -n 2 --dist loadfile --no-loadscope-reorder --durations=10 $(ARGS)

clients: $(CLIENTS)/.ready

browser: $(BROWSER)/.ready

# Ray, which `batch --ray` needs, into the environment of the tests, which skip it where it isn't.
ray: $(VENV)/.ray

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

$(VENV)/.ray: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	touch $(VENV)/.ray

$(OLDEST)/.ready: pyproject.toml constraints-oldest.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e '.[dev]'
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps open_clip_torch
	touch $(OLDEST)/.ready

$(BROWSER)/.ready:
	mkdir -p $(BROWSER)
	! command -v npm > /dev/null || npm install --prefix $(BROWSER) --no-save --no-audit --no-fund playwright-core@1.65
	! test -d $(BROWSER)/node_modules/playwright-core || touch $(BROWSER)/.ready

# The published clients of the hosted endpoints, which tests run unchanged.
$(CLIENTS)/.ready:
	mkdir -p $(CLIENTS)
	! command -v npm > /dev/null || npm install --prefix $(CLIENTS) --no-save --no-audit --no-fund @fal-ai/client@1.10.1 @fal-ai/serverless-client@0.15.0
	$(PYTHON) -m venv $(CLIENTS)/python
	$(CLIENTS)/python/bin/python -m pip install --quiet --disable-pip-version-check fal-client==1.0.3
	touch $(CLIENTS)/.ready

clean:
	rm -rf $(VENV) $(OLDEST) $(BROWSER) $(CLIENTS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

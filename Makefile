# make demo [INPUT=my.mp4] [PROMPT="watercolour"]   make test   make test-comfyui   make fuzz   make bench   make setup
# Everything lives in .venv. TORCH names the torch to install where .venv has none, e.g. TORCH="torch==2.13.0".
# ComfyUI's tests: COMFYUI_PATH, COMFYUI_PYTHON and COMFYUI_TORCH, see tests/comfyui/run.py.

PYTHON ?= python3
TORCH ?= torch
BIN := .venv/bin
RUNTIME := $(or $(wildcard .venv/.installed-test),.venv/.installed)

# Handed to the recipe through the environment, unexpanded: spaces, quotes, $ and any script survive.
override INPUT := $(value INPUT)
override PROMPT := $(value PROMPT)
export INPUT PROMPT

.PHONY: demo test test-comfyui fuzz bench setup

demo: $(RUNTIME)
	@$(BIN)/style-a-video demo $${INPUT:+--input "$$INPUT"} $${PROMPT:+--prompt "$$PROMPT"}

test: .venv/.installed-test
	$(BIN)/pytest
	@$(MAKE) --no-print-directory test-comfyui

# In an environment of ComfyUI's requirements, where there is a ComfyUI.
test-comfyui: | $(BIN)/pip
	@$(BIN)/python tests/comfyui/run.py

# Some thousand hostile files and prompts, some hours; make fuzz FUZZ="video=100 model=50" PROMPTS=100 for fewer.
fuzz: .venv/.installed-test
	$(BIN)/python tests/hostile/fuzz.py $(FUZZ)
	@$(BIN)/python tests/comfyui/run.py --fuzz $(PROMPTS)

bench: $(RUNTIME)
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/throughput.py --memory

setup: $(RUNTIME)

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	  { echo 'Python 3.10 or newer was not found as "$(PYTHON)"; install it or name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo '"$(PYTHON)" cannot make a virtual environment (no ensurepip); on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv

USABLE_TORCH = import torch; assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)

define install
@$(BIN)/python -c '$(USABLE_TORCH)' 2>/dev/null || $(BIN)/pip install '$(TORCH)'
$(BIN)/pip install -e '.[$(EXTRAS)]'
@touch $@
endef

.venv/.installed: EXTRAS = demo,measures,bench
.venv/.installed: pyproject.toml | $(BIN)/pip
	$(install)

.venv/.installed-test: EXTRAS = demo,measures,bench,train,test
.venv/.installed-test: pyproject.toml | $(BIN)/pip
	$(install)

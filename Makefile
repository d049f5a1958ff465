# The front door. The work is done by CMake (CMakePresets.json) and by the scripts in scripts/; `make` alone lists the targets.
PREFIX ?= /usr/local
DESTDIR ?=
SECONDS ?= 60

.PHONY: help setup build test demo oracle bench fuzz check format floors style symbols reference asan coverage install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## installs what the build needs (apt-get or brew); nothing where all is there
	@scripts/setup

build: setup ## the program, at build/sonde, and both libraries
	@scripts/build release sonde sonde_shared sonde_archive

demo: build ## the tour, written under build/demo (SONDE_MODEL=FOLDER chooses the model)
	@build/sonde demo

test: ## all tests: release build, then AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/setup test
	@scripts/test release asan

oracle: build ## compares with PyTorch, transformers and tokenizers, in a virtual environment (.venv)
	@scripts/build release tool_save_model
	@scripts/oracle

bench: build ## speed and memory, beside the peer libraries where they are there
	@scripts/bench

fuzz: ## fuzzes each target for SECONDS (60) seconds
	@scripts/setup check
	@scripts/fuzz $(SECONDS)

check: ## format, clang-tidy, floors, style, and a build with clang
	@scripts/setup test check
	@scripts/check

format: ## formats all C files
	@scripts/setup check
	@scripts/format

floors: ## checks every #include against tools/floors.txt
	@python3 tools/check_floors.py

style: ## checks lengths of functions and files, comments, and forbidden words
	@python3 tools/check_style.py

symbols: build ## writes the list of exported symbols anew (tests/abi/symbols.txt)
	@tests/abi/symbols.sh --update build

reference: build ## writes the generated pages of docs/reference anew
	@python3 tools/apidoc.py --update

asan: ## the tests under the sanitizers alone
	@scripts/setup test
	@scripts/test asan

coverage: ## line coverage of src and cli, as a table
	@scripts/setup test
	@scripts/coverage

install: build ## into PREFIX (/usr/local), below DESTDIR
	@DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)"

clean: ## removes all build folders
	rm -rf build build-asan build-coverage build-clang build-clang-asan build-fuzz

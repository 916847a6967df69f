# Shortcuts over CMakePresets.json; `make help` lists them. Nothing is decided here.
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
# ThreadSanitizer of gcc 12 wants a kernel without wide address randomisation.
PLAIN_ADDRESSES = $(shell setarch $$(uname -m) -R true 2>/dev/null && echo setarch $$(uname -m) -R)

build_preset = $(2) cmake --preset $(1) $(3) && $(2) cmake --build --preset $(1) -j $(JOBS)

.DEFAULT_GOAL := release
.PHONY: release dev check asan tsan fuzz lint largest install clean help

release: ## build what is installed (the default)
	$(call build_preset,release)

dev: ## build without optimisation, warnings are errors
	$(call build_preset,dev)

check: ## build the preset release and run all its tests
	$(call build_preset,release,,-DMMF_TESTS=ON)
	ctest --preset release -j $(JOBS) --no-tests=error

asan: ## unit and mock-broker tests under AddressSanitizer and UBSan
	$(call build_preset,asan)
	ctest --preset asan -j $(JOBS) --no-tests=error -L 'unit|mock'

tsan: ## unit and mock-broker tests under ThreadSanitizer
	$(call build_preset,tsan,$(PLAIN_ADDRESSES))
	$(PLAIN_ADDRESSES) ctest --preset tsan -j $(JOBS) --no-tests=error -L 'unit|mock'

fuzz: ## each libFuzzer target for FUZZ_SECONDS (60), needs clang
	$(call build_preset,fuzz,,-DMMF_FUZZ_SECONDS=$(FUZZ_SECONDS))
	ctest --test-dir build/fuzz --output-on-failure --no-tests=error -L fuzz

lint: ## rules that a compiler does not check
	python3 -B tests/lint/lint.py

largest: ## the ten largest files and functions
	python3 -B tests/lint/largest.py

install: ## install what `make` has built (DESTDIR=... for a package)
	cmake --install build/release

clean: ## remove every build
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

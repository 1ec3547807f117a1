# The few commands of the house. `make run` needs Rust and a C compiler; `make test` brings the rest where it can.
SHELL := /bin/bash
export QA_CACHE ?= $(HOME)/.cache/alfred
DENY_VERSION := 0.20.2
DENY := $(QA_CACHE)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
# A thousand calls at once are a few thousand sockets.
MORE_FILES := ulimit -S -n 8192 2>/dev/null || ulimit -S -n "$$(ulimit -Hn)" || true;

.PHONY: help run setup test test-failpoints check fmt lint deny generated bench bench-short bench-peers bench-ledger bench-codec bench-intent fuzz soak

.PHONY: help run setup test test-failpoints check fmt lint deny generated bench bench-short bench-peers bench-ledger bench-codec bench-policy fuzz soak

help:
	@echo 'make run    the demo on http://127.0.0.1:8080, nothing else needed'
	@echo 'make test   sets up what the tests need, checks, builds, runs every suite'
	@echo 'make check  formatting, lints, licences and library homes, generated files'
	@echo 'make fuzz   every reader of what others write fed mutations, SECONDS each; see docs/fuzzing.md'
	@echo 'make soak   half load with faults mixed in, MINUTES long (release build); see docs/faults.md'
	@echo 'make bench  the benchmark tables of docs/benchmarks.md (release build)'
	@echo 'make bench-peers   only the tables beside TensorZero and LiteLLM (release build)'
	@echo 'make bench-policy  decisions by rules: the shipped ones, 200 and 1,000 more (release build)'
	@echo 'make bench-codec   reading, translating and passing on, without a network (release build)'
	@echo 'make bench-intent  what classifying a request costs (release build)'
	@echo 'make bench-ledger  the ledger beside a plain version and pgbench (release build)'

run:
	cargo run --bin alfred -- serve --demo

setup:
	qa/setup/install.sh

test: setup check
	cargo build --workspace --all-targets
	$(MORE_FILES) cargo test --workspace --no-fail-fast
	$(MORE_FILES) QA_DATABASE=postgres cargo test --workspace --no-fail-fast --test pipeline
	$(MORE_FILES) MINUTES=3 cargo test --workspace --test faults -- --ignored soak --nocapture
	$(MAKE) test-failpoints

# Power cuts at every step of a call. The gateway with points to be cut at has a target folder of its own: nothing of it
# may ever come into another build.
test-failpoints:
	CARGO_TARGET_DIR='$(QA_CACHE)/target-failpoints' CARGO_INCREMENTAL=0 \
	  cargo build --package gateway --bin alfred --features failpoints
	$(MORE_FILES) ALFRED_BIN='$(QA_CACHE)/target-failpoints/debug/alfred' \
	  cargo test --workspace --no-fail-fast --test failpoints -- --ignored

check: fmt lint deny generated

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets -- -D warnings

# cargo-deny is built once into the cache folder, about two minutes.
deny:
	@mkdir -p '$(QA_CACHE)'; if [ ! -x '$(DENY)' ]; then \
	  echo 'deny: building cargo-deny $(DENY_VERSION) once into $(QA_CACHE)'; \
	  CARGO_TARGET_DIR='$(QA_CACHE)/cargo-deny-build' cargo install cargo-deny --version $(DENY_VERSION) --locked --debug \
	    --no-default-features --quiet --root '$(QA_CACHE)/cargo-deny-$(DENY_VERSION)' >'$(QA_CACHE)/cargo-deny.log' 2>&1; \
	  rm -rf '$(QA_CACHE)/cargo-deny-build'; \
	fi
	@if [ -x '$(DENY)' ]; then '$(DENY)' check bans licenses sources; \
	else echo 'deny: SKIPPED, cargo-deny could not be installed: see $(QA_CACHE)/cargo-deny.log'; fi

# What is written from the code and committed, in docs/api and docs/providers, must be what the code writes today.
generated:
	cargo test --workspace --quiet --test api --test policies -- document:: schema:: intent::
	cargo test --package providers --quiet --lib docs::

# One target after the other; FUZZ_SEED=… repeats what a failure printed, TARGET='fuzz::answers::cohere' is one of them.
SECONDS_EACH := $(if $(filter-out environment default undefined,$(origin SECONDS)),$(SECONDS),60)
TARGET ?= fuzz::
fuzz:
	FUZZ_SECONDS=$(SECONDS_EACH) cargo test --package providers --lib -- $(TARGET) --test-threads 1 --no-capture

MINUTES ?= 30
soak:
	cargo build --workspace --release --bin alfred
	$(MORE_FILES) MINUTES=$(MINUTES) cargo test --workspace --release --test faults -- --ignored soak --nocapture

# The other gateways that it stands beside are installed first; where they cannot be, the tables say "not measured".
bench:
	-qa/setup/peers.sh
	cargo build --workspace --release --bins
	$(MORE_FILES) $${CARGO_TARGET_DIR:-target}/release/bench $(ARGS)

bench-short:
	$(MAKE) bench ARGS='--short $(ARGS)'

# Only the tables side by side; here the other gateways must be there.
bench-peers:
	qa/setup/peers.sh
	$(MAKE) bench ARGS='--only peers $(ARGS)'

# ARGS='--short', '--growth' or '--soak 10' for the other modes; see qa/bench/ledger/main.rs.
bench-ledger:
	$(MORE_FILES) cargo bench --workspace --bench ledger -- $(ARGS)

bench-codec:
	cargo bench --workspace --bench codec

bench-intent:
	cargo bench --package policies --bench intent

# ARGS=--short for a quick look.
bench-policy:
	cargo bench --package policies --bench policy -- $(ARGS)

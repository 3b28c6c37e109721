# make test does all set-up; CONTRIBUTING.md says what each target is for.
GO ?= go
FUZZTIME ?= 10s
# Packages whose tests make namespaces and run real programs: without -race, one after the other.
SYSTEM := ./integration/... ./cmd/natrouter/...

.PHONY: build test unit system setup lint check bench fuzz demo

build:
	$(GO) build -o bin/natrouter ./cmd/natrouter

test: setup unit system

# Unit tests with the race detector.
unit:
	$(GO) run ./internal/testrun -race $$($(GO) list ./... | grep -v -e /integration -e /cmd/natrouter)

# Namespaces, real clients and servers.
system:
	$(GO) run ./internal/testrun -p 1 -timeout 15m $(SYSTEM)

setup:
	./integration/setup.sh

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt -w the files above"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

check: lint test

# BENCHFLAGS: -quick for a short run, -run and -systems to select; go run ./integration/bench -h lists all.
bench:
	$(GO) run ./integration/bench -micro $(BENCHFLAGS)

# Each fuzz target for FUZZTIME.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
		done; \
	done

demo:
	$(GO) run ./cmd/natrouter demo

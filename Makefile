# make test does all set-up; CONTRIBUTING.md says what each target is for.
GO ?= go
FUZZTIME ?= 10s
CHECKS ?= 2000
# Packages whose tests make namespaces and run real programs: without -race, one after the other.
SYSTEM := ./integration/... ./cmd/natrouter/...
# Those of them that start a natrouter, again with its fast path off.
SLOW := ./integration ./integration/ftp ./integration/irc ./integration/pptp ./integration/tftp

.PHONY: build test unit system setup lint check bench beside model captures mutants coverage fuzz demo

build:
	$(GO) build -o bin/natrouter ./cmd/natrouter

test: setup unit system

# Unit tests with the race detector.
unit:
	$(GO) run ./internal/testrun -race $$($(GO) list ./... | grep -v -e /integration -e /cmd/natrouter)

# Namespaces, real clients and servers.
system:
	$(GO) run ./internal/testrun -p 1 -timeout 15m $(SYSTEM)
	$(GO) run ./internal/testrun -p 1 -timeout 15m $(SLOW) -natrouter.slow

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

# The scripts that run through the kernel and through natrouter; writes the table of differences in docs/verification.md.
beside: setup
	$(GO) test -count=1 ./integration/beside -args -beside.update

# Random traffic through the router and the plain one beside it, then through the models of single rooms. CHECKS=200000 takes
# hours.
model:
	$(GO) test -count=1 -v -timeout 0 ./router -run '^TestModel$$' -rapid.checks=$(CHECKS)
	$(GO) test -count=1 -timeout 0 ./router/alg/ftp -run '^TestModel$$' -rapid.checks=$(CHECKS)
	$(GO) test -count=1 -timeout 0 ./router/conntrack -run '^TestModel$$' -model-steps=1000000
	NATROUTER_LONG=1 $(GO) test -count=1 -timeout 0 ./router/alg/pptp -run '^TestModel$$'

# All captures through each kind of translation.
captures:
	$(GO) test -count=1 -v ./router -run Replay

# Single faults put into the code, one at a time; writes what noticed each into docs/verification.md. RUN selects, a regular
# expression on "room: fault"; all take an hour.
mutants:
	$(GO) run ./internal/mutate -run '$(RUN)'

# Statements of each room that the tests of all rooms run; bin/coverage.out has the rest for go tool cover.
coverage:
	@mkdir -p bin
	$(GO) test -count=1 -coverprofile=bin/coverage.out -coverpkg=./router/...,./internal/config ./router/... ./internal/config
	@awk -F'[: ]' 'NR > 1 { block = $$1 ":" $$2; size[block] = $$3; runs[block] += $$4 } \
		END { for (block in size) { \
				room = block; sub("github.com/natrouter/natrouter/", "", room); sub("/[^/]*$$", "", room); \
				all[room] += size[block]; if (runs[block] == 0) not[room] += size[block] } \
			for (room in all) if (room !~ /internal\/|algtest/ || room == "internal/config") \
				printf "%-18s %5.1f %% of %4d statements, %3d not\n", room, 100 - 100 * not[room] / all[room], all[room], not[room] }' \
		bin/coverage.out | sort

# Each fuzz target for FUZZTIME.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
		done; \
	done

demo:
	$(GO) run ./cmd/natrouter demo

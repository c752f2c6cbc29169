SHELL := /bin/bash
.DEFAULT_GOAL := help

# PostgreSQL versions of the matrix, beside the one of this machine.
MATRIX ?= 16 17 18

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: postgres build ## A private PostgreSQL, real flights, five managed views, the worker (ONCE=1: one cycle, then exit)
	./bin/mvscheduler demo $(if $(ONCE),--once)

.PHONY: test
test: postgres ## Every test that needs nothing but Go and a local PostgreSQL
	go vet ./...
	go test -timeout 20m ./...

.PHONY: test-all
test-all: test ## The long randomized runs, every case of long lists, load and whatever takes half a minute as well, and PostgreSQL 16, 17 and 18
	MVSCHEDULER_LONG=1 go test -timeout 40m ./...
	$(MAKE) test-matrix

CLOCKS ?= +5h +33h +61h +89h +117h +145h +173h
FLIGHTS ?= ../shared/data/flights-3m.csv.gz

.PHONY: test-flights
test-flights: postgres ## Three million real flights, day by day, with late rows and raw data that leave (FLIGHTS=path of flights-3m.csv.gz)
	MVSCHEDULER_FLIGHTS=$(abspath $(FLIGHTS)) go test ./integration -run '^TestRollupsOfThreeMillionRealFlights' -count 1 -timeout 60m -v

.PHONY: test-matrix
test-matrix: ## The tests that talk to a server, on PostgreSQL 16, 17 and 18 (MATRIX="17 18" chooses)
	@set -e; for version in $(MATRIX); do \
	    dir=$$(scripts/matrix-postgres $$version); \
	    echo "== PostgreSQL $$version: $$dir"; \
	    MVSCHEDULER_TEST_PG_BINDIR=$$dir go test -count=1 -timeout 25m ./migrations ./catalog ./refresh ./internal/pgexec ./integration; \
	done

.PHONY: test-clock
test-clock: ## The tests with a history of reads, on servers whose clock is at other hours of other days (CLOCKS="+27h -90m" chooses; needs libfaketime)
	@set -e; for offset in $(CLOCKS); do \
	    dir=$$(scripts/shifted-postgres $$offset); \
	    echo "== a clock that is off by $$offset"; \
	    MVSCHEDULER_TEST_PG_BINDIR=$$dir go test -count=1 -timeout 25m ./integration \
	        -run "^($$(grep -lE 'history\(t|mvscheduler.sampled' integration/*_test.go | xargs grep -L '^	heavy(t)' | xargs sed -n 's/^func \(Test[A-Za-z0-9]*\)(.*/\1/p' | paste -sd'|'))$$"; \
	done

.PHONY: image
image: ## The container image mvscheduler:local (VERSION=v1.2.3 names it)
	docker build -t mvscheduler:local --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse --short=12 HEAD) .

.PHONY: test-docker
test-docker: ## docker compose for real; starts an engine and makes the images where there are none
	deploy/docker/test.sh

.PHONY: test-deploy
test-deploy: ## The Kubernetes manifests by Kubernetes' own types, the systemd unit, the compose file
	go test ./deploy
	go -C deploy/kubernetes/check test ./...

.PHONY: test-image
test-image: ## The integration tests on a PostgreSQL image that testcontainers runs (IMAGE=postgres:17)
	MVSCHEDULER_TEST_IMAGE=$(or $(IMAGE),postgres:17) go test -count=1 -timeout 20m ./migrations ./integration

.PHONY: build
build: ## The program, as bin/mvscheduler
	CGO_ENABLED=0 go build -trimpath -o bin/mvscheduler ./cmd/mvscheduler

.PHONY: docs
docs: postgres ## docs/reference.md anew from the code; a test fails when it is out of date
	go test ./cmd/mvscheduler -run '^TestTheReference' -count=1 -update

.PHONY: pictures
pictures: ## docs/graph.svg and docs/timeline.svg anew, as the pages draw them; a test fails when they are out of date
	go test ./internal/web -run '^TestThePictures' -count=1 -update

.PHONY: bench
bench: postgres build ## What mvscheduler costs over the bare statements; writes docs/benchmark.md and .svg (takes 15 minutes)
	go run ./internal/bench -out docs/benchmark

.PHONY: bench-large
bench-large: postgres build ## The incremental view at 1, 10 and 50 million rows; writes docs/benchmark-large.md (takes an hour, 30 GB)
	go run ./internal/bench -only incremental -rows 1000000,10000000,50000000 -rounds 10 -out docs/benchmark-large

TRACES ?= ../shared/traces/dev

.PHONY: bench-optimizer
bench-optimizer: ## The optimizer beside other policies, on the traces of TRACES
	MVSCHEDULER_TRACES=$(abspath $(TRACES)) go test ./optimizer -run '^TestBars' -bench "HourOfAThousandViews|Review" -benchtime 2s -count 1 -v
	go test ./jobs -run "^$$" -bench AnHourOfTheCollector -benchtime 1x -count 1
	go test ./jobs -run "^$$" -bench PlanningAThousandViews -benchtime 2x -count 1

.PHONY: lint
lint: ## gofmt, go vet, golangci-lint
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.6.2 run --allow-parallel-runners

.PHONY: postgres
postgres: ## Find the PostgreSQL binaries of this machine; install them on Debian and Ubuntu as root
	@scripts/need-postgres

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin

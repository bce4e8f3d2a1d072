# Every target with a "##" comment is listed by `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build test check format lint demo demo-kill clean setup sim bench-collectives bench-memory bench-sched bench-train bench-serve soak-train soak-serve images check-rules

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the programs, the tests and the benchmarks
	@build/build.sh all

setup: ## Install what the tests need (Debian packages, as root)
	@build/setup-tests.sh

test: setup build ## Run every test that needs no GPU (T="Core.Tests ..." for some)
	@build/test.sh $(T)

lint: ## Check formatting and the protobuf definitions
	@build/lint.sh

format: ## Format the sources
	@dotnet format whitespace Platform.sln --no-restore --exclude artifacts

check: lint test ## What CI runs: format, analyzers, build, tests

demo: ## Train, register, deploy and query a small language model (DATA=path for your own text)
	@build/demo.sh

demo-kill: ## The demo, with a rank killed half-way: the gang resumes and finishes
	@KILL_RANK=1 build/demo.sh

sim: ## Simulate gangs under faults over many seeds (SEEDS=n), and a storm of random events (EVENTS=n)
	@build/build.sh all && PLATFORM_SIM_SEEDS=$(or $(SEEDS),5000) PLATFORM_SIM_EVENTS=$(or $(EVENTS),1000000) build/test.sh Simulation.Tests

bench-collectives: ## Time the collectives beside a plain socket copy
	@build/build.sh all && artifacts/bin/Platform.Benchmarks/release/Platform.Benchmarks collectives

bench-train: ## Time training beside the matrix-product rate, eight ranks beside one process, collectives (QUICK=1 for a trial)
	@build/build.sh all && artifacts/bin/Platform.Benchmarks/release/Platform.Benchmarks train $(if $(QUICK),--quick)

bench-serve: ## Measure serving beside llama.cpp and beside itself (QUICK=1 for a trial)
	@build/build.sh all && artifacts/bin/Platform.Benchmarks/release/Platform.Benchmarks serve $(if $(QUICK),--quick)

soak-train: ## Watch the memory of one process over 2,000 training steps
	@build/build.sh all && artifacts/bin/Platform.Benchmarks/release/Platform.Benchmarks soak-train

soak-serve: ## Watch allocation, collections and memory of the serving engine over 100,000 requests
	@build/build.sh all && artifacts/bin/Platform.Benchmarks/release/Platform.Benchmarks serve --only managed_bytes_per_iteration,soak $(if $(QUICK),--quick)

bench-memory: ## Measure live tensor bytes per rank beside the planner's prediction (QUICK=1 for two layouts)
	@build/build.sh all && artifacts/bin/Platform.Benchmarks/release/Platform.Benchmarks memory $(if $(QUICK),--quick)

bench-sched: ## Measure how full and how fast gangs are placed (OPENB=directory of the openb trace, ONLY=durable,kueue, QUICK=1)
	@build/build.sh all && artifacts/bin/Platform.Benchmarks/release/Platform.Benchmarks scheduling $(or $(OPENB),shared/data/openb) $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

images: ## Publish the services and build their container images (needs Docker)
	@build/publish.sh
	@for service in gateway scheduler worker serving standalone; do \
		docker build -q -f deploy/docker/$$service.Dockerfile -t platform/$$service artifacts/publish || exit 1; \
	done

check-rules: ## Check the Prometheus configuration and run the unit tests of its rules (needs promtool)
	@cd deploy/prometheus && promtool check config prometheus.yml standalone.yml && promtool test rules rules_test.yml

clean: ## Delete everything that was built
	@rm -rf artifacts

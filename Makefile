# The one entry point: everything that CI does is a target here, and CI calls
# these targets. Needs Go; test-kafka, test-sasl, test-functions, kafka, kafka3, chaos* and soak also Java and Maven.

GO       ?= go
BIN      := bin/klamm
VERSION  ?=
FUZZTIME ?= 10s
LINT     := golangci-lint
LINT_AT  := v2.15.0
TOOLS    := $(CURDIR)/bin/tools
ACCEPT   ?= ../shared/accept
BENCH    ?=
CHAOS    ?=
CONSOLE  ?=
PACKAGES ?= ./...

# The integration packages are those whose tests run on a real cluster if there is one.
integration = $(sort $(dir $(shell grep -rl --include='*_test.go' -e KLAMM_TEST_BROKERS -e brokertest -e fronttest .)))

.PHONY: build
build: ## build bin/klamm, static and stripped (the default)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/klamm

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-17s %s\n", $$1, $$2}'

.PHONY: check
check: format vet lint generated race ## everything that must hold before a commit; import rules are one of the tests

.PHONY: format
format: ## fail if a file is not gofmt's
	@out=$$(gofmt -s -l $$(find . -name '*.go' -not -path './bin/*')); [ -z "$$out" ] || { echo "not formatted (gofmt -s -w):"; echo "$$out"; exit 1; }

.PHONY: vet
vet: ## go vet
	$(GO) vet $(PACKAGES)

.PHONY: lint
lint: $(TOOLS)/$(LINT)-$(LINT_AT) ## the linters of .golangci.yml
	$< run $(PACKAGES)

$(TOOLS)/$(LINT)-$(LINT_AT):
	GOBIN=$(TOOLS) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/$(LINT)@$(LINT_AT)
	mv $(TOOLS)/$(LINT) $@

.PHONY: test
test: ## all tests; nothing but Go is needed
	$(GO) test $(PACKAGES)

.PHONY: race
race: ## all tests under the race detector
	$(GO) test -race $(PACKAGES)

.PHONY: imports
imports: ## only the rules for who may import whom
	$(GO) test -count=1 -run '^TestImports' ./app/

.PHONY: test-kafka
test-kafka: ## the integration tests on Apache Kafka, started for them
	deploy/kafka/run -- $(GO) test -count=1 -p 1 $(integration)

.PHONY: test-sasl
test-sasl: ## logins to Apache Kafka by every mechanism and by certificate, with ACLs and passwords that change (needs openssl, too)
	deploy/kafka/run --sasl -- $(GO) test -count=1 -p 1 -run 'ApacheKafka$$|MappedCallers|LogIn' ./kafka/ ./app/

.PHONY: test-clients
test-clients: build ## clients of the original APIs, unmodified, against klamm (needs Node and npm)
	deploy/clients/run $(BIN)

.PHONY: test-functions
test-functions: build ## Lambda functions in Go, Python and Node, unmodified, behind mappings on Apache Kafka (needs Python, Node and npm, too)
	deploy/kafka/run -- deploy/clients/functions/run $(BIN)

.PHONY: test-kcat
test-kcat: kcat ## klamm consume and produce beside kcat, on the embedded broker
	KLAMM_TEST_KCAT=1 $(GO) test -count=1 -run BesideKcat ./cmd/klamm

.PHONY: test-kcat-kafka
test-kcat-kafka: kcat ## the same on Apache Kafka
	KLAMM_TEST_KCAT=1 deploy/kafka/run -- $(GO) test -count=1 -run BesideKcat ./cmd/klamm

.PHONY: kcat
kcat: # installs it by apt where it can
	@command -v kcat >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends kcat; }

.PHONY: test-serializers
test-serializers: build ## Confluent's Python serializers through klamm's registry and a foreign one (needs Python, Java and Maven)
	deploy/clients/serializers/run $(BIN)
	deploy/clients/serializers/run --foreign $(BIN)

.PHONY: examples
examples: build ## the examples, by copy and paste from their READMEs
	deploy/examples/run $(BIN)

.PHONY: test-long
test-long: ## the tests that wait for long, which go test leaves out
	KLAMM_TEST_LONG=1 $(GO) test -count=1 ./app ./deploy/chaos ./peer

.PHONY: proofs
proofs: test-long test-sasl test-functions test-serializers test-kcat-kafka examples-kafka ## what CI leaves out: tests that wait for long, logins, functions in three languages, Confluent's serializers, the examples on Apache Kafka

.PHONY: examples-kafka
examples-kafka: build ## the examples that run on any cluster, on Apache Kafka
	deploy/kafka/run -- sh -c 'BROKERS=$$KLAMM_TEST_BROKERS deploy/examples/run $(BIN) fraud'

.PHONY: console
console: build ## every screen of the web console in Chromium (needs Node and npm); CONSOLE='-- screens.test.js'
	deploy/console/run $(BIN) $(CONSOLE)

.PHONY: console-pictures
console-pictures: build ## write the pictures of docs/console.md anew
	deploy/console/run --pictures docs/pictures $(BIN)

.PHONY: kafka
kafka: ## Apache Kafka on 127.0.0.1:9092 until Ctrl-C
	deploy/kafka/run --port 9092

.PHONY: kafka3
kafka3: ## Apache Kafka with three nodes on 127.0.0.1:9092-9094 until Ctrl-C
	deploy/kafka/run --nodes 3 --port 9092

.PHONY: accept
accept: ## the acceptance checks, where they are; PARTS="1 -- -m 'not slow'"
	@if [ -x $(ACCEPT)/run ]; then $(ACCEPT)/run $(PARTS); else echo "no acceptance checks in $(ACCEPT)"; fi

.PHONY: bench
bench: build ## klamm beside a bare Go program on this machine; BENCH='front --runs 1'
	$(BIN) bench $(BENCH)

.PHONY: chaos
chaos: build bin/chaos ## a million records through kills, rebalances and a lost broker (minutes; needs Java); RECORDS, KILLS, REBALANCES, SEED
	deploy/kafka/run --nodes 3 --control -- bin/chaos records $(if $(RECORDS),-records $(RECORDS)) $(if $(KILLS),-kills $(KILLS)) $(if $(REBALANCES),-rebalances $(REBALANCES)) $(if $(SEED),-seed $(SEED)) $(CHAOS)

.PHONY: chaos-backlog
chaos-backlog: build bin/chaos ## klamm's memory while 5 GB wait for a target that is down; BYTES
	deploy/kafka/run -- bin/chaos backlog $(if $(BYTES),-bytes $(BYTES)) $(CHAOS)

.PHONY: chaos-endpoints
chaos-endpoints: build bin/chaos ## what 500 dead endpoints of 10,000 cost the others; ENDPOINTS, DEAD
	deploy/kafka/run -- bin/chaos endpoints $(if $(ENDPOINTS),-endpoints $(ENDPOINTS)) $(if $(DEAD),-dead $(DEAD)) $(CHAOS)

.PHONY: chaos-changes
chaos-changes: build bin/chaos ## 50 pipes changed at random on three processes, one of which is killed each minute; LASTING, SEED
	deploy/kafka/run --nodes 3 -- bin/chaos changes $(if $(LASTING),-lasting $(LASTING)) $(if $(SEED),-seed $(SEED)) $(CHAOS)

.PHONY: chaos-definitions
chaos-definitions: build bin/chaos ## 10,000 definitions: start, memory, and how fast a new and a changed one act; DEFINED, ACTIVE
	deploy/kafka/run -- bin/chaos definitions $(if $(DEFINED),-defined $(DEFINED)) $(if $(ACTIVE),-active $(ACTIVE)) $(CHAOS)

.PHONY: chaos-functions
chaos-functions: build bin/chaos ## functions and klamms killed in the middle of batches of a pipe and a mapping; RECORDS, KILLS, SEED
	deploy/kafka/run --nodes 3 -- bin/chaos functions $(if $(RECORDS),-records $(RECORDS)) $(if $(KILLS),-kills $(KILLS)) $(if $(SEED),-seed $(SEED)) $(CHAOS)

.PHONY: chaos-bus
chaos-bus: build bin/chaos ## events put on a bus through kills and a lost broker: what is accepted arrives, what is refused does not; EVENTS, KILLS, SEED
	deploy/kafka/run --nodes 3 --control -- bin/chaos bus $(if $(EVENTS),-events $(EVENTS)) $(if $(KILLS),-kills $(KILLS)) $(if $(SEED),-seed $(SEED)) $(CHAOS)

.PHONY: chaos-firsts
chaos-firsts: build bin/chaos ## the first events of 20 new buses, each with a klamm killed within its first second; ROUNDS, SEED
	deploy/kafka/run -- bin/chaos firsts $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(SEED),-seed $(SEED)) $(CHAOS)

.PHONY: bin/chaos
bin/chaos:
	$(GO) build -trimpath -o $@ ./deploy/chaos

.PHONY: siege
siege: build bin/siege ## what attackers do, and what it costs the others; limits and quotas held to their bounds (minutes); SIEGE='-only bombs'
	bin/siege -klamm $(BIN) $(SIEGE)

.PHONY: bin/siege
bin/siege:
	$(GO) build -trimpath -o $@ ./deploy/siege

.PHONY: soak
soak: build bin/soak ## reading over HTTP on several processes: killed, added, removed, left, broken off (minutes; needs Java); SOAK="streams"
	@for proof in $(or $(SOAK),consumers churn bad leave streams); do \
		[ $$proof = churn ] && set -- consumers -churn 5m || set -- $$proof; \
		deploy/kafka/run --nodes 3 -- bin/soak "$$@" || exit 1; done

.PHONY: bin/soak
bin/soak:
	$(GO) build -trimpath -o $@ ./deploy/soak

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's/^(.*)\/[^/]+:[0-9]+:func (.*)/\1 \2/' | sort | while read -r dir name; do \
		echo "$$dir $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; done

.PHONY: docs
docs: ## write the generated parts of docs/
	$(GO) generate ./...

.PHONY: generated
generated: ## fail if docs/ is not what make docs writes
	@before=$$(mktemp -d); trap 'rm -rf "$$before"' EXIT; cp -R docs/. "$$before"; $(MAKE) --no-print-directory docs; \
		diff -ru "$$before" docs || { echo "docs/ was out of date; it is written anew, look at the difference above"; exit 1; }

.PHONY: clean
clean: ## remove bin/
	rm -rf bin

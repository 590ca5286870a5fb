#!/bin/sh
# Runs every fuzz target of the module for a while, one at a time. Usage: scripts/fuzz.sh 30s
# Targets are found in the sources: to ask each test binary for them would be to build them all.
time=${1:-30s}
status=0
for dir in $(go list -f '{{.Dir}}' ./...); do
	for target in $(cat "$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do
		package=$(go list "$dir")
		echo "fuzz: $package $target $time"
		go test -vet=off -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" || status=1
	done
done
exit $status

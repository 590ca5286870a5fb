#!/bin/sh
# Runs every fuzz target of the module for a while, one at a time. Usage: scripts/fuzz.sh 30s
time=${1:-30s}
status=0
for package in $(go list ./...); do
	for target in $(go test -vet=off -list '^Fuzz' "$package" | grep '^Fuzz'); do
		echo "fuzz: $package $target $time"
		go test -vet=off -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" || status=1
	done
done
exit $status

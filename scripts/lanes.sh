#!/bin/sh
# Runs each test lane, goes on past a failure, and ends with a table of times. Usage: scripts/lanes.sh LANE…
failed=""
table=""
all=$(date +%s)
for lane in "$@"; do
	printf '\n== test-%s\n' "$lane"
	start=$(date +%s)
	if ${MAKE:-make} "test-$lane"; then result=ok; else
		result=FAILED
		failed="$failed test-$lane"
	fi
	table="$table$(printf '%-16s %5d s  %s' "test-$lane" $(($(date +%s) - start)) $result)
"
done
printf '\n%s%-16s %5d s\n' "$table" all $(($(date +%s) - all))
[ -z "$failed" ] && exit 0
printf '\nfailed:%s (each runs alone: make LANE)\n' "$failed" >&2
exit 1

#!/bin/sh
# Says which tools are missing, all at once, with the way to get each; exits 1 if any is.
# Usage: scripts/need.sh [go] [cc] [python] [tar] [npm]       (run from the root of the repository)
missing=0
PYTHON=${PYTHON:-python3}

lack() {
	missing=1
	printf 'missing: %s\n     get: %s\n' "$1" "$2" >&2
}

# at_least HAVE WANT: both like 1.26.3
at_least() {
	[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

need_go() {
	want=$(sed -n 's/^go \([0-9.]*\).*/\1/p' go.mod)
	get="the archive for Linux on the Go download page, or your distribution's golang package where it is new enough"
	command -v go >/dev/null || { lack "go (Go $want or newer)" "$get"; return; }
	have=$(go env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//')
	at_least "${have:-0}" "$want" || lack "go $want or newer (this one is ${have:-unknown})" "$get"
}

need_cc() {
	cc=$(go env CC 2>/dev/null)
	cc=${cc:-gcc}
	command -v "${cc%% *}" >/dev/null ||
		lack "$cc, a C compiler (cgo compiles the binding to ONNX Runtime)" "apt install gcc libc6-dev, or: dnf install gcc"
}

# Python is used for set-up only, so one that made build/venv before is enough.
need_python() {
	[ -x build/venv/bin/python ] && build/venv/bin/python -c '' 2>/dev/null && return
	get="apt install python3 python3-venv, or: dnf install python3, or: conda install python (3.11 to 3.14)"
	command -v "$PYTHON" >/dev/null || { lack "$PYTHON (Python 3.11 to 3.14, for set-up only)" "$get"; return; }
	"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || {
		lack "Python 3.11 to 3.14, for set-up only ($PYTHON is $("$PYTHON" -V 2>&1))" "$get; or name another: make PYTHON=/path/to/python3"
		return
	}
	"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || lack "$PYTHON's venv module" "apt install python3-venv"
}

need_tar() {
	command -v tar >/dev/null || lack tar "apt install tar"
	command -v gzip >/dev/null || lack gzip "apt install gzip"
}

need_npm() {
	command -v npm >/dev/null || lack "npm (vocabularies that tests compare with ship in its packages)" "apt install npm, or: dnf install npm"
}

for tool in "$@"; do
	case $tool in
	go) need_go ;;
	cc) need_cc ;;
	python) need_python ;;
	tar) need_tar ;;
	npm) need_npm ;;
	*) echo "need.sh: unknown tool $tool" >&2; exit 2 ;;
	esac
done
exit $missing

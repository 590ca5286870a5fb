#!/bin/sh
# Packs the binary, ONNX Runtime's library and the licences into one tarball, and tries it out from another folder.
# Usage: scripts/dist.sh VERSION MODEL_FOLDER         (run from the root, after make build)
set -e
name="penstock-$1-linux-$(go env GOARCH)"
model=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

pack="$tmp/$name"
mkdir -p "$pack/lib" "$pack/licenses" dist
cp build/bin/penstock "$pack/"
cp -L build/lib/libonnxruntime.so "$pack/lib/"
cp LICENSE THIRD_PARTY.md README.md "$pack/"
cp build/lib/onnxruntime-LICENSE.txt build/lib/onnxruntime-ThirdPartyNotices.txt "$pack/licenses/"
cp "$model/LICENSE" "$pack/licenses/$(basename "$model")-LICENSE.txt"
cp "$model/LICENSE.package" "$pack/licenses/$(basename "$model")-package-LICENSE.txt"
tar -C "$tmp" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct 2>/dev/null || echo 0)" \
	-cf - "$name" | gzip -n >"dist/$name.tar.gz.tmp"
mv "dist/$name.tar.gz.tmp" "dist/$name.tar.gz"

# The smoke test: unpacked elsewhere, run from elsewhere, with none of this tree in the environment.
mkdir "$tmp/unpacked" "$tmp/cwd"
tar -C "$tmp/unpacked" -xzf "dist/$name.tar.gz"
cd "$tmp/cwd"
run() {
	env -i PATH=/usr/bin:/bin HOME="$tmp/cwd" "$tmp/unpacked/$name/penstock" "$@" >out.txt 2>&1 || {
		echo "dist: penstock $* failed outside the tree:" >&2
		cat out.txt >&2
		exit 1
	}
}
run --help
run doctor
grep -q "$tmp/unpacked/$name/lib/libonnxruntime.so" out.txt || {
	echo "dist: penstock doctor does not use the library of the tarball:" >&2
	cat out.txt >&2
	exit 1
}
cd - >/dev/null
echo "dist/$name.tar.gz ($(du -h "dist/$name.tar.gz" | cut -f 1)), runs from any folder"

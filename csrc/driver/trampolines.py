"""Write the trampolines of libcuda.a, one for each symbol of symbols.txt, from the prototypes in cuda.h.

    python trampolines.py INCLUDE_DIR symbols.txt trampolines.c

The names in symbols.txt are those that programs write. The header maps some to a version of theirs (cuMemAlloc is
cuMemAlloc_v2); the compiler's preprocessor says which, so the trampoline has the versioned name, that name is what is
looked for in the real library, and the types are the header's own: right on every machine's calling convention.
"""
import os
import re
import shlex
import subprocess
import sys

PROTOTYPE = re.compile(r"\bCUresult\s+(cu\w+)\s*\(([^(){};]*)\)\s*;")

HEAD = """\
/* Made by trampolines.py from symbols.txt and cuda.h; not for editing. */
#include "driver.h"

#include <stdatomic.h>
"""

BODY = """
CUresult CUDAAPI {name}({params})
{{
	static _Atomic(void *) known;
	void *fn = atomic_load_explicit(&known, memory_order_acquire);
	if (!fn) {{
		CUresult result = penstock_driver_find("{name}", &fn);
		if (result != CUDA_SUCCESS)
			return result;
		atomic_store_explicit(&known, fn, memory_order_release);
	}}
	return ((CUresult (*)({types}))fn)({names});
}}
"""


def preprocess(include, names):
    """The header after the preprocessor, and what each name is called in it."""
    source = "#include <cuda.h>\n" + "".join(f'penstock "{n}" {n}\n' for n in names)
    cmd = [*shlex.split(os.environ.get("CC", "cc")), "-E", "-P", "-I", include, "-x", "c", "-"]
    text = subprocess.run(cmd, input=source, check=True, capture_output=True, text=True).stdout
    return text, dict(re.findall(r'^penstock "(\w+)" (\w+)$', text, re.MULTILINE))


def parameters(text):
    """[(type, name)] of a parameter list without function pointers in it."""
    if text.strip() in ("", "void"):
        return []
    out = []
    for param in text.split(","):
        kind, name, array = re.fullmatch(r"\s*(.*?)(\w+)\s*((?:\[\w*\])*)\s*", param, re.DOTALL).groups()
        out.append((" ".join(kind.split()) + " *" * array.count("["), name))
    return out


def main():
    include, listed, target = sys.argv[1:]
    with open(listed) as f:
        names = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    text, called = preprocess(include, names)
    prototypes = dict(PROTOTYPE.findall(text))
    unknown = sorted(n for n in names if called[n] not in prototypes)
    if unknown:
        sys.exit(f"trampolines: cuda.h in {include} has no {', '.join(unknown)}: is it that of CUDA 12?")
    parts = [HEAD]
    for name in sorted({called[n] for n in names}):
        params = parameters(prototypes[name])
        parts.append(BODY.format(
            name=name, params=", ".join(f"{t} {n}" for t, n in params) or "void",
            types=", ".join(t for t, _ in params) or "void", names=", ".join(n for _, n in params)))
    with open(target, "w") as f:
        f.write("".join(parts))


if __name__ == "__main__":
    main()

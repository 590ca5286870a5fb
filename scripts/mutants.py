"""Put one fault at a time into the GPU hot path and see whether its tests fail: make test-mutants.

Each fault replaces one passage of a file, by Go's own overlay of files: the tree itself is not touched. A fault is
caught when the tests that passed without it fail with it. A passage that is not in its file exactly once, or a fault
that does not compile, is an error: the list has to follow the code. Only the standard library.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "./infer/gpu"
SLOT, OWNER = "infer/gpu/slot.go", "infer/gpu/owner.go"

MUTANTS = [
    ("an event is not recorded", SLOT,
     "	return a.in.Record(s.events[inDone])",
     "	return nil"),
    ("a wait on the wrong stream", SLOT,
     "a.compute.Wait(s.events[inDone])",
     "a.out.Wait(s.events[inDone])"),
    ("a slot used again before its run is over", OWNER,
     "		s.wait = outDone\n		err = s.queueOut()\n",
     "		err = s.queueOut()\n		s.wait = inDone\n"),
    ("page-locked memory given back while it is copied", SLOT,
     "	return a.in.Record(s.events[inDone])",
     "	a.pool.Free(s.hostIn)\n	s.hostIn = nil\n	return a.in.Record(s.events[inDone])"),
    ("the copy out before the computing", SLOT,
     "	if err := a.out.Wait(s.events[computeDone]); err != nil {\n		return err\n	}\n",
     ""),
    ("the last row of a batch left out", SLOT,
     "s.copyOut(to[int64(first)*x.row:int64(end)*x.row], ",
     "s.copyOut(to[int64(first)*x.row:int64(end-1)*x.row], "),
    ("the order of rows lost", SLOT,
     "			return s.copyOut(to[int64(first)*x.row:int64(end)*x.row], s.devOut.Ptr()+cuda.Ptr(x.dev+int64(k)*x.part))\n",
     "			for r := int64(first); r < int64(end); r++ {\n"
     "				from := s.devOut.Ptr() + cuda.Ptr(x.dev+int64(k)*x.part+(int64(end)-1-r)*x.row)\n"
     "				if err := s.copyOut(to[r*x.row:(r+1)*x.row], from); err != nil {\n"
     "					return err\n"
     "				}\n"
     "			}\n"
     "			return nil\n"),
    ("ordinary memory passed as page-locked", SLOT,
     "return pinned.KindOf(b) != pinned.PageLocked",
     "return false && pinned.KindOf(b) != pinned.PageLocked"),
]


def passes(overlay=None):
    """Whether the tests pass; what does not compile ends the program."""
    argv = ["go", "test", "-vet=off", "-count=1", "-timeout=120s", *(["-overlay", overlay] if overlay else []), PACKAGE]
    got = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if "[build failed]" in got.stdout or "[setup failed]" in got.stdout:
        sys.exit(f"mutants: it does not compile:\n{got.stdout}")
    return got.returncode == 0, got.stdout


def mutated(folder, number, file, before, after):
    """Writes the file with the fault in it, and the overlay that puts it in the place of the real one."""
    text = (ROOT / file).read_text()
    if text.count(before) != 1:
        sys.exit(f"mutants: {file} has the passage of fault {number} {text.count(before)} times, not once:\n{before}")
    copy = folder / f"{number}.go"
    copy.write_text(text.replace(before, after))
    overlay = folder / f"{number}.json"
    overlay.write_text(json.dumps({"Replace": {str(ROOT / file): str(copy)}}))
    return overlay


def main():
    ok, out = passes()
    if not ok:
        sys.exit(f"mutants: the tests fail without any fault:\n{out}")
    caught = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, file, before, after) in enumerate(MUTANTS, 1):
            survived, _ = passes(mutated(pathlib.Path(folder), number, file, before, after))
            caught += not survived
            print(f"{'NOT caught' if survived else 'caught':10}  {name}", flush=True)
    print(f"{caught} of {len(MUTANTS)} caught")
    sys.exit(caught != len(MUTANTS))


if __name__ == "__main__":
    main()

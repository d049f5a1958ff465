"""Running the program from the oracle scripts, and keeping score."""
import importlib.util
import json
import pathlib
import subprocess
import sys
import types

from safetensors.numpy import load_file


SHOWN = 60  # wrong checks that are printed; all are counted


def bare_package(name):
    """A package without what its __init__ imports."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    module = types.ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = module


class Failed(Exception):
    """The program ended otherwise than it should."""


class Sonde:
    """The program under test. `run` gives the finished process; a wrong exit status raises with its stderr."""

    def __init__(self, program):
        self.program = str(pathlib.Path(program).resolve())

    def run(self, *arguments, status=0, stdin=None):
        line = [self.program, *map(str, arguments)]
        done = subprocess.run(line, input=stdin, capture_output=True, timeout=600)
        if done.returncode != status:
            text = done.stderr.decode(errors="replace").strip()
            raise Failed(f"exit status {done.returncode}, not {status}: {' '.join(line)}\n    {text}")
        return done

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json", "-q").stdout)

    def act(self, path, model, *arguments):
        """`sonde act` into a safetensors file, read by the safetensors library."""
        self.run("act", model, *arguments, "-q", "-o", path)
        return load_file(path)


class Score:
    """Counts what was checked and prints what was wrong; `done` gives the exit status."""

    def __init__(self):
        self.checked, self.wrong = 0, 0

    def check(self, name, ok, detail=""):
        self.checked += 1
        if not ok:
            self.wrong += 1
        if not ok and self.wrong <= SHOWN:
            print(f"WRONG {name} {detail}", flush=True)
        return ok

    def attempt(self, name, fn, *arguments):
        """Runs a group of checks; an exception is one wrong."""
        try:
            return fn(*arguments)
        except Exception as error:
            self.check(name, False, f"{type(error).__name__}: {error}")

    def done(self):
        print(f"{self.checked} checks, {self.wrong} wrong")
        return 1 if self.wrong or not self.checked else 0

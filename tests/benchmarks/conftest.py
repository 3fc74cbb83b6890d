"""The benchmarks are scripts: their folder is where Python looks for what they share."""

import pathlib
import sys

# Behind the tests' own folders, one of which is called as a benchmark is.
sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))

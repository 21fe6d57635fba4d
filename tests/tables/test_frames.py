"""A library of data frames that is not installed is asked for in one line."""

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["polars"] = None  # what Python does for a package that is not there
import torch, vitdecomp as vd
c = vd.Contributions(torch.ones(1, 1, 2), (vd.Component("embed", "embed"),), torch.zeros(1))
c.to_dataframe("pyarrow")
try:
    c.to_dataframe("polars")
except vd.SpecError as error:
    print(error)
"""


def test_a_library_that_is_not_installed_is_named_with_the_command_that_installs_it():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "data frames of polars need it: pip install polars"

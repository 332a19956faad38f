"""The sweep's settings are light: the command's help must not load torch."""

import subprocess
import sys


def test_it_loads_nothing_heavy():
    code = "import sys, lorerm.evaluation.few_shot_config; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"

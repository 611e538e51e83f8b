import subprocess
import sys


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "sidelight", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    wrong = subprocess.run([sys.executable, "-m", "sidelight", "methods", "simclrr"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "Did you mean 'simclr'" in wrong.stderr

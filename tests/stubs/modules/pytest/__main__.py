import os
import sys
from pathlib import Path

with open(Path(os.environ["CALLS"]) / "pytest", "a") as calls:
    print(Path.cwd().name, *sys.argv[1:], file=calls)
outcome = Path("outcome")
sys.exit(int(outcome.read_text()) if outcome.exists() else 0)

import os
import re
import signal
import sys
from pathlib import Path

with open(Path(os.environ["CALLS"]) / "pip", "a") as calls:
    print(*sys.argv[1:], file=calls)
if re.search(os.environ.get("PIP_KILLED_AT", "^$"), " ".join(sys.argv[1:])):
    os.kill(os.getpid(), signal.SIGKILL)
if re.search(os.environ.get("PIP_FAILS_AT", "^$"), " ".join(sys.argv[1:])):
    sys.exit(1)
for argument in sys.argv[1:]:
    if match := re.match(r"\./(\w+)", argument):
        script = Path(sys.prefix) / "bin" / match[1].replace("_", "-")
        program = Path.cwd() / match[1] / "command.py"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
        script.chmod(0o755)

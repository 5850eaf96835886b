import os
import shutil
import sys
import sysconfig
from pathlib import Path

if "NO_ENSUREPIP" in os.environ:
    sys.exit(1)
with open(Path(os.environ["CALLS"]) / "ensurepip", "a") as calls:
    print(*sys.argv[1:], file=calls)
stub = Path(__file__).parents[2] / "installed" / "pip"
shutil.copytree(stub, Path(sysconfig.get_path("purelib")) / "pip", dirs_exist_ok=True)

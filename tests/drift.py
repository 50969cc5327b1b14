"""The package is exactly what the notebooks export, and the notebooks are clean: exit 1 and say what differs otherwise."""
import subprocess, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
files = lambda: {p.relative_to(root): p.read_bytes() for d in ("nbs/*.ipynb", "nc_robust/*.py") for p in root.glob(d)}
bin_dir = Path(sys.executable).parent

before = files()
for command in ("nbdev_export", "nbdev_clean"): subprocess.run([bin_dir / command], cwd=root, check=True)
after = files()
drifted = sorted(str(p) for p in before.keys() | after.keys() if before.get(p) != after.get(p))
orphans = [str(p) for p, text in after.items() if p.suffix == ".py" and p.name not in ("__init__.py", "_modidx.py")
           and not (root / "nc_robust" / text.decode().split("File to edit: ")[-1].split("\n")[0].rstrip(".")).exists()]
if drifted: print("out of step with the notebooks (they are now exported and cleaned; commit them):", *drifted, sep="\n  ")
if orphans: print("modules that no notebook exports:", *orphans, sep="\n  ")
sys.exit(bool(drifted or orphans))

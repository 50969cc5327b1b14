"""The code of a notebook on a machine without Jupyter, papermill and nbdev: python tests/cells.py nbs/19_bench.ipynb with_steps=False
Runs cell after cell, with these parameters, and says how long each took; tables go where the notebook writes them, no picture is shown."""
import json, sys, time
from pathlib import Path
import matplotlib

def main(path, *given):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent)); matplotlib.use("agg")
    names, parameters = {"__name__": "__main__", "display": print}, "\n".join(("# Parameters", *given))          # as papermill gives them
    for i, cell in enumerate(json.loads(Path(path).read_text(encoding="utf-8"))["cells"]):
        code = "".join(cell["source"])
        if cell["cell_type"] != "code" or "nbdev" in code or code.startswith("#| default_exp"): continue
        began = time.time()
        exec(compile(code, f"{path}, cell {i}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()): exec(parameters, names); names["In"] = [parameters]
        print(f"cell {i}: {time.time() - began:.1f} s", flush=True)

if __name__ == "__main__": main(*sys.argv[1:])

# Every figure, from the runs it needs. `make figures` calls this; it shows what is done and what remains,
# goes on after being killed, and on a cluster takes Snakemake's own options (--executor, --jobs, --set-threads).
#   snakemake -j2 --config scale=quick                      all figures
#   snakemake -j2 --config scale=quick figures=fig2,fig4    some
#   snakemake -j16 --config scale=pilot dataset=folder:/data/cifar10 figures=fig2,fig3,trades    (cores shared by the runs)
from nc_robust import figures, files, plans
import shlex
from nc_robust.claims import CLAIMS
from nc_robust.checks import choice
from nc_robust.config import default_scale, listed
from nc_robust.machine import usable_device

for name in config: choice("config key", name, ("scale", "figures", "dataset", "data_root", "seeds"))
SCALE = config.get("scale") or default_scale()
OUT = files.out_folder()
GIVEN = {k: config[k] for k in ("dataset", "data_root", "seeds") if k in config}
PLANS = {f: figures.Figure(f, scale=SCALE, **GIVEN) for f in listed("figures", config.get("figures", list(figures.FIGURES)))}
RUNS = {r.name: r for plan in PLANS.values() for r in plan.runs + plan.baseline}
CORES = workflow.cores or 1
ALONE = usable_device().startswith("cuda")           # runs share a machine's cores, not its GPU
MARK = str(files.runs_root() / "{run}" / "finished")

def arguments(wildcards):
    "A run is a function of its configuration alone: here it is, for the command that starts one."
    return shlex.join(plans.arguments(RUNS[wildcards.run]))

rule all:
    input: expand(str(OUT / "{figure}.ipynb"), figure=PLANS), [str(OUT / "claims.csv")] if any(set(PLANS) & set(c.figures) for c in CLAIMS) else []

rule claims:
    input: expand(str(OUT / "{figure}.ipynb"), figure=PLANS)
    output: str(OUT / "claims.csv")
    params: str(OUT)
    shell: "python -c 'import sys; from nc_robust.verdicts import merge; merge(sys.argv[1])' {params:q}"

rule figure:
    input: lambda w: [MARK.format(run=r.name) for r in PLANS[w.figure].runs + PLANS[w.figure].baseline]
    output: str(OUT / "{figure}.ipynb")
    log: str(OUT / "{figure}.log")
    threads: CORES if ALONE else 1
    params: " ".join(f"-p {k} {shlex.quote(str(v))}" for k, v in (dict(scale=SCALE) | GIVEN).items())
    shell: "papermill nbs/{wildcards.figure}.ipynb {output:q} -k python3 --no-progress-bar {params} > {log:q} 2>&1"

rule run:
    output: touch(MARK)
    log: str(files.runs_root() / "{run}" / "log.txt")
    threads: CORES if ALONE else max(1, CORES // len(RUNS))
    params: arguments
    shell: "nc-robust-run {params} > {log:q}"

# Every figure, from the runs it needs. `make figures` calls this; it shows what is done and what remains, and goes on after being killed.
#   snakemake -j2 --nolock --rerun-incomplete --config scale=quick                      all figures
#   snakemake -j2 --nolock --rerun-incomplete --config scale=quick figures=fig2,fig4    some
#   snakemake -j16 --nolock --rerun-incomplete --config scale=pilot dataset=folder:/data/cifar10 seeds=1,2,3    (cores shared by the runs)
#   snakemake -j2 --nolock --config figures=fig2,trades scale=subset dataset=folder:cifar10 seeds=1,2 source=published    drawn again, not trained
# Every parameter of the notebooks is a config key. On a cluster take Snakemake's own options, among them how a job asks for its GPU there,
# and say in which precision to train: runs are named by it, and machines differ. max_minutes stops a run cleanly before its job's time is
# up, and another try goes on with it:
#   snakemake --executor slurm --jobs 8 --retries 5 --nolock --rerun-incomplete --config scale=paper precision=bf16 max_minutes=200
from nc_robust import figures, files, plans
import shlex
from nc_robust.claims import CLAIMS
from nc_robust.checks import choice
from nc_robust.config import default_scale
from nc_robust.machine import usable_device
from snakemake.exceptions import WorkflowError

KEYS = ("scale", "figures", *figures.CHOICES, *(p for p in figures.PARAMETERS if p != "scale"))
for name in config: choice("config key", name, KEYS)
SCALE = config.get("scale") or default_scale()
OUT = files.out_folder()
LIMIT = {"run": f"max_minutes={m}", "figure": f"-p max_minutes {m}"} if (m := config.get("max_minutes")) else {"run": "", "figure": ""}
PLANS = figures.planned(**{k: v for k, v in config.items() if k != "max_minutes"} | dict(scale=SCALE))
RUNS = {r.name: r for plan in PLANS.values() for r in plan.runs + plan.baseline}
try: CORES = workflow.cores or 1
except WorkflowError: CORES = 1                      # --jobs alone: the cluster's cores are not counted here
ALONE = usable_device().startswith("cuda")           # runs share a machine's cores, not its GPU
MARK = str(files.runs_root() / "{run}" / "finished")

def arguments(wildcards):
    "A run is a function of its configuration alone: here it is, for the command that starts one."
    if wildcards.run not in RUNS: raise ValueError(f"{wildcards.run} is not planned here; --config precision=... makes all machines plan alike")
    return shlex.join(plans.arguments(RUNS[wildcards.run]))

def parameters(wildcards):
    "What papermill is given: what the figure was planned with."
    return " ".join(f"-p {k} {shlex.quote(str(v))}" for k, v in PLANS[wildcards.figure].asked.items())

rule all:
    input: expand(str(OUT / "{figure}.ipynb"), figure=PLANS), [str(OUT / "claims.csv")] if any(set(PLANS) & set(c.figures) for c in CLAIMS) else []

rule claims:
    input: expand(str(OUT / "{figure}.ipynb"), figure=PLANS)
    output: str(OUT / "claims.csv")
    params: str(OUT)
    shell: "python -c 'import sys; from nc_robust.verdicts import merge; merge(sys.argv[1])' {params:q}"

rule figure:
    input: lambda w: [MARK.format(run=r.name) for r in PLANS[w.figure].runs + PLANS[w.figure].baseline if r.source == "runs"]
    output: str(OUT / "{figure}.ipynb")
    log: str(OUT / "{figure}.log")
    threads: CORES if ALONE else 1
    params: parameters
    shell: "papermill nbs/{wildcards.figure}.ipynb {output:q} -k python3 --no-progress-bar {params} {LIMIT[figure]} > {log:q} 2>&1"

rule run:
    output: touch(MARK)
    log: str(files.runs_root() / "{run}" / "log.txt")
    threads: CORES if ALONE else max(1, CORES // len(RUNS))
    params: arguments
    shell: "nc-robust-run {params} {LIMIT[run]} >> {log:q} 2>&1"

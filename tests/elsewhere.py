"""A second device for machines that have none, and a run on it. It computes on the CPU, but its tensors cannot be mixed with the CPU's.
(Random generators and files are the CPU's.)
Run as a script, in a process of its own: PyTorch counts its devices once, before the first backward pass."""
import os, sys, tempfile
from pathlib import Path
from unittest.mock import patch
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))      # where the package is not installed
from nc_robust import data, measure, replay, results, runs, train
from nc_robust.config import configure
from nc_robust.data import generator
from nc_robust.replay import asks_nothing, rerun

_setup_privateuseone_for_python_backend("elsewhere")
torch.elsewhere.get_amp_supported_dtype = lambda: [torch.bfloat16]
DEVICE = "elsewhere:0"

class Tensor(torch.Tensor):
    "A tensor `here` as one of `DEVICE`."
    @staticmethod
    def __new__(cls, here):
        t = torch.Tensor._make_wrapper_subclass(cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(),
                                                dtype=here.dtype, device=DEVICE)
        t.here = here
        return t
    def tolist(self): return self.cpu().tolist()
    def __reduce_ex__(self, protocol): return self.here.__reduce_ex__(protocol)
    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})

class Elsewhere(TorchDispatchMode):
    "Inside, tensors can be made on `DEVICE`."
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})

def each(f, x):
    "`x` with `f` of every tensor in its lists, tuples and dictionaries (`tree_map` without its cost)."
    if isinstance(x, torch.Tensor): return f(x)
    if isinstance(x, (list, tuple)): return type(x)(each(f, i) for i in x)
    return {k: each(f, v) for k, v in x.items()} if isinstance(x, dict) else x

def run(func, args, kwargs):
    "`func` on the CPU; its results lie where a GPU would have them."
    given = []
    def here(t): given.append(t); return t.here if isinstance(t, Tensor) else t
    args, kwargs, name = each(here, args), each(here, kwargs), func.name().split("::")[1].split(".")[0]
    theirs = [t for t in given if isinstance(t, Tensor)]
    target = torch.device(kwargs.get("device") or (DEVICE if theirs else "cpu")).type
    if theirs and name not in ("copy_", "_to_copy") and any(t.ndim for t in given if not isinstance(t, Tensor)):
        raise RuntimeError(f"{name}: tensors on the CPU and on {DEVICE}")
    out, known = func(*args, **kwargs | ({"device": "cpu"} if kwargs.get("device") else {})), {id(t.here): t for t in theirs}
    place = Tensor if target == "elsewhere" else lambda t: t
    return each(lambda t: known.get(id(t)) if id(t) in known else place(t), out)

def recorded_step(*args):
    "The step of a run on a GPU, with recording replaced by calling again; it may not ask for a value."
    step = replay.fast_step(*args, record=rerun)
    def call(*args):
        with asks_nothing(): return step(*args)
    call.way = step.way
    return call

def tables(device, extras, **given):
    "The tables of a run on `device`, trained in two sittings; with `extras` those of its network, too."
    os.environ["NC_ROBUST_RUNS"] = tempfile.mkdtemp(dir=os.environ["NC_ROBUST_OUT"])
    run = runs.Run(configure(scale="smoke", steps=2, per_class=6, batch_size=32, **given), device=device)
    try: runs.history(run, max_minutes=0, progress=False)
    except runs.Stopped: assert run.epochs_done == 1
    found = [runs.history(run, progress=False), *(results.extra(run, e) for e in ("layers", "predicted", "adaptive") if extras)]
    assert run.data.train.x.device.type == device.split(":")[0]
    return found

if __name__ == "__main__":
    torch.set_num_threads(1)
    for module in (data, measure, replay, train): module.generator = lambda device, *key: generator("cpu", *key)
    for i, (r, arch, norm) in enumerate((("st", "vgg11", "l2"), ("at", "preact_resnet18", "linf"), ("trades", "vgg11", "l2"),
                                         ("st_frozen_bn", "vgg11", "linf"), ("at_frozen_bn", "vgg11", "linf"),
                                         ("trades_frozen_bn", "vgg11", "linf"))):
        extras = i < 2                                               # they depend on network and norm, not on the regime
        here = tables("cpu", extras, regime=r, arch=arch, norm=norm)
        with patch.object(runs, "fast_step", recorded_step), Elsewhere():
            there = tables(DEVICE, extras, regime=r, arch=arch, norm=norm)
        assert all(a.equals(b) for a, b in zip(here, there, strict=True)), f"{r} {arch} {norm}: another table than on the CPU"
        print(r, arch, norm, "alike")

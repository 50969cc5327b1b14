"Every test has its own folders, one thread and the smoke scale; two small trained networks are shared."
import os
from pathlib import Path
import hypothesis, pytest, torch

os.environ["OMP_NUM_THREADS"] = "1"          # before any process is started
torch.set_num_threads(1)
hypothesis.settings.register_profile("same", derandomize=True)    # other examples: --hypothesis-profile default
hypothesis.settings.load_profile("same")

import nc_robust
from nc_robust.config import configure
from nc_robust.data import load
from nc_robust.train import start, train_epoch

HERE = Path(__file__).resolve().parent.parent
assert Path(nc_robust.__file__).resolve().parent.parent == HERE, f"these tests are not those of {nc_robust.__file__}"

def pytest_collection_modifyitems(items):
    "The longest tests first, so that no worker ends with one of them alone."
    longest = ("test_runs_on_another_device", "test_killed_make_figures_goes_on", "test_figure_2_runs_twice")
    items.sort(key=lambda i: i.originalname not in longest)

@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    "Runs, figures and caches of a test lie below its `tmp_path`; PyTorch's generator begins anew."
    for name in ("RUNS", "OUT", "CACHE"): monkeypatch.setenv(f"NC_ROBUST_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("NC_ROBUST_SCALE", "smoke")
    for name in ("DATA", "GO_ON"): monkeypatch.delenv(f"NC_ROBUST_{name}", raising=False)
    torch.set_num_threads(1)
    torch.manual_seed(0)                     # what one test draws hangs on no other
    return tmp_path

@pytest.fixture(scope="session")
def trained():
    "{arch: eval-mode network after 12 epochs of standard training on digits at width 8}, and their data."
    data, nets = load("digits"), {}
    for arch in ("preact_resnet18", "vgg11"):
        c = configure("st", arch, "smoke", epochs=12, per_class=60, batch_size=32)
        some = load("digits", c.per_class)
        model, opt = start(c, some)
        for epoch in range(c.epochs): train_epoch(model, opt, some, c, epoch)
        opt.zero_grad()
        nets[arch] = model.eval()
    return nets, data

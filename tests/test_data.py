"Image folders with everything that goes wrong in them, the embedded sets, and the order of batches."
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from nc_robust.data import balanced, batches, digest, generator, load, pixels, statistics
from nc_robust.files import alone, read_head

def image(path, size=(8, 8), mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] + (() if mode == "L" else (3,))
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode).save(path)

@pytest.fixture
def folder(tmp_path):
    "Two classes, three training and two test images each."
    root = tmp_path / "pets"
    for s, n in (("train", 3), ("test", 2)):
        for c in ("cat", "dog"):
            for i in range(n): image(root / s / c / f"{i}.png", seed=3 * i + 10 * (c == "dog") + 100 * (s == "test"))
    return root

def test_folder_holds_the_files(folder):
    "Pixels are those of the files, labels follow the sorted class names, statistics come from the training images."
    d = load(f"folder:{folder}")
    assert (d.classes, d.train.y.tolist(), d.test.y.tolist()) == (["cat", "dog"], [0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    assert (d.train.x[4].permute(1, 2, 0).numpy() == np.asarray(Image.open(folder / "train/dog/1.png"))).all()
    x = d.train.x.double() / 255
    assert d.mean == pytest.approx(x.mean((0, 2, 3)).tolist()) and d.std == pytest.approx(x.std((0, 2, 3), correction=0).tolist())

def change(root, case):
    if case == "empty": [f.unlink() for f in (root / "train/cat").iterdir()]
    if case == "no test":
        [f.unlink() for f in (root / "test").rglob("*.png")]; [c.rmdir() for c in (root / "test").iterdir()]; (root / "test").rmdir()
    if case == "train only": image(root / "train/fox/0.png")
    if case == "test only": image(root / "test/fox/0.png")
    if case == "one class": [f.unlink() for f in root.rglob("dog/*")]; [c.rmdir() for c in root.glob("*/dog")]
    if case == "size": image(root / "train/dog/1.png", size=(8, 9))
    if case == "gray": image(root / "train/dog/1.png", mode="L")
    if case == "test size": [image(f, size=(9, 9)) for f in (root / "test").rglob("*.png")]
    if case == "corrupt": (root / "test/cat/1.png").write_bytes(b"not an image")
    if case == "link": (root / "train/cat/new.png").symlink_to(root / "nowhere.png")
    if case == "loop": (root / "train/cat/new.png").symlink_to(root / "train/cat/new.png")
    if case == "ppm": (root / "train/cat/new.ppm").write_bytes(b"P6\n8 eight\n255\n" + bytes(192))
    if case == "cut off": (root / "test/cat/1.png").write_bytes((root / "test/cat/1.png").read_bytes()[:90])

@pytest.mark.parametrize("case, error, says", [
    ("empty", ValueError, "no images in .*train/cat"), ("no test", FileNotFoundError, "no folder .*test"),
    ("train only", ValueError, "fox"), ("test only", ValueError, "fox"), ("one class", ValueError, "1 class.*at least two"),
    ("size", ValueError, r"dog/1.png has shape \(3, 9, 8\).*\(3, 8, 8\)"), ("gray", ValueError, r"dog/1.png has shape \(1, 8, 8\)"),
    ("test size", ValueError, "one size"), ("corrupt", ValueError, "cat/1.png is not a readable image"),
    ("link", ValueError, "cat/new.png is a link to nothing"), ("loop", ValueError, "cat/new.png is a link to nothing"),
    ("ppm", ValueError, "cat/new.ppm is not a readable image"),
    ("cut off", ValueError, "cat/1.png is not a readable image")])
def test_broken_folder_is_named(folder, case, error, says):
    "Each fault is one error that names the folder or file; after repair nothing of it is left in the cache."
    whole = digest(load(f"folder:{folder}"))
    kept = {f: f.read_bytes() for f in folder.rglob("*.png")}
    change(folder, case)
    with pytest.raises(error, match=says): load(f"folder:{folder}")
    for f in set(folder.rglob("*.p[np]*")) - set(kept): f.unlink(); list(f.parent.iterdir()) or f.parent.rmdir()
    for f, b in kept.items(): f.parent.mkdir(parents=True, exist_ok=True); f.write_bytes(b)
    assert digest(load(f"folder:{folder}")) == whole

def test_what_is_left_out_of_a_folder_is_said(folder, capsys):
    "A file of another kind and a folder within a class, and an image beside the classes, are counted; no hidden file, no .PNG."
    (folder / "train/cat/.DS_Store").write_bytes(b""); load(f"folder:{folder}")
    assert "left out" not in capsys.readouterr().out
    (folder / "train/cat/2.png").rename(folder / "train/cat/2.jfif"); (folder / "train/dog/more.png").mkdir()
    (folder / "train/dog/2.png").rename(folder / "train/dog/2.PNG")                          # is an image, the folder above is none
    (folder / "train/loose.png").write_bytes(b"")
    assert "Split(5 images of 3x8x8 on cpu)" in repr(load(f"folder:{folder}"))
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("3 entries") and said.endswith(f"left out: {folder}/train/cat/2.jfif …")
    with pytest.raises(ValueError, match="class 'cat' has only 2 images; take per_class=2 at most"): load(f"folder:{folder}", 3)

def test_uneven_classes_are_said(folder, capsys):
    "What then counts images and not classes is named, with the number that makes them even; even ones are loaded without a word."
    load(f"folder:{folder}"); (folder / "train/dog/2.png").unlink(); load(f"folder:{folder}", 2)
    assert capsys.readouterr().out == ""
    load(f"folder:{folder}")
    assert "2 to 3 training images a class" in (said := capsys.readouterr().out) and "per_class=2 makes them even" in said

def test_missing_folder(tmp_path):
    "A path that is not there is named, with the layout that was expected."
    with pytest.raises(FileNotFoundError, match="nowhere.*<class>/<image>"): load(f"folder:{tmp_path}/nowhere")

@pytest.mark.parametrize("damage", [
    lambda b: b[:-40], lambda b: b"", lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda b: b"PK" + b])
def test_damaged_cache_is_set_aside(folder, tmp_path, capsys, damage):
    "A truncated, empty, bit-flipped or foreign cache file is noticed, kept under another name, and decoded again."
    whole = digest(load(f"folder:{folder}"))
    cached, = (tmp_path / "cache").glob("*.npz")
    good = cached.read_bytes()
    cached.write_bytes(damage(good))
    assert digest(load(f"folder:{folder}")) == whole
    assert "damaged" in capsys.readouterr().out
    assert cached.with_name(cached.name + ".damaged").read_bytes() == damage(good) and digest(load(f"folder:{folder}")) == whole

def test_cache_is_used_and_follows_the_files(folder, monkeypatch):
    "A second load decodes nothing; a changed image is decoded anew."
    before = digest(load(f"folder:{folder}"))
    with monkeypatch.context() as m:
        m.setattr("nc_robust.data._decode", lambda files: pytest.fail("decoded again"))
        assert digest(load(f"folder:{folder}")) == before
    image(folder / "train/cat/0.png", seed=5000)
    assert digest(load(f"folder:{folder}")) != before

def test_one_process_decodes(folder, monkeypatch):
    "Who waited for another that decoded reads what that one has made."
    whole, unlocked = digest(load(f"folder:{folder}")), alone
    def waited(path):
        kept.rename(path)                                                    # the other is done
        return unlocked(path)
    kept, = (folder.parent / "cache").glob("*.npz")
    kept = kept.rename(kept.with_suffix(".kept"))
    monkeypatch.setattr("nc_robust.data.alone", waited)
    monkeypatch.setattr("nc_robust.data._decode", lambda files: pytest.fail("decoded again"))
    assert digest(load(f"folder:{folder}")) == whole

def test_the_longest_name_of_a_folder(folder):
    "A folder may be called what the disk allows; the cache file's name has room for it."
    long = folder.rename(folder.with_name("\N{HIRAGANA LETTER A}" * 80))
    assert load(f"folder:{long}").num_classes == 2

def test_balanced_subset():
    "The first images of every class in their order; too few is an error that names the class, or all there are with `at_most`."
    x, y = np.arange(9), np.array([0, 1, 0, 1, 2, 0, 2, 1, 0])
    assert [t.tolist() for t in balanced(x, y, 2)] == [[0, 1, 2, 3, 4, 6], [0, 1, 0, 1, 2, 2]]
    with pytest.raises(ValueError, match="class 2 has only 2"): balanced(x, y, 3)
    assert np.bincount(balanced(x, y, 3, at_most=True)[1]).tolist() == [3, 3, 2]
    assert load("digits", 12).train.y.bincount().tolist() == [12] * 10

def test_digits100_shares_no_stroke():
    "No half of a test image is a half of a training image; a class is the pair of digits its halves come from."
    d, one = load("digits100"), load("digits")
    halves = lambda x: {h.numpy().tobytes() for image in x for h in (image[..., :8], image[..., 8:])}
    assert len(halves(d.train.x) & halves(d.test.x)) == 0
    digit = {x.numpy().tobytes(): int(y) for s in (one.train, one.test) for x, y in zip(s.x, s.y)}
    for x, y in zip(d.test.x, d.test.y): assert digit[x[..., :8].numpy().tobytes()] * 10 + digit[x[..., 8:].numpy().tobytes()] == y
    assert len(set(d.train.y.bincount().tolist())) == 1 and d.num_classes == 100
    assert len({x.numpy().tobytes() for x in d.train.x}) == len(d.train.x), "two training images are the same pair"

def test_batches_follow_seed_and_epoch():
    "Every index once, the last batch short; the order is a function of (seed, epoch) and of nothing drawn before."
    order = lambda *a: torch.cat(batches(70, 32, "cpu", *a)).tolist()
    first = order(1, 0)
    torch.rand(7); torch.manual_seed(99)
    assert order(1, 0) == first
    assert sorted(first) == list(range(70)) and [len(b) for b in batches(70, 32, seed=1)] == [32, 32, 6]
    assert len({tuple(order(s, e)) for s in (1, 2) for e in (0, 1, 2)}) == 6
    assert order(None) == list(range(70))

def test_pixels_and_statistics():
    "0 and 255 become exactly 0 and 1; the histogram statistics are those of the pixels."
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert pixels(x).min() == 0 and pixels(x).max() == 1
    mean, std = statistics(torch.cat([x, x // 2], 1))
    p = torch.cat([x, x // 2], 1).double() / 255
    assert mean == pytest.approx(p.mean((0, 2, 3)).tolist()) and std == pytest.approx(p.std((0, 2, 3), correction=0).tolist())

def test_a_constant_channel_stays_in_scale():
    "Its deviation is 1, so that a perturbation of it is not blown up."
    x = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8); x[:, 2] = 7
    mean, std = statistics(x)
    assert std[2] == 1 and mean[2] == pytest.approx(7 / 255) and 0.2 < std[0] < 0.4

def test_pixels_are_made_once():
    "Floats, which are pixels already, are refused instead of being divided by 255."
    with pytest.raises(ValueError, match="must be uint8.*float32"): pixels(torch.rand(2, 3, 8, 8))

@pytest.mark.parametrize("per_class", [0, -1, 1.5, True])
def test_images_per_class_are_a_whole_number(per_class):
    with pytest.raises(ValueError, match="per_class must be a whole number >= 1"): load("digits", per_class)

def test_cifar_is_downloaded_by_one_process(tmp_path, monkeypatch):
    "What is there is read without a lock; what is not is fetched under one, and a failure says what to do."
    from filelock import FileLock, Timeout
    from torchvision import datasets
    calls = []
    class Cifar:
        data, targets, classes = np.zeros((2, 32, 32, 3), np.uint8), [0, 1], ["a", "b"]
        def __init__(self, root, train, download):
            calls.append(download)
            if not download and not (root / "whole").exists(): raise RuntimeError("not found")
            if download:
                with pytest.raises(Timeout): FileLock(root / ".cifar10.lock").acquire(timeout=0)
                if (root / "offline").exists(): raise OSError("no route")
    monkeypatch.setattr(datasets, "CIFAR10", Cifar)
    assert load("cifar10", data_root=tmp_path / "new").train.x.shape == (2, 3, 32, 32) and calls == [False, True, True]
    (tmp_path / "new/offline").touch()
    with pytest.raises(FileNotFoundError, match="no route.*folder:<path>"): load("cifar10", data_root=tmp_path / "new")
    (tmp_path / "new/whole").touch(); calls.clear()
    assert load("cifar10", data_root=str(tmp_path / "new")).classes == ["a", "b"] and calls == [False, False]

def test_a_class_without_images_is_named():
    "Wherever the gap is; and statistics are of uint8 images."
    for y, gap in ((np.array([0, 2]), "dog"), (np.array([0, 1]), "eel")):
        with pytest.raises(ValueError, match=f"class '{gap}' has no images"):
            balanced(np.zeros((2, 1, 8, 8), np.uint8), y, 1, at_most=True, classes=["cat", "dog", "eel"])
    with pytest.raises(ValueError, match="must be uint8"): statistics(torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="unknown dataset"): load(None)

def test_the_digits_are_those_of_the_published_runs():
    "Rows and order: the tables name the digest of the images they were made on."
    kept = next((Path(__file__).resolve().parent.parent / "figures" / "runs").glob("at-vgg11-digits-linf-s1-*")) / "history.csv.gz"
    assert digest(load("digits", int(read_head(kept)["per_class"]))) == read_head(kept)["data_digest"]

def test_random_streams_stay_what_they_are():
    "Published runs are made again bit for bit only while the same words give the same seed."
    assert generator("cpu", 1, "order", 0).initial_seed() == 1341983847465664397

def test_cifar_as_torchvision_has_it(tmp_path, monkeypatch):
    "Channels first, height before width, train before test, each name its own set."
    def made(n):
        class Cifar:
            classes = [str(k) for k in range(n)]
            def __init__(self, root, train, download):
                self.data, self.targets = np.zeros((n, 32, 32, 3), np.uint8), [*range(n)]
                self.data[:, 1, 2] = 1 if train else 0
        return Cifar
    sizes = dict(cifar10=2, cifar100=3)
    for name, n in sizes.items(): monkeypatch.setattr(f"torchvision.datasets.{name.upper()}", made(n))
    for name, n in sizes.items():
        d = load(name, data_root=tmp_path)
        assert d.num_classes == n and d.train.x[0, :, 1, 2].tolist() == [1, 1, 1] and d.train.x.sum() == 3 * n and d.test.x.sum() == 0

def test_small_contrast_and_small_classes(tmp_path, capsys):
    "A channel of two neighbouring grey values has its deviation; one class of one image is not all of them."
    x = torch.tensor([7, 8] * 32, dtype=torch.uint8).view(1, 1, 8, 8)
    assert statistics(x)[1][0] == pytest.approx(0.5 / 255)
    for f in ("train/a/0", "train/a/1", "train/b/0", "test/a/0", "test/b/0"): image(tmp_path / "set" / f"{f}.png")
    load(f"folder:{tmp_path}/set")
    assert "has no spread" not in capsys.readouterr().out

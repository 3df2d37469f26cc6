import gzip
import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from al_lightning.data import FashionMNISTDataModule, FashionMNISTSampleDataModule, MNISTDataModule, known_files
from al_lightning.data.images import mnist as module
from al_lightning.errors import UserError
from tests.experiments import make_data

SAMPLE = Path(module.__file__).parent / "sample"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_):
        raise OSError("no network in tests")

    monkeypatch.setattr(module, "download_url", refuse)
    monkeypatch.setattr(FashionMNISTDataModule, "installed", ())


def ready(data):
    data.prepare_data()
    data.setup("fit")
    return data


def test_the_sample_is_balanced_and_says_that_it_is_a_sample(caplog):
    caplog.set_level("INFO")
    data = ready(FashionMNISTSampleDataModule(initial_size=50))
    assert data._train.labels.bincount().tolist() == [500] * 10
    assert data._eval.labels.bincount().tolist() == [100] * 10
    assert "embedded sample" in caplog.text
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 3e6


def test_initial_set_depends_on_the_seed_alone():
    same = [ready(make_data(seed=s)).pool.labeled_indices.tolist() for s in (0, 0, 1)]
    assert same[0] == same[1] != same[2]
    assert len(same[0]) == 70
    balanced = ready(make_data(initial_draw="class_balanced_using_labels"))
    assert balanced._train.labels[balanced.pool.labeled].bincount().tolist() == [7] * 10


def test_pool_size_and_setup_twice():
    data = ready(make_data())
    assert int(data.pool.labeled.sum() + data.pool.unlabeled.sum()) == 600
    pool = data.pool
    data.setup("fit")
    assert data.pool is pool


@pytest.mark.parametrize("pool_size", [600, None])
def test_pool_repeat_adds_copies_of_one_image(pool_size):
    data, original = (ready(make_data(pool_size=pool_size, pool_repeat=repeat)) for repeat in ({"item": 17, "copies": 40}, None))
    pool = data.pool.labeled | data.pool.unlabeled
    assert len(pool) == 5040 and int(pool.sum()) == (pool_size or 5000) + 40 and bool(pool[5000:].all())
    assert torch.equal(pool[:5000], original.pool.labeled | original.pool.unlabeled)
    ((inputs, _),) = data.pool_batches([torch.tensor([16, 17, 5000, 5039])])
    ((expected, _),) = original.pool_batches([torch.tensor([16, 17])])
    assert torch.equal(inputs[:2], expected) and torch.equal(inputs[2:], expected[1:].expand(2, -1, -1, -1))
    assert data.oracle_labels(torch.tensor([5039])) == original.oracle_labels(torch.tensor([17]))
    assert data.fingerprint()["items"] == 5040 and data.fingerprint()["sha256"] != original.fingerprint()["sha256"]


def test_loaders_cover_their_items():
    data = ready(make_data())
    seen = torch.cat([indices for *_, indices in data.train_dataloader()])
    assert sorted(seen.tolist()) == data.pool.labeled_indices.tolist()
    assert torch.equal(torch.cat([indices for *_, indices in data.val_dataloader()]), torch.arange(1000))


def test_batch_order_changes_with_the_cycle():
    data = ready(make_data())
    first = data.shuffle_seed
    data.pool.label(data.pool.unlabeled_indices[:3])
    assert data.shuffle_seed != first


def test_fingerprint_sees_order_and_content():
    data = ready(make_data())
    before = data.fingerprint()
    data._train.images[[0, 1]] = data._train.images[[1, 0]]
    assert data.fingerprint() != before
    assert data.fingerprint()["items"] == 5000
    assert [(source.split, source.file) for source in data.sources()] == [
        ("pool", "train-images-idx3-ubyte"),
        ("pool", "train-labels-idx1-ubyte"),
        ("evaluation", "t10k-images-idx3-ubyte"),
        ("evaluation", "t10k-labels-idx1-ubyte"),
    ]


def test_missing_files_name_folders_files_and_ways():
    with pytest.raises(UserError) as error:
        MNISTDataModule(root="nowhere").prepare_data()
    for part in ("nowhere", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "no network in tests", "data.init_args.root"):
        assert part in str(error.value)


def test_files_are_found_gzipped_or_plain_and_where_a_package_puts_them(tmp_path, monkeypatch):
    folder = tmp_path / "package"
    shutil.copytree(SAMPLE, folder)
    monkeypatch.setattr(FashionMNISTDataModule, "installed", (str(folder),))
    assert len(ready(FashionMNISTDataModule(root="nowhere"))._train) == 5000


@pytest.mark.parametrize("where", ["raw", "FashionMNIST/raw"])
def test_files_are_found_where_torchvision_puts_them(tmp_path, where):
    folder = tmp_path / where
    shutil.copytree(SAMPLE, folder)
    (folder / "._train-images-idx3-ubyte.gz").write_bytes(b"what macOS puts beside a file")
    assert len(ready(FashionMNISTDataModule(root=str(tmp_path)))._train) == 5000
    if where != "raw":
        with pytest.raises(UserError, match="Expected MNIST as four IDX files"):
            ready(MNISTDataModule(root=str(tmp_path)))


def test_a_full_file_that_is_not_the_known_one_is_said_to_be(monkeypatch):
    images = torch.zeros(10_000, 3, 5, dtype=torch.uint8)
    unpacked = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4) for size in images.shape) + bytes(150_000)
    assert "not known" in known_files.why_doubtful(images, "t10k-images-idx3-ubyte", "MNIST")
    assert known_files.why_doubtful(images[1:], "t10k-images-idx3-ubyte", "MNIST") is None  # a part of something
    monkeypatch.setitem(known_files._KNOWN, hashlib.md5(unpacked).hexdigest(), ("Fashion-MNIST", "t10k-images-idx3-ubyte"))
    assert known_files.why_doubtful(images, "t10k-images-idx3-ubyte", "Fashion-MNIST") is None
    assert "that of Fashion-MNIST's t10k-images-idx3-ubyte" in known_files.why_doubtful(images, "t10k-images-idx3-ubyte", "MNIST")
    assert "that of Fashion-MNIST's t10k-images-idx3-ubyte" in known_files.why_doubtful(images, "train-images-idx3-ubyte", "Fashion-MNIST")


def test_a_run_says_loudly_whose_files_they_are(caplog, monkeypatch):
    digests = known_files._KNOWN | {"77f57a6fd5c0df5ea0d4d3b7a1f5d7a2": ("MNIST", "train-images-idx3-ubyte")}
    monkeypatch.setattr(known_files.hashlib, "md5", lambda header, **_: FakeDigest())
    monkeypatch.setattr(known_files, "_KNOWN", digests)
    ready(FashionMNISTSampleDataModule(initial_size=50))
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 4 and all(line.startswith("WARNING: ") and "that of MNIST's train-images" in line for line in said)


class FakeDigest:
    def update(self, _):
        pass

    def hexdigest(self):
        return "77f57a6fd5c0df5ea0d4d3b7a1f5d7a2"


def test_images_of_two_sizes_are_refused(tmp_path):
    shutil.copytree(SAMPLE, tmp_path / "mixed")
    with gzip.open(tmp_path / "mixed" / "t10k-images-idx3-ubyte.gz", "wb") as file:
        file.write(bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4) for size in (1000, 32, 32)) + bytes(1000 * 32 * 32))
    with pytest.raises(UserError, match=r"images of one size .*28x28 and 32x32"):
        ready(FashionMNISTDataModule(root=str(tmp_path / "mixed")))


def test_download_checks_and_moves_whole_files(tmp_path, monkeypatch):
    asked = []

    def fetch(url, folder, name, md5):
        asked.append((name, md5))
        if "broken" in url:
            raise RuntimeError("File not found or corrupted.")
        shutil.copy(SAMPLE / name, folder)

    monkeypatch.setattr(module, "download_url", fetch)
    monkeypatch.setattr(module.torchvision.datasets.FashionMNIST, "mirrors", ["http://broken/", "http://good/"])
    data = ready(FashionMNISTDataModule(root=str(tmp_path / "got")))
    assert len(data._train) == 5000
    assert asked == [pair for pair in module.torchvision.datasets.FashionMNIST.resources for _ in range(2)]
    assert len(list((tmp_path / "got").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"batch_size": 0}, "batch_size of .* got 0"),
        ({"eval_batch_size": -1}, "eval_batch_size of .* got -1"),
        ({"initial_size": 0}, "initial_size of .* got 0"),
        ({"pool_size": 0}, "pool_size of .* got 0"),
        ({"pool_repeat": {"item": -1, "copies": 2}}, "from 0 to 4999, got -1"),
        ({"initial_seed": -1}, "initial_seed of .* got -1"),
        ({"pool_size": 5001}, "from 1 to 5000"),
        ({"pool_repeat": {"item": "5000", "copies": 2}}, "from 0 to 4999, got 5000"),
        ({"initial_size": 601}, "pool's 600"),
    ],
)
def test_sizes_that_do_not_fit(arguments, match):
    with pytest.raises(UserError, match=match):
        ready(make_data(**arguments))


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
def test_the_full_sets(name, caplog):
    root = Path(__file__).parents[3].parent / "shared" / "data" / name
    if not root.is_dir():
        pytest.skip(f"the full data set is not here: {root}")
    data = ready({"fashion-mnist": FashionMNISTDataModule, "mnist": MNISTDataModule}[name](root=str(root)))
    assert (len(data._train), len(data._eval)) == (60_000, 10_000)
    assert data._train.images.shape == (60_000, 1, 28, 28)
    assert "WARNING" not in caplog.text

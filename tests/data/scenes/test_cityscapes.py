import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from al_lightning.data import CityscapesDataModule, SyntheticScenesDataModule
from al_lightning.data.scenes.augmentation import Augmentation, Normalization
from al_lightning.data.scenes.cityscapes import list_scenes
from al_lightning.data.scenes.decoding import InMemory, OnDisk, Uncached
from al_lightning.data.scenes.scene import file_names
from al_lightning.errors import UserError
from al_lightning.labels import class_map

SIZES = [(40, 56), (40, 56), (33, 47), (40, 56), (48, 40)]  # height, width


def write_scene(root, split, city, number, size, ids=None):
    rng = np.random.default_rng(number)
    for folder in ("leftImg8bit", "gtFine"):
        (root / folder / split / city).mkdir(parents=True, exist_ok=True)
    name = f"{city}_{number:06d}_000019"
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    label = rng.choice([0, 7, 8, 11, 23, 26], size).astype(np.uint8) if ids is None else np.full(size, ids, np.uint8)
    Image.fromarray(image).save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
    Image.fromarray(label).save(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png")
    return image, label


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "scenes"
    for number, size in enumerate(SIZES):
        write_scene(root, "train", ["ulm", "aachen"][number % 2], number, size)
    for number in (7, 8, 9):
        write_scene(root, "val", "bonn", number, (40, 56))
    return root


def ready(root, **arguments):
    data = CityscapesDataModule(**{"root": str(root), "initial_size": 2, "crop": 32, "batch_size": 2, "num_workers": 0, **arguments})
    data.prepare_data()
    data.setup("fit")
    return data


def test_listing_is_sorted_and_items_have_names(root):
    data = ready(root)
    names = [data.item(index) for index in range(5)]
    assert names == ["aachen_000001_000019", "aachen_000003_000019", "ulm_000000_000019", "ulm_000002_000019", "ulm_000004_000019"]
    assert [data.origin(index) for index in range(5)] == [{"city": "aachen"}] * 2 + [{"city": "ulm"}] * 3


def test_scenes_of_one_name_in_two_cities_can_be_told_apart(root):
    for folder in ("leftImg8bit", "gtFine"):
        for path in sorted((root / folder / "train" / "ulm").iterdir()):
            path.rename(path.with_name(path.name.replace("ulm_", "")))
        for path in sorted((root / folder / "train" / "aachen").iterdir()):
            path.rename(path.with_name(path.name.replace("aachen_000001", "000000")))
    Path("first.txt").write_text("ulm/000000_000019\naachen/000000_000019\n")
    data = ready(root, initial_items="first.txt")
    names = [data.item(index) for index in range(5)]
    assert len({*names}) == 5 and names[0] == "aachen/000000_000019"
    assert sorted(names[index] for index in data.pool.labeled_indices.tolist()) == ["aachen/000000_000019", "ulm/000000_000019"]


def test_a_crop_that_shows_few_ids_is_not_taken_for_training_ids(root):
    for number in range(5):
        (path,) = (root / "gtFine" / "train").rglob(f"*_{number:06d}_*_labelIds.png")
        label = np.array(Image.open(path))
        label[:20] = 23  # sky
        label[20:] = [[0, 1, 7, 1] * 14][0][: label.shape[1]]
        Image.fromarray(label).save(path)
    for seed in range(6):
        data = ready(root, query_crop=8, initial_size=1, seed=seed)
        assert len(list(data.train_dataloader())) == 1


def test_images_and_labels_are_those_of_the_files(tmp_path):
    image, label = write_scene(tmp_path, "train", "ulm", 3, (6, 9))
    (scene,) = list_scenes(tmp_path, "train")
    assert scene.size == (6, 9)
    assert np.array_equal(Uncached().image(scene), image)
    expected = np.vectorize({0: 255, 7: 0, 8: 1, 11: 2, 23: 10, 26: 13}.get)(label)
    assert np.array_equal(class_map().classes_of(Uncached().label(scene), scene.label), expected)
    normalized = Normalization((0.5, 0.25, 0.0), (0.5, 1.0, 2.0))(image)
    torch.testing.assert_close(
        normalized[:, 4, 7], torch.tensor(image[4, 7] / 255 - [0.5, 0.25, 0.0]).div(torch.tensor([0.5, 1, 2])).float()
    )


def test_pool_batches_are_whole_images_of_any_size(root):
    data = ready(root)
    batches = [torch.tensor([3]), torch.tensor([0])]
    loaded = list(data.pool_batches(batches))
    assert [tuple(images.shape) for images, _ in loaded] == [(1, 3, 33, 47), (1, 3, 40, 56)]
    assert [indices.tolist() for _, indices in loaded] == [[3], [0]]


def test_a_training_input_is_the_normalised_image(root):
    mean, std = np.reshape([0.5, 0.25, 0.0], (3, 1, 1)), np.reshape([0.5, 1, 0.2], (3, 1, 1))
    data = ready(root, initial_size=5, scale=(1.0, 1.0), mean=mean.ravel().tolist(), std=std.ravel().tolist())

    def is_part(image, label, index):
        """Whether crops of an image and its label, as they are or mirrored, come from the same place."""
        whole = torch.tensor((data.picture(index).transpose(2, 0, 1) / 255 - mean) / std).float()
        classes = torch.tensor(data.targets(index))
        height, width = (length - 32 for length in classes.shape)
        places = [(slice(top, top + 32), slice(left, left + 32)) for top in range(height + 1) for left in range(width + 1)]
        sides = [(image, label), (image.flip(-1), label.flip(-1))]
        return [torch.allclose(whole[:, *p], its, atol=1e-5) for its, own in sides for p in places if torch.equal(classes[p], own)]

    crops = [crop for batch in data.train_dataloader() for crop in zip(*batch[:2], batch[2].tolist(), strict=True)]
    assert len(crops) == 4 and all(is_part(*crop) == [True] for crop in crops)


def test_training_crops_depend_on_seed_cycle_epoch_and_item_only(root):
    def crops(data, epoch):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return {int(i): (x, y) for images, labels, indices in loader for x, y, i in zip(images, labels, indices, strict=True)}

    data = ready(root, initial_size=4)
    twice = data.train_dataloader().dataset
    twice.scenes = twice.scenes[:1] * 2
    assert not torch.equal(twice[0, 0][0], twice[0, 1][0])
    first, again, later, workers = crops(data, 0), crops(data, 0), crops(data, 1), crops(ready(root, initial_size=4, num_workers=2), 0)
    assert len(first) == 4 and all(x.shape == (3, 32, 32) and y.shape == (32, 32) for x, y in first.values())
    for index, (image, label) in first.items():
        assert torch.equal(image, again[index][0]) and torch.equal(label, again[index][1])
        assert torch.equal(image, workers[index][0])
        assert not torch.equal(image, later[index][0])
    data.pool.label(data.pool.unlabeled_indices[:1])
    assert not all(torch.equal(image, crops(data, 0)[index][0]) for index, (image, _) in first.items() if index in crops(data, 0))


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.7])
def test_the_crop_chosen_first_is_a_crop_of_the_resized_image(factor):
    """On a ramp along each axis a resized crop shows the ramp again, at the slope of the factor."""
    height, width, crop = 90, 140, 48
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    image, label = np.stack([y, x, 0 * y], axis=2), (x // 10).astype(np.uint8)
    seen = [Augmentation(crop, (factor, factor))(image, label, seed) for seed in range(40)]
    for pixels, classes in seen:
        assert pixels.shape == (48, 48, 3) and classes.shape == (48, 48)
        inside = classes != 255
        assert inside.sum() == min(48, round(90 * factor)) * min(48, round(140 * factor))
        rows, columns = np.nonzero(inside)
        inner = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(float)
        slope = abs(inner[3:-3, -4, 1] - inner[3:-3, 3, 1]) / (inner.shape[1] - 7)
        np.testing.assert_allclose(slope, 1 / factor, rtol=0.05)
        edge = abs(inner[..., 1] / 10 % 1 - 0.5) < 0.3  # away from the steps between classes
        expected = inner[..., 1] // 10
        assert (classes[inside].reshape(inner.shape[:2])[edge] == expected[edge]).mean() > 0.97
    lefts = {int(pixels[24, :, 1].min()) for pixels, _ in seen}
    assert len(lefts) > 10  # crops lie anywhere
    flips = [pixels[24, 24, 1] > pixels[24, 25, 1] for pixels, _ in seen]
    assert 8 < sum(flips) < 32


@pytest.mark.parametrize("factor", [0.6, 0.7, 1.0, 1.3, 1.9, 2.0])  # at 0.5, each place lies between two labels
def test_a_label_is_not_shifted_against_its_image(factor):
    """A ramp is its own label, but for OpenCV's rounding; there is no padding, either, where the image is large enough."""
    y, x = np.mgrid[:128, :127].astype(np.uint8)
    augmentation = Augmentation(63, (factor, factor))
    for ramp in (y, x):
        shifts = []
        for seed in range(20):
            image, label = augmentation(np.stack([2 * ramp] * 3, axis=2), ramp, seed)
            inner = label[2:-2, 2:-2].astype(float) - image[2:-2, 2:-2, 0] / 2
            shifts.append(inner.mean() * factor)
            assert (label != 255).all()
        assert abs(np.mean(shifts)) < 0.15


def test_padding_of_a_small_image_is_ignored():
    image, label = np.full((20, 10, 3), 200, np.uint8), np.full((20, 10), 3, np.uint8)
    crop, classes = Augmentation(64, (1.0, 1.0))(image, label, seed=1)
    assert crop.shape == (64, 64, 3)
    assert (classes == 3).sum() == 200 and (classes == 255).sum() == 64 * 64 - 200
    assert (crop[classes == 255] == 0).all()


def test_the_label_of_a_pool_item_is_not_opened_before_it_is_labeled(root, monkeypatch):
    opened, whole = [], Image.open

    def watch(path, *args, **kwargs):
        opened.append(Path(getattr(path, "name", path)))
        return whole(path, *args, **kwargs)

    monkeypatch.setattr(Image, "open", watch)
    data = ready(root)
    list(data.train_dataloader())
    list(data.val_dataloader())
    list(data.pool_batches([torch.tensor([index]) for index in range(5)]))
    data.fingerprint()
    unlabeled = {data._train[index].label for index in data.pool.unlabeled_indices.tolist()}
    assert len(unlabeled) == 3 and not unlabeled & set(opened)
    assert {data._train[index].label for index in data.pool.labeled_indices.tolist()} <= set(opened)


def test_query_crops_are_the_items(root):
    data, again, other = (ready(root, query_crop=24, seed=seed) for seed in (5, 5, 6))
    boxes = data.boxes()
    assert boxes == again.boxes() != other.boxes()
    assert len(boxes) == 5 and {(box.height, box.width) for box in boxes} == {(24, 24)}
    assert len({(box.top, box.left) for box in boxes[:3]}) > 1  # of images of one size
    for index, box in enumerate(boxes):
        whole = Uncached().image(data._train[index]._replace(box=None))
        assert box.top + 24 <= whole.shape[0] and box.left + 24 <= whole.shape[1]
        assert np.array_equal(data.picture(index), whole[box.top : box.top + 24, box.left : box.left + 24])
    assert [tuple(images.shape) for images, _ in data.pool_batches([torch.tensor([3]), torch.tensor([0])])] == [(1, 3, 24, 24)] * 2
    index = int(data.pool.labeled_indices[0])
    box, label = boxes[index], Uncached().label(data._train[index]._replace(box=None))
    expected = data.classes.table.numpy()[label[box.top : box.top + 24, box.left : box.left + 24]]
    assert np.array_equal(data.targets(index), expected)
    assert all(x.shape == (1, 3, 40, 56) for x, _, _ in data.val_dataloader())  # evaluation stays on whole images
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()
    same = ready(root, query_crop=24, seed=6, pool_seed=5)
    assert same.boxes() == boxes and same.pool.labeled.tolist() == other.pool.labeled.tolist()
    assert data.fingerprint()["sha256"] == other.fingerprint()["sha256"]  # seeds are compared on the same data
    assert ready(root).boxes() is None
    assert ready(root, query_crop=44).boxes()[0].height == 40  # what the image lacks, the crop lacks


def test_the_targets_of_an_unlabeled_item_are_refused(root):
    data = ready(root)
    with pytest.raises(UserError, match="nobody has labeled"):
        data.targets(int(data.pool.unlabeled_indices[0]))


@pytest.mark.parametrize(("step", "factors"), [(0.25, {0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0}), (0.4, {0.5, 0.9, 1.3, 1.7}), (None, None)])
def test_scales_are_drawn_in_steps_where_asked(step, factors):
    augmentation, drawn = Augmentation(1000, (0.5, 2.0), step), set()
    image, label = np.zeros((3000, 3000, 3), np.uint8), np.zeros((3000, 3000), np.uint8)
    augmentation.resize = lambda height, width: lambda image, mask: drawn.add(round(1000 / len(mask), 2)) or {"image": image, "mask": mask}
    for seed in range(80):
        augmentation(image, label, seed)
    assert {round(factor, 1 if step == 0.4 else 2) for factor in drawn} == factors if step else len(drawn) > 60


@pytest.mark.parametrize("item", ["ulm_000002_000019", "3", 3])
@pytest.mark.parametrize("query_crop", [None, 24])
def test_pool_repeat_adds_copies_of_one_item(root, item, query_crop):
    data, plain = ready(root, pool_repeat={"item": item, "copies": 2}, query_crop=query_crop), ready(root, query_crop=query_crop)
    names = [plain.item(index) for index in range(5)]
    assert [data.item(index) for index in range(7)] == [*names, "ulm_000002_000019#0000", "ulm_000002_000019#0001"]
    assert len(data._train) == 7 and data.boxes() == (None if query_crop is None else [*plain.boxes(), *[plain.boxes()[3]] * 2])
    loaded = torch.cat([images for images, _ in data.pool_batches([torch.tensor([3]), torch.tensor([5, 6])])])
    (expected, _) = next(iter(plain.pool_batches([torch.tensor([3])])))
    assert torch.equal(loaded, expected.expand_as(loaded)) and not torch.equal(loaded[:1, :, :20, :20], torch.zeros(1, 3, 20, 20))
    assert torch.equal(data.oracle_labels(torch.tensor([6])), plain.oracle_labels(torch.tensor([3])))
    assert data.fingerprint() != plain.fingerprint() and data.fingerprint()["items"] == 7
    assert [scene.name for scene in data._eval] == [scene.name for scene in plain._eval]


def test_memory_holds_a_repeated_image_once(root):
    repeats = (None, {"item": 3, "copies": 4})
    assert len({len(ready(root, decoded_cache="memory", pool_repeat=repeat)._files._memory) for repeat in repeats}) == 1


@pytest.mark.parametrize("item", ["bonn_000007_000019", "5", "-1"])
def test_an_unknown_image_to_repeat_is_refused(root, item):
    with pytest.raises(UserError, match=rf"like aachen_000001_000019, or an index from 0 to 4, got {item}"):
        ready(root, pool_repeat={"item": item, "copies": 1})


def test_scoring_batches_hold_images_of_one_size(root):
    for number in range(20, 25):
        write_scene(root, "train", "zurich", number, (40, 56))
    indices = torch.arange(10)
    sizes = [data._train[i].size for data in [ready(root)] for i in range(10)]
    assert sizes[:5] == [(40, 56), (40, 56), (40, 56), (33, 47), (48, 40)]
    batches = ready(root, score_batch_size=2).scoring_batches(indices)
    assert [batch.tolist() for batch in batches] == [[0, 1], [2], [3], [4], [5, 6], [7, 8], [9]]
    assert [batch.tolist() for batch in ready(root).scoring_batches(indices)] == [[0, 1, 2], [3], [4], [5, 6, 7, 8, 9]]
    data = ready(root)
    assert [x.shape[0] for x, _ in data.pool_batches(data.scoring_batches(indices))] == [3, 1, 1, 5]
    write_scene(root, "val", "bonn", 50, (32, 32))
    with pytest.raises(UserError, match="one size for eval_batch_size=2, got 2 sizes"):
        ready(root, eval_batch_size=2)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_cached_files_are_what_is_decoded(root, kind, tmp_path, monkeypatch):
    plain = ready(root, initial_size=4)
    cached = ready(root, initial_size=4, decoded_cache=kind, cache_folder=str(tmp_path / "decoded"), num_workers=2)

    def everything(data):
        loader = data.train_dataloader()
        batches = [*loader, *data.val_dataloader(), *data.pool_batches([torch.tensor([i]) for i in range(5)])]
        return [tensor for batch in batches for tensor in batch]

    expected = everything(plain)
    assert all(torch.equal(a, b) for a, b in zip(everything(cached), expected, strict=True))
    decoded = []
    whole = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda self, *a: decoded.append(1) or whole(self, *a))
    cached.num_workers = 0  # what the loading processes decoded is there for this one
    assert all(torch.equal(a, b) for a, b in zip(everything(cached), expected, strict=True))
    assert not decoded
    if kind == "disk":
        files = list((tmp_path / "decoded").iterdir())
        assert len(files) == 5 + 3 + 4 + 3  # no label of an unlabeled item
        for file in files:
            file.write_bytes(file.read_bytes()[:-9])  # as a power cut leaves it
        again = ready(root, initial_size=4, decoded_cache="disk", cache_folder=str(tmp_path / "decoded"))
        assert all(torch.equal(a, b) for a, b in zip(everything(again), expected, strict=True)) and decoded
    else:
        import pickle

        spawned = pickle.loads(pickle.dumps(cached._files))
        assert np.array_equal(spawned.image(cached._train[0]), cached.picture(0)) and decoded


def test_a_crop_of_a_file_on_disk_reads_no_more_than_the_crop(root, tmp_path):
    (scene, *_) = list_scenes(root, "train")
    files = OnDisk(tmp_path / "decoded")
    files.image(scene)
    assert isinstance(files.image(scene), np.memmap)
    assert isinstance(files.label(scene), np.ndarray) and not files.image(scene).flags.writeable


def test_decoded_files_are_for_all_who_may_read_the_folder(root, tmp_path, monkeypatch):
    (scene, *_) = list_scenes(root, "train")
    files = OnDisk(tmp_path / "decoded")
    image = files.image(scene)
    (kept,) = (tmp_path / "decoded").iterdir()
    (tmp_path / "plain").touch()
    assert kept.stat().st_mode == (tmp_path / "plain").stat().st_mode

    def refuses(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "load", refuses)  # another user's, who keeps it to himself
    monkeypatch.setattr(np, "save", refuses)
    assert np.array_equal(OnDisk(tmp_path / "decoded").image(scene), image)


def test_a_cache_that_can_not_be_kept_is_one_error(root, tmp_path):
    (tmp_path / "decoded").write_text("a file in the way")
    with pytest.raises(UserError, match=r"write a decoded image into .*decoded"):
        OnDisk(tmp_path / "decoded").image(list_scenes(root, "train")[0])
    huge = [scene._replace(size=(2**22, 2**22)) for scene in list_scenes(root, "train")]
    with pytest.raises(UserError, match=r"GiB of memory for decoded images"):
        InMemory(huge)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: next(root.glob("gtFine/train/ulm/ulm_000002*")).unlink(), r"Expected the label .*ulm_000002.* no such file"),
        (lambda root: next(root.glob("leftImg8bit/train/ulm/ulm_000002*")).write_bytes(b"no"), r"ulm_000002.* can't be read"),
        (lambda root: write_size(root, "val/bonn/bonn_000008"), r"bonn_000008.* to be 56x40 .* got 10x12"),
        (lambda root: [path.unlink() for path in root.glob("leftImg8bit/val/*/*.png")], r"Expected images .*val.* found none"),
    ],
)
def test_bad_files_are_named_before_training(root, spoil, match):
    spoil(root)
    with pytest.raises(UserError, match=match):
        ready(root)


def write_size(root, stem):
    Image.fromarray(np.zeros((12, 10), np.uint8)).save(root / "gtFine" / f"{stem}_000019_gtFine_labelIds.png")


def test_bad_content_is_named_when_it_is_read(root):
    data = ready(root)
    scene = data._train[4]
    truncate(scene.image)
    with pytest.raises(UserError, match=r"ulm_000004.*truncated or corrupted"):
        list(data.pool_batches([torch.tensor([4])]))
    Image.fromarray(np.zeros((48, 40, 3), np.uint8)).save(data._train[3].label)
    with pytest.raises(UserError, match=r"one channel .* colours are greys"):
        Uncached().label(data._train[3])
    write_scene(root, "train", "ulm", 2, (33, 47))
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(data._train[3].label)
    with pytest.raises(UserError, match=r"to be 47x33 .* got 12x10"):
        Uncached().label(data._train[3])


def test_two_classes(root):
    data = ready(root, foreground=["road", "parking", "rail track"])
    _, labels, _ = next(iter(data.val_dataloader()))
    assert set(labels.unique().tolist()) == {0, 1, 255}


def test_fingerprint_sees_names_and_sizes_of_images_only(root):
    before = ready(root).fingerprint()
    assert before == ready(root).fingerprint() and before["items"] == 5
    write_scene(root, "train", "ulm", 2, (33, 47), ids=7)
    assert ready(root).fingerprint() == before  # nobody has read that label
    write_scene(root, "train", "ulm", 99, (40, 56))
    assert ready(root).fingerprint() != before


def test_files_have_the_same_names_wherever_they_lie(root, tmp_path):
    """An evaluation set outside the root is named as if it were a folder of it."""
    pool, evaluation = list_scenes(root, "train"), list_scenes(root, "val")
    inside = file_names(root, pool, evaluation)
    assert inside[pool[0].label] == "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png"
    assert inside[evaluation[0].image] == "leftImg8bit/val/bonn/bonn_000007_000019_leftImg8bit.png"
    away = [scene._replace(image=tmp_path / "v" / "images" / "a.png", label=tmp_path / "v" / "masks" / "a.png") for scene in evaluation[:1]]
    names = file_names(root, pool, away)
    assert names[away[0].label] == "evaluation/masks/a.png" and names[pool[0].label] == inside[pool[0].label]


BAD = [
    *[{name: value} for name in ("crop", "query_crop") for value in (0, 100_000)],
    *[{"scale": value} for value in ((0.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0))],
    *[{name: 0} for name in ("initial_size", "batch_size", "eval_batch_size", "score_batch_size")],
    *[{name: -1} for name in ("num_workers", "initial_seed")],
    {"initial_size": 6},
    {"mean": (123.7, 116.3, 103.5)},
    {"std": (0.0, 0.1, 0.1)},
]


@pytest.mark.parametrize("arguments", BAD, ids=str)
def test_bad_arguments(root, arguments):
    with pytest.raises(UserError, match=f"Expected .*{next(iter(arguments))}"):
        ready(root, **arguments)


@pytest.mark.parametrize(
    "arguments", [{"width": -1}, {"height": 31}, {"width": 10**5}, {"frames": 0}, {"scenes_seed": -1}, {"train_sequences": 0}]
)
def test_bad_arguments_of_drawn_scenes(tmp_path, arguments):
    with pytest.raises(UserError, match=f"Expected {next(iter(arguments))} of SyntheticScenesDataModule"):
        SyntheticScenesDataModule(cache=str(tmp_path), **arguments)


def test_what_systems_put_beside_images_is_not_one(root):
    """macOS' resource forks, and folders of tools."""
    before = ready(root).fingerprint()
    for folder in (root / "leftImg8bit" / "train").iterdir():
        for image in list(folder.iterdir()):
            image.with_name(f"._{image.name}").write_bytes(b"\0\5\26\7")
        (folder / ".DS_Store").write_bytes(b"")
        (folder / "Thumbs.db").write_bytes(b"")
    copies = root / "leftImg8bit" / "train" / ".ipynb_checkpoints"
    copies.mkdir()
    (copies / "ulm_000000_000019_leftImg8bit.png").write_bytes(b"")
    assert ready(root).fingerprint() == before


def test_two_processes_that_draw_the_same_scenes_both_have_them(tmp_path, monkeypatch):
    settings = {"cache": str(tmp_path / "cache"), "train_sequences": 1, "val_sequences": 1, "frames": 1, "height": 32, "width": 32}
    whole = os.rename

    def lose(partial, root):
        monkeypatch.setattr(os, "rename", whole)
        SyntheticScenesDataModule(**settings).prepare_data()  # the other one is first
        whole(partial, root)

    monkeypatch.setattr(os, "rename", lose)
    data = SyntheticScenesDataModule(**settings, initial_size=1)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tmp-of-a-killed-one").mkdir()
    data.prepare_data()
    data.setup("fit")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted([data.root.name, "tmp-of-a-killed-one"])
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(PermissionError("no")))
    with pytest.raises(PermissionError):
        SyntheticScenesDataModule(**{**settings, "scenes_seed": 1}).prepare_data()


def test_synthetic_scenes_are_drawn_once_and_repeat(tmp_path):
    settings = {"train_sequences": 3, "val_sequences": 2, "frames": 2, "height": 48, "width": 64, "initial_size": 2}
    first, second = (SyntheticScenesDataModule(cache=str(tmp_path / name), **settings) for name in ("a", "b"))
    for data in (first, second):
        data.prepare_data()
        data.setup("fit")
    assert (len(first._train), len(first._eval)) == (6, 4)
    assert first.fingerprint() == second.fingerprint()
    assert np.array_equal(first.picture(3), second.picture(3))
    stamp = first._train[0].image.stat().st_mtime_ns
    first.prepare_data()
    assert first._train[0].image.stat().st_mtime_ns == stamp
    other = SyntheticScenesDataModule(cache=str(tmp_path / "a"), **{**settings, "scenes_seed": 1})
    assert other.root != first.root
    pixels = torch.cat(
        [first.classes.classes_of(Uncached().label(scene), scene.label).flatten() for scene in [*first._train, *first._eval]]
    ).long()
    counts = pixels[pixels != 255].bincount(minlength=19)
    assert (counts > 0).sum() >= 7 and counts.max() > 30 * counts[counts > 0].min()  # classes of very different size
    frames = [Uncached().image(scene).astype(float) for scene in first._train]
    assert abs(frames[0] - frames[1]).mean() < 0.5 * abs(frames[0] - frames[2]).mean()  # neighbours in a sequence are near-duplicates


def test_camvid():
    root = Path(__file__).parents[3].parent / "shared" / "data" / "camvid-cityscapes"
    if not root.is_dir():
        pytest.skip(f"the data set is not here: {root}")
    data = ready(root, initial_size=20)
    assert (len(data._train), len(data._eval)) == (367, 101)
    assert Uncached().label(data._train[0]).shape == (360, 480)


def test_a_label_of_another_size_is_refused_though_its_file_is_known(root, tmp_path):
    """The same file may be right for another image, of this run or of another one."""
    labels = sorted((root / "gtFine" / "train").rglob("*_labelIds.png"))
    sizes = {path: Image.open(path).size for path in labels}
    small = next(path for path in labels if sizes[path] == (47, 33))
    large = next(path for path in labels if sizes[path] == (56, 40))
    kept = {"square": 24, "decoded_cache": "disk", "cache_folder": str(tmp_path / "kept"), "initial_size": 1, "eval_batch_size": 3}
    data = ready(root, **kept)
    place = next(index for index in range(5) if data._train[index].label == large)
    data.oracle_labels(torch.tensor([place]))
    small.write_bytes(large.read_bytes())
    other = next(index for index in range(5) if data._train[index].label == small)
    with pytest.raises(UserError, match="47x33"):
        ready(root, **kept).oracle_labels(torch.tensor([other]))


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_a_square_scales_images_smoothly_and_labels_by_their_nearest(root, tmp_path, cache):
    ready(root, decoded_cache=cache, cache_folder=str(tmp_path / "kept"), initial_size="all").targets(0)  # kept at another size
    data = ready(root, square=24, decoded_cache=cache, cache_folder=str(tmp_path / "kept"), initial_size="all", eval_batch_size=3)
    scene = data._train[4]  # 48x40
    image, label = np.array(Image.open(scene.image)), np.array(Image.open(scene.label))
    assert np.array_equal(data.picture(4), np.array(Image.fromarray(image).resize((24, 24), Image.Resampling.BILINEAR)))
    rows, columns = (np.floor((np.arange(24) + 0.5) * edge / 24).astype(int) for edge in label.shape)
    assert torch.equal(data.targets(4), data.classes.classes_of(label[np.ix_(rows, columns)], scene.label))
    assert torch.equal(data.inputs_of(image), next(iter(data.pool_batches([torch.tensor([4])])))[0][0])
    assert [batch.tolist() for batch in data.scoring_batches(torch.arange(5))] == [[0, 1, 2, 3, 4]]
    assert [inputs.shape for inputs, _, _ in data.val_dataloader()] == [(3, 3, 24, 24)]
    boxes = ready(root, square=24, query_crop=16).boxes()
    assert all(box.height == box.width == 16 and box.top + 16 <= 24 and box.left + 16 <= 24 for box in boxes)
    Image.fromarray(label[:24, :24]).save(scene.label)  # of the size that its image is scaled to, but not of its image's
    with pytest.raises(UserError, match="48"):
        ready(root, square=24, decoded_cache=cache, cache_folder=str(tmp_path / "kept")).oracle_labels(torch.tensor([4]))

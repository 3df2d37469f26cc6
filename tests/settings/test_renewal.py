from al_lightning import settings


def test_files_may_be_moved_and_nothing_else():
    then = {"data.init_args.root": "a", "data.init_args.evaluation": 0.2, settings.ENCODER_WEIGHTS: "w.pth", "trainer.max_epochs": 3}
    assert settings.moved(then, then) == []
    now = {**then, "data.init_args.root": "b", settings.ENCODER_WEIGHTS: "x/w.pth", "run_dir": "elsewhere"}
    assert settings.moved(then, now) == ["data.init_args.root", settings.ENCODER_WEIGHTS]
    assert settings.fingerprint(then) == settings.fingerprint(now)
    del then["data.init_args.root"]  # the data module's own place
    assert settings.moved(then, now)[0] == "data.init_args.root" and settings.fingerprint(then) == settings.fingerprint(now)
    others = {"data.init_args.evaluation": 0.3, settings.ENCODER_WEIGHTS: "imagenet", "trainer.max_epochs": 4}
    for key, value in others.items():
        assert settings.moved(then, {**then, key: value}) == []
        assert settings.fingerprint(then) != settings.fingerprint({**then, key: value})
    assert settings.moved({"data.init_args.evaluation": 0.2}, {"data.init_args.evaluation": "more"}) == []
    # a name that is no file, as some libraries have for weights
    named, other = {settings.ENCODER_WEIGHTS: "noisy-student"}, {settings.ENCODER_WEIGHTS: "advprop"}
    assert settings.moved(named, other, weights_known=False) == []
    assert settings.fingerprint(named, weights_known=False) != settings.fingerprint(other, weights_known=False)


def test_one_batch_is_not_all_of_them():
    then = {"trainer.limit_val_batches": 1.0, "trainer.max_epochs": 3}
    assert settings.differences(then, dict(then)) == []
    now = {**then, "trainer.limit_val_batches": 1}
    assert settings.differences(then, now) == ["trainer.limit_val_batches was 1.0 and is 1"]

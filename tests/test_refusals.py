"""What a user can mend is one message with status 1 or 2, whatever raised it; how commands end otherwise."""

import errno
import multiprocessing
import os
import re
import resource
import signal
import time
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from al_lightning import cli, commands
from al_lightning.errors import UserError
from al_lightning.refusals import one_message, refusal
from al_lightning.runs import RunDirectory
from al_lightning.sweeps.launch import run_fit
from tests.experiments import in_child
from tests.test_cli import TINY

FIT = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--run_dir=r"]


@pytest.fixture
def config(tmp_path, undrawn):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return "tiny.yaml"


@pytest.fixture(autouse=True)
def _interruptible():
    """Ctrl-C is ignored by a command that ends by it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def told(capsys, config, *arguments):
    """The one message of a command line that is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", "--config", config, *FIT, *arguments])
    assert end.value.code not in (0, None)
    said = capsys.readouterr().err + (end.value.code if isinstance(end.value.code, str) else "")
    assert "Traceback" not in said and "Namespace(" not in said and said.count("error:") == 1
    message = said[said.index("al_lightning: error: ") :].splitlines()
    assert len(message) == 1 or message[1:] == ["See python -m al_lightning fit --help."]
    return message[0].removeprefix("al_lightning: error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("seed_everything=-1", "seed_everything to be an integer from 0 to 4294967295, got -1"),
        ("seed_everything=4294967296", "from 0 to 4294967295, got 4294967296"),
        ("active_learning.query_size=0", "active_learning.query_size to be a number >0 or list, got 0"),
        ("active_learning.cycles=ten", "active_learning.cycles to be a whole number above 0, got ten"),
        ("model.init_args.network.init_args.width=1e3", "width to be a whole number above 0, got 1e3"),
        ("active_learning.stride=[4,0]", "active_learning.stride"),
        ("active_learning.stride=[]", "stride to be a number or a list of at least one"),
        ("active_learning.label_budget=69", "label_budget of at least the initial set's 70, got 69"),
        ('active_learning.target={"val/accuracy": 85}', "active_learning.target"),
        ('active_learning.target={"val/loss": 0.5}', "metrics val/... of which more is better"),
        ("active_learning.target={}", "metrics val/... of which more is better"),
        ("active_learning.strategy.aggregation=Max", "pixels are scored for Entropy(aggregation=Max), but each item has one score"),
        ("active_learning.keep=some", "active_learning.keep to be one of 'all', 'last', 'none', got some"),
        ("active_learning.querysize=5", "active_learning.querysize=5. Is it active_learning.query_size?"),
        ("trainer.max_epoch=5", "Is it trainer.max_epochs?"),
        ("trainer.max_epochs=-2", "trainer.max_epochs to be a number >=-1, got -2"),
        ("trainer.max_epochs=many", "trainer.max_epochs to be a whole number from -1 on, got many"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches to be a number >0, got 0"),
        ("trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch to be a number >0, got 0"),
        ("trainer.val_check_interval=0", "trainer.val_check_interval to be a number of batches or a share of them, above 0"),
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches to be a number of batches or a share of them, above 0"),
        ("trainer.overfit_batches=0.5", "Expected trainer.overfit_batches to be 0, got 0.5"),
        ("trainer.barebones=true", "a learning curve is made of metrics"),
        ("trainer.default_root_dir=x", "a run lies in its --run_dir"),
        ("trainer.num_nodes=2", "connects 2 nodes"),
        ("trainer.devices=0", "Lightning refuses the trainer's settings: `Trainer(devices='0')`"),
        ("trainer.devices=3000", "trainer.devices to be at most 16"),
        ("trainer.accelerator=gpu", "Lightning refuses the trainer's settings: No supported gpu backend"),
        ("trainer.strategy=nonsense", "Lightning refuses the trainer's settings: You selected an invalid strategy name"),
        ("trainer.precision=7", "trainer.precision to be one of 64, 32, 16 or one of"),
        ("trainer.logger=CometLogger", "CometLogger': Requirement 'comet-ml"),
        ("trainer.logger=nonsense", "trainer.logger to be the name or the import path of a class"),
        ("trainer.callbacks+=EarlyStopping trainer.callbacks.monitor=val_loss", "`val_loss` which is not available"),
        ("trainer.callbacks+=ModelCheckpoint trainer.callbacks.save_top_k=-2", "Invalid value for save_top_k=-2"),
        ("trainer.callbacks+=EarlyStopping", "the following arguments are required: monitor"),
        ("model.init_args.network.init_args.widht=5", "'widht' is not accepted. Is it width?"),
        ("data.init_args.root=${NOWHERE}", "Expected ${NOWHERE} in"),
    ],
)
def test_a_bad_setting_is_one_message(capsys, config, arguments, message):
    assert message in told(capsys, config, *(f"--{argument}" for argument in re.split(r" (?=trainer\.)", arguments)))


def test_the_traceback_is_printed_on_request(capsys, config, monkeypatch):
    monkeypatch.setenv("AL_LIGHTNING_TRACEBACK", "1")
    with pytest.raises(SystemExit, match="Lightning refuses the trainer's settings"):
        cli.main(["fit", "--config", config, *FIT, "--trainer.devices=0"])
    assert "MisconfigurationException" in capsys.readouterr().err


def chained(error, *causes):
    """An error that came of others, while things were ended."""
    for cause in causes:
        error.__context__ = cause
    return error


def raised_by(module, error):
    """An error as a library's code raises it."""
    code = compile("raise error", f"{module}.py", "exec")
    try:
        exec(code, {"__name__": module, "error": error})
    except type(error) as raised:
        return raised


WORKER = """Caught {kind} in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 1
{said}"""
CLOSED = (
    "[/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:55179. This is typically caused by a remote worker crashing."
)
SHM = "unable to open shared memory object </torch_26_35_2> in read-write mode: "


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("Expected this, got that."), "Expected this, got that."),
        (
            UserError(WORKER.format(kind="UserError", said="al_lightning.errors.UserError: Expected a\nwhole image.")),
            "Expected a\nwhole image.",
        ),
        (
            RuntimeError(
                f"\n-- Process 1 ...\nTraceback (most recent call last):\n  ...\n{UserError.__module__}.UserError: Expected it.\n"
            ),
            "Expected it.",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "a.csv"), "the disk is full (a.csv). Make room, then go on."),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a.csv"), "your quota on the disk is used up (a.csv)"),
        (OSError(errno.EFBIG, "File too large"), "a file would be larger than one may be. Raise the limit (ulimit -f)"),
        (OSError(errno.EROFS, "Read-only file system", "a"), "the file system can only be read (a)"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "as many files open as it may (a). Raise the limit (ulimit -n)"),
        (OSError(WORKER.format(kind="OSError", said="OSError: [Errno 28] No space left on device: 'b'")), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "Permission denied: a"),
        (MemoryError(), "the memory is used up"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
            "the memory is used up",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "the GPU's memory is used up"),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Bus error. It is possible ..."), "(/dev/shm) is full"),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed. "), "a loading process was killed"),
        (RuntimeError(SHM + "No space left on device (28)"), "(/dev/shm) is full"),
        (RuntimeError(SHM + "Too many open files (24)"), "Raise the limit (ulimit -n)"),
        (raised_by("multiprocessing.synchronize", OSError(errno.ENOSPC, "No space left on device")), "(/dev/shm) is full"),
        (RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0"), "a checkpoint could not be written whole"),
        (RuntimeError(CLOSED), "another process of this run has ended"),
        (
            raised_by("lightning.pytorch.loops", chained(RuntimeError("Please call iter."), OSError(errno.EFBIG, "x"))),
            "a file would be larger",
        ),
        (MisconfigurationException("no such\nthing"), "Lightning refuses: no such thing (AL_LIGHTNING_TRACEBACK=1 shows where.)"),
        (raised_by("lightning.pytorch.callbacks.early_stopping", RuntimeError("not available")), "Lightning refuses: not available"),
        (raised_by("torch.optim.sgd", ValueError("Invalid learning rate: -1")), "Torch.optim refuses: Invalid learning rate: -1"),
        (raised_by("lightning.pytorch.loops", ZeroDivisionError("modulo by zero")), None),
        (raised_by("lightningrod", ValueError("not Lightning's")), None),
        (KeyError("a fault of the program"), None),
        (OSError(errno.ENOENT, "No such file or directory"), None),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), None),
    ],
)
def test_what_is_raised_becomes_what_to_do(error, message):
    said = refusal(error, "go on")
    assert said is None if message is None else said is not None and message in said
    assert said is None or "Traceback (" not in said


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (KeyboardInterrupt(), 130),
        (chained(SystemExit(1), KeyboardInterrupt()), 130),
        (SIGTERMException(), 143),
        (SystemExit(7), 7),
        (SystemExit("a message"), "a message"),
    ],
)
def test_how_a_command_ends_otherwise(end, status):
    @one_message("go on")
    def command():
        raise end

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == status


def test_a_fault_of_the_program_keeps_its_traceback():
    @one_message()
    def command():
        return {}["nothing"]

    with pytest.raises(KeyError):
        command()


class Interrupt(Callback):
    """Presses Ctrl-C in training or in scoring."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self.press)

    def press(self, *_):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_scoring"])
def test_ctrl_c_in_a_run_ends_with_130(config, capsys, hook):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells make background jobs ignore it
    with pytest.raises(SystemExit) as end:
        cli.main(
            ["fit", "--config", config, *FIT, "--trainer.callbacks+=tests.test_refusals.Interrupt", f"--trainer.callbacks.hook={hook}"]
        )
    assert end.value.code == 130 and "Traceback" not in capsys.readouterr().err


def test_a_limit_of_files_sizes_is_one_message_and_nothing_is_lost(config, capfd):
    """Checkpoints are larger than files may be; the run goes on where they may."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        with pytest.raises(SystemExit, match=r"^al_lightning: error: a file would be larger than one may be.*--resume"):
            cli.main(["fit", "--config", config, *FIT])

    assert in_child(limited) == 0, capfd.readouterr().err
    assert not RunDirectory("r").learning_curve.exists()
    cli.main(["fit", "--config", config, *FIT, "--resume"])
    assert len(RunDirectory("r").read_cycles()) == 3


def test_weights_and_biases_is_asked_before_anything_is_written(config, capsys, monkeypatch):
    import wandb

    def no_key(**_):
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "login", no_key)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    online = ["--trainer.logger=WandbLogger", "--trainer.logger.offline=false"]
    assert re.search("Expected to reach Weights & Biases.*No API key.*offline true", told(capsys, config, *online))
    assert not Path("r").exists()
    monkeypatch.setenv("WANDB_MODE", "disabled")  # which W&B remembers as long as the process lives
    assert in_child(lambda: cli.main(["fit", "--config", config, *FIT, *online, "--active_learning.cycles=1"])) == 0


def test_a_process_that_dies_is_named_by_the_one_that_started_it(config, monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ddp = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu", "--trainer.max_epochs=100000"]
    first = multiprocessing.get_context("fork").Process(target=run_fit, args=(["fit", "--config", config, *FIT, *ddp], "log", None))
    first.start()  # as a sweep starts a run: it has imported all, and starts the other process by the command line
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
    deadline = time.monotonic() + 120
    while not RunDirectory("r").queries.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # they train
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    first.join(60)
    said = Path("log").read_text() + "".join(capfd.readouterr())  # pytest has taken the streams of the first one
    assert first.exitcode not in (None, 0) and "Traceback" not in said
    assert said.count("al_lightning: error: process 1 of the run has ended (SIGKILL)") == 1 and "--resume" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", ""], "an empty one"),
        (["figures", "--out="], "an empty one"),
        (["initial", "--config", "x", "--out", ""], "an empty one"),
        (["sweep", "x.yaml", "--jobs", "1000000000"], "at most 10,000"),
        (["sweep", "x.yaml", "--set", "a=[1"], "Expected --set KEY=VALUE with a value in YAML"),
        (["sweep", "x.yaml", "--set", "run_dir=elsewhere"], "Expected no run_dir among the settings of the sweep"),
        (["sweep", "x.yaml", "--set", "data.init_args.root=${X}"], "to be filled in by the shell"),
        (["figures", "--out", "/proc/nowhere"], "No such file or directory: /proc/nowhere"),
    ],
)
def test_other_commands_refuse_in_one_message_too(config, arguments, message):
    Path("x.yaml").write_text("base: tiny.yaml\ngrid: {seed_everything: [0, 1]}\n")
    with pytest.raises(SystemExit) as end:
        commands.main(arguments)
    assert message in str(end.value.code)

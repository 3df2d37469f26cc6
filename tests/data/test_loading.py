import errno

import pytest
from torch.utils.data import DataLoader, Dataset

from al_lightning.data.loading import end_where_nothing_can_be_sent
from al_lightning.refusals import refusal


class Unsendable:
    def __reduce__(self):
        raise OSError(errno.EMFILE, "Too many open files")


class Items(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Unsendable()


def test_a_batch_that_cannot_be_sent_is_not_waited_for(capfd):
    loader = DataLoader(Items(), num_workers=1, batch_size=None, worker_init_fn=end_where_nothing_can_be_sent, timeout=60)
    with pytest.raises(RuntimeError, match="exited unexpectedly") as error:
        list(loader)
    assert "al_lightning: error: this process has as many files open as it may. Raise the limit (ulimit -n)" in capfd.readouterr().err
    assert "a loading process has ended; what it has said tells why" in refusal(error.value)

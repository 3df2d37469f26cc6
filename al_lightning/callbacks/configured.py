"""What identifies a run's configuration, wherever the files that it names lie, and however far the run goes."""

from pathlib import Path

from al_lightning import settings
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from al_lightning.sources import sha256_of_file

_SETTINGS, _WEIGHTS = "settings_sha256", "encoder_weights_sha256"


def configured(run: RunDirectory) -> dict[str, str | None]:
    """Identifies a run's stored configuration, for environment.json.

    Returns:
        ``settings_sha256``, a hash of the settings but for the places of files and the budget; None if there is no configuration. And,
        where an encoder's weights are from a file, ``encoder_weights_sha256``, a hash of its content.
    """
    if not run.config.is_file():
        return {_SETTINGS: None}
    stored = settings.flat(run.read_config())
    weights = _weights_sha256(stored)
    found: dict[str, str | None] = {_SETTINGS: settings.fingerprint(stored, weights is not None)}
    return found if weights is None else found | {_WEIGHTS: weights}


def weights_known(run: RunDirectory) -> bool:
    """Whether the run has recorded what the file of its encoder's weights holds."""
    return _WEIGHTS in run.read_environment()


def is_as_it_was(run: RunDirectory) -> bool:
    """Whether the stored configuration has the fingerprint of that with which the run began. True if nobody recorded that."""
    then = run.read_environment().get(_SETTINGS)
    return then is None or then == settings.fingerprint(settings.flat(run.read_config()), weights_known(run))


def refuse_other_weights(run: RunDirectory, whose: str, now: settings.Settings) -> None:
    """Makes sure that the file of an encoder's weights is the one with which a run began. A file that is missing is named where it is read.

    Args:
        run: the run.
        whose: what the message calls it.
        now: the present configuration, by dotted key.

    Raises:
        UserError: the file has other content.
    """
    then = run.read_environment().get(_WEIGHTS)
    if then is not None and _weights_sha256(now) not in (None, then):
        file = now[settings.ENCODER_WEIGHTS]
        raise UserError(f"Expected the encoder's weights that {whose} in {run.path} began with, but {file} has other content.")


def _weights_sha256(now: settings.Settings) -> str | None:
    """The hash of the file of an encoder's weights; None if there is no such file."""
    if settings.ENCODER_WEIGHTS not in settings.places(now):
        return None
    return sha256_of_file(Path(now[settings.ENCODER_WEIGHTS]).expanduser())

"""What identifies a run's configuration, wherever the files that it names lie."""

from pathlib import Path
from typing import Any

from al_lightning.analysis.numbers import settings
from al_lightning.runs import RunDirectory
from al_lightning.sources import sha256_of_file


def configured(run: RunDirectory) -> dict[str, str | None]:
    """Identifies a run's stored configuration, for environment.json.

    Returns:
        ``settings_sha256``, a hash of the settings but for the places of files; None if there is no configuration. And, where an encoder's
        weights are from a file, ``encoder_weights_sha256``, a hash of its content.
    """
    if not run.config.is_file():
        return {"settings_sha256": None}
    stored = settings.flat(run.read_config())
    weights = weights_sha256(stored)
    return {"settings_sha256": settings.fingerprint(stored), **({"encoder_weights_sha256": weights} if weights else {})}


def weights_sha256(configuration: dict[str, Any]) -> str | None:
    """Returns the hash of the file of an encoder's weights; None if there is no such file.

    Args:
        configuration: settings by dotted key.
    """
    named = configuration.get(settings.ENCODER_WEIGHTS)
    return sha256_of_file(Path(str(named)).expanduser()) if settings.is_place(settings.ENCODER_WEIGHTS, named) else None

"""A round through Label Studio itself; see ``make test-label-studio``."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_lightning.annotation.run_lengths import packed
from al_lightning.commands import main
from al_lightning.runs import RunDirectory
from tests.callbacks.test_oracles import CONFIG, folder, wanted  # noqa: F401

pytestmark = pytest.mark.label_studio

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("LABEL_STUDIO_PYTHON", ROOT / ".venv-label-studio" / "bin" / "python"))
TOKEN = "0123456789abcdef0123456789abcdef01234567"
OFF = {"SENTRY_DSN": "", "COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "DISABLE_SIGNUP_WITHOUT_LINK": "true"}
BEGINS_WITHIN = 300  # seconds


class Server:
    """Label Studio on loopback, which may serve the files of a folder."""

    def __init__(self, home, served):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        user = {"USERNAME": "a@example.org", "PASSWORD": "not-a-secret", "USER_TOKEN": TOKEN, "ENABLE_LEGACY_API_TOKEN": "true"}
        files = {"LOCAL_FILES_SERVING_ENABLED": "true", "LOCAL_FILES_DOCUMENT_ROOT": str(served)}
        settings = {**OFF, **user, **files, "BASE_DATA_DIR": str(home)}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [PYTHON.with_name("label-studio"), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(self.port)]
        self.log = (home.parent / "label-studio.log").open("wb")
        self.process = subprocess.Popen(
            command,
            env=environment | {f"LABEL_STUDIO_{name}": value for name, value in settings.items()} | OFF,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def begin(self):
        until = time.monotonic() + BEGINS_WITHIN
        while time.monotonic() < until and self.process.poll() is None:
            try:
                return self("GET", "/health")
            except OSError:
                time.sleep(1)
        pytest.fail(f"Label Studio does not begin: {Path(self.log.name).read_text()[-2000:]}")

    def __call__(self, method, path, content=None, raw=False):
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            pytest.fail(f"{method} {path}: {error.code} {error.read()[:2000]!r}")
        return body if raw else json.loads(body or "null")

    def end(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytest.fixture
def server(tmp_path):
    if not PYTHON.is_file():
        pytest.skip(f"no Label Studio in {PYTHON}: make test-label-studio installs it")
    (tmp_path / "home").mkdir()
    server = Server(tmp_path / "home", tmp_path / "run")
    try:
        server.begin()
        yield server
    finally:
        server.end()


def fit(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["fit", *arguments, "--run_dir=run", "--active_learning.package=[label_studio]"])
    assert end.value.code == 75
    return wanted(RunDirectory("run"))


def person(item):
    return np.array(Image.open(f"annotator/{item}.png")) == 7


def region(kind, **value):
    own = {"id": kind, "from_name": kind, "to_name": "image", "type": f"{kind}labels", "original_width": 20, "original_height": 24}
    return [{**own, "image_rotation": 0, "value": {**value, f"{kind}labels": ["cell"]}}]


def brush(mask):
    return region("brush", format="rle", rle=packed(mask))


def half():
    """The left half of an image."""
    return region("polygon", points=[[0, 0], [50, 0], [50, 100], [0, 100]], closed=True)


def test_a_round(folder, server, capsys):  # noqa: F811
    Path("c.yaml").write_text(CONFIG.replace("crop: 16,", "crop: 16, rest: ground,"))
    asked = fit("--config=c.yaml")
    package = Path("run/cycles/000/to_label")
    config = (package / "label_studio" / "labels.xml").read_text()
    project = server("POST", "/api/projects", {"title": "round", "label_config": config, "sampling": "Uncertainty sampling"})["id"]
    files = {"project": project, "path": str(package.resolve()), "use_blob_urls": True}
    server("POST", "/api/storages/localfiles", files)
    tasks = json.loads((package / "label_studio" / "tasks.json").read_text())
    assert any(task["predictions"][0]["result"] for task in tasks)
    assert server("POST", f"/api/projects/{project}/import", tasks)["task_count"] == len(asked)

    for place in range(len(asked)):  # as a person is given them
        task = server("GET", f"/api/projects/{project}/next")
        assert (task["data"]["item"], task["data"]["rank"]) == (asked[place], place)
        assert server("GET", task["data"]["image"], raw=True) == (package / f"{asked[place]}.png").read_bytes()
        (prediction,) = task["predictions"]
        assert prediction["result"] == tasks[place]["predictions"][0]["result"] and prediction["score"] == place / len(asked)
        server("POST", f"/api/tasks/{task['id']}/annotations", {"result": brush(person(asked[place])) if place else half()})
    server("POST", f"/api/tasks/{task['id']}/annotations", {"result": half()})  # a second opinion of the last one
    Path("export.json").write_bytes(server("GET", f"/api/projects/{project}/export?exportType=JSON", raw=True))
    expected = {item: person(item) for item in asked} | dict.fromkeys((asked[0], asked[-1]), np.arange(20) < np.full((24, 1), 10))
    with pytest.raises(SystemExit):
        main(["ingest", "run", "export.json"])
    assert f"  {asked[-1]}: Expected one annotation, got 2." in capsys.readouterr().out
    main(["ingest", "run", "export.json", "--annotators", "latest"])
    assert "1 masks are taken, 3 were there already, 0 files are refused" in capsys.readouterr().out
    for item in asked:
        assert np.array_equal(np.array(Image.open(f"data/masks/{item}.png")) == 7, expected[item])
    assert fit("--resume") != asked and RunDirectory("run").finished() == 2

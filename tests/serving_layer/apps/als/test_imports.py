"""What a process that only answers has imported: each library costs megabytes in every process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving_layer.apps.als.fixture import commit

UNNEEDED = ("faiss", "pandas", "pyarrow", "scipy", "sklearn")

_SCRIPT = """
import json, sys, time
from common.broker.memory import MemoryBroker
from common.runtime.configuration import load
from serving_layer.run.service import Service

store, *unneeded = sys.argv[1:]
broker = MemoryBroker.named("memory://here")
flags = {"app": "als", "input_topic.broker": "memory://here", "batch.storage.model_dir": store}
settings = load(flags=flags, environment={})
for topic in (settings.input_topic.name, settings.update_topic.name):
    broker.create_topic(topic, 1)
service = Service.of(settings)
client = service.app.test_client()
service.consumer.start()
deadline = time.monotonic() + 60
while client.get("/ready").status_code != 200 and time.monotonic() < deadline:
    time.sleep(0.05)
paths = "/recommend/U0", "/similarity/I0", "/estimate/U0/I1", "/recommendToAnonymous/I0"
found = [client.get(path).status_code for path in paths]
service.consumer.close()
print(json.dumps([found, sorted(set(unneeded).intersection(sys.modules))]))
"""


@pytest.mark.slow
def test_who_only_answers_imports_no_more_than_that_takes(tmp_path: Path) -> None:
    commit(tmp_path)
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "store"), *UNNEEDED]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answered, imported = json.loads(told.stdout)
    assert answered == [200] * 4
    assert imported == []

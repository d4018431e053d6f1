"""Segments that begin side by side make their decoders at the same moment."""

from __future__ import annotations

import subprocess
import sys

RACE = """
import sys, threading
from dynaview.projections.attributes import Shape
from dynaview.sources.pages import ItemsDecoder

sys.setswitchinterval(1e-6)
body = b'{"Items":[{"pk":{"S":"a"},"sk":{"S":"b"},"x":{"N":"1"}}]}'
for number in range(300):
    shape, barrier = Shape({"pk", "sk", "x", f"y{number}"}), threading.Barrier(6)

    def run():
        barrier.wait()
        decoder = ItemsDecoder(shape, ("pk", "sk"))
        for _ in range(5):
            assert len(decoder.decode(body).images) == 1

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("whole")
"""


def test_decoders_that_are_made_at_once_do_not_crash_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr

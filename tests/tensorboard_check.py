"""Lets TensorBoard itself read the event files that thinwire writes.

usage: tensorboard_check.py PATH_OF_TEST_TRAIN

Exits with 77 ("skipped") where the package tensorboard is not installed.
"""

import os
import subprocess
import sys
import tempfile

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("the Python package tensorboard is not installed")
    sys.exit(77)


def check(actual, expected, what):
    if actual != expected:
        sys.exit(f"{what}: expected {expected}, TensorBoard reads {actual}")


with tempfile.TemporaryDirectory() as folder:
    subprocess.run(
        [sys.argv[1], "--gtest_filter=TensorBoard.WritesAnExampleForTheCheck"],
        env={**os.environ, "THINWIRE_TENSORBOARD_EXAMPLE": folder},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    check(len(os.listdir(folder)), 2, "event files")
    run = EventAccumulator(folder)
    run.Reload()
    check(run.file_version, 2.0, "file version")
    check(sorted(run.Tags()["scalars"]), ["train/loss", "train/top1"], "tags")
    # The run was resumed after step 3: what came later is written anew, and only once.
    loss = [(event.step, round(event.value, 5)) for event in run.Scalars("train/loss")]
    check(loss, [(1, 1.0), (2, 0.5), (3, 0.33333), (4, 40.0), (5, 50.0), (6, 60.0)], "train/loss")
    check([event.step for event in run.Scalars("train/top1")], [1, 2, 3], "steps of train/top1")
print("TensorBoard reads what was written")

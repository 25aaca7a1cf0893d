"""A verification that serves a copy, says so, and waits to be killed. Arguments: folder, backup."""

import signal
import sys
from pathlib import Path

from tasks.common.backups import Form, RestoreTo
from tests.support.verifying import CopyingEngine, scratch_in

scratch = scratch_in(Path(sys.argv[1]))
folder = scratch.open()
CopyingEngine(Path(sys.argv[2])).restore(RestoreTo(), folder, lambda _: None)
scratch.replay(Form.CLUSTER)
scratch.serve()
sys.stdout.write(f"{folder}\n")
sys.stdout.flush()
signal.pause()

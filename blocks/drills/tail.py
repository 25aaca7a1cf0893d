"""The client's log while it is being written: what was read is not read again."""

from pathlib import Path

from tasks.drill.log import Log, parse


class Tail:
    """Reads on where it has stopped.

    Args:
        path: of the log; it may come later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._first = ""
        self._log: Log | None = None

    def read(self) -> Log | None:
        """Return everything that the client has said so far; None before its first line.

        Raises:
            Unsafe: a line is not as the client writes it.
        """
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        # What was begun is read when it is whole.
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        lines = whole.decode("utf-8", errors="replace").splitlines(keepends=True)
        if not lines:
            return self._log
        if self._log is None:
            self._first = lines[0]
            self._log = parse(lines, str(self._path))
            return self._log
        new = parse([self._first, *lines], str(self._path))
        self._log = Log(
            new.run,
            new.began_at,
            new.began_s,
            self._log.operations + new.operations,
            self._log.samples + new.samples,
            max(self._log.late_s, new.late_s),
            new.whole,
        )
        return self._log

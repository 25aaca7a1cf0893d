"""The checksum of a migration: what SQL means counts, how it is laid out and commented does not. Pure."""

import hashlib
import json
from collections.abc import Mapping

from tasks.migration.sql import canonical


def checksum(settings: Mapping[str, object], files: Mapping[str, str]) -> str:
    """Return a migration's checksum: a SHA-256 as hexadecimal digits.

    Comments and white space of SQL do not count. Literals, texts between dollars, names in quotes and the case of
    letters do.

    Args:
        settings: what else decides what is done, as JSON data.
        files: SQL by file name; a file that holds no statement counts as well.

    Raises:
        BadSql: a file cannot be read as SQL.
    """
    parts = {name: canonical(text) for name, text in files.items()}
    text = json.dumps([settings, parts], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()

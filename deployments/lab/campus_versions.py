"""The git repository that the demo releases from: campus in three versions, made of examples/campus and its patches.

v1 is promoted blue-green; v2 brings the search, and is promoted as a canary; v3 brings the spotlight, whose tests pass
and which breaks under traffic: the course without a teacher ends its request in an error, and leaves the other courses
of its category waiting for an answer that nobody is working on.
"""

import shutil
import tempfile
from pathlib import Path

from blocks import shell
from tasks.common.errors import Refused
from tasks.common.redaction import Redactor

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CAMPUS = _EXAMPLES / "campus"
PATCHES = _EXAMPLES / "campus-versions"

# Patches on top of examples/campus, subject, day.
_VERSIONS = {
    "v1": (("v1-blue-green.patch",), "Courses, log-in and enrolments", 1),
    "v2": (("v2-search.patch",), "Find courses by title, category and teacher", 2),
    "v3": (("v2-search.patch", "v3-spotlight.patch"), "Put one course in the spotlight", 3),
}
_LEFTOVERS = ("__pycache__", ".coverage", "coverage.json", ".pytest_cache")
_MARK = "campus in three versions, made by Slipway's demo; made anew when its source changes\n"
_TIMEOUT_S = 60.0


def make_repository(folder: Path) -> dict[str, str]:
    """`folder` is a git repository with the versions as commits and tags; returns each version's commit hash.

    The hashes depend on nothing but examples/campus, its patches and this module. The repository is made beside its
    place and moved there when complete.

    *Idempotent:* yes; a repository that has the same commits is left alone, an outdated one is replaced.

    Raises:
        Refused: the folder holds something else, or a patch does not fit any more.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not _is_ours(folder):
        raise Refused(
            "the folder for campus's repository holds something else",
            on=str(folder),
            next_action="move it away, or choose another folder",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        commits = _build(new)
        if not _is_ours(folder) or _tags(folder) != commits:
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            new.rename(folder)
    return commits


def _build(tree: Path) -> dict[str, str]:
    tree.mkdir()
    _git(tree, "init", "--quiet", "--initial-branch=main", "--template=")
    (tree / ".git" / "description").write_text(_MARK, encoding="utf-8")
    for version, (patches, subject, day) in _VERSIONS.items():
        _fill(tree)
        for patch in patches:
            _git(tree, "apply", str(PATCHES / patch))
        _git(tree, "add", "--all")
        _git(tree, "commit", "--quiet", "--message", subject, day=day)
        _git(tree, "tag", version)
    return _tags(tree)


def _fill(tree: Path) -> None:
    """The tree holds examples/campus and nothing else, but for git's own folder."""
    for path in tree.iterdir():
        if path.is_dir() and path.name != ".git":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
    shutil.copytree(CAMPUS, tree, ignore=shutil.ignore_patterns(*_LEFTOVERS), dirs_exist_ok=True)


def _is_ours(folder: Path) -> bool:
    mark = folder / ".git" / "description"
    return mark.is_file() and mark.read_text(encoding="utf-8") == _MARK


def _tags(tree: Path) -> dict[str, str]:
    """Return the commit of every version's tag; without those that are missing."""
    printed = _git(tree, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/tags")
    tags = dict(line.split() for line in printed.splitlines())
    return {version: tags[version] for version in _VERSIONS if version in tags}


def _git(tree: Path, *arguments: str, day: int = 1) -> str:
    """Return what git printed. Neither the user's nor the machine's configuration has a say."""
    date = f"2026-01-{day:02}T12:00:00+00:00"
    done = shell.run(
        ["git", *arguments],
        cwd=tree,
        timeout_s=_TIMEOUT_S,
        redact=Redactor().redact,
        env={
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Campus",
            "GIT_AUTHOR_EMAIL": "team@campus.example",
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": "Campus",
            "GIT_COMMITTER_EMAIL": "team@campus.example",
            "GIT_COMMITTER_DATE": date,
        },
        capture_stdout=True,
    )
    if done.exit_code != 0:
        raise Refused(
            f"git {arguments[0]} failed while making campus's repository",
            on=str(tree),
            state="the repository is as it was before",
            next_action="if a patch does not apply: mend it in examples/campus-versions",
            facts={"last lines": "\n".join(done.tail)},
        )
    return done.stdout

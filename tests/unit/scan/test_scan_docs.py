import pytest

from tasks.common.errors import Refused
from tests.support.scan_docs import documented_blocks, documented_scans, service_with


@pytest.mark.parametrize("block", documented_blocks())
def test_documented_scan_is_accepted(block: str) -> None:
    assert service_with(block).scan


def test_mistake_in_a_documented_scan_is_found() -> None:
    (block,) = [each for each in documented_blocks() if "over: history" in each]
    with pytest.raises(Refused, match="history"):
        service_with(block.replace("over: history", "over: histroy"))


def test_documentation_shows_every_format_that_tools_of_others_have() -> None:
    found = {(scan.tool, scan.format, scan.over) for scan in documented_scans()}
    assert found == {
        ("gitleaks", "sarif", "history"),
        ("semgrep", "sarif", "tree"),
        ("hadolint", "sarif", "tree"),
        ("checkov", "sarif", "tree"),
        ("migrations", "sarif", "tree"),
        ("pip-audit", "pip-audit", "tree"),
        ("npm-audit", "npm-audit", "tree"),
    }

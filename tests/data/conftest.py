import urllib.error

import pytest


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test asks the network for anything; a test that does sees it as unreachable."""

    def unreachable(request, timeout):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)

"""For all tests."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Fast ones first: what starts whole platforms runs last, whatever order plugins chose."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)

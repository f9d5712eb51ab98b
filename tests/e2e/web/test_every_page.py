"""What holds on every page, whatever it shows."""

import pytest
from playwright.sync_api import expect

ROUTES = [
    "/",
    "/datasets",
    "/graders",
    "/graders/new",
    "/graders/new?tab=batch",
    "/graders/new?tab=red-team",
    "/graders/new?tab=calibrate",
    "/graders/new?tab=regrade",
    "/jobs",
    "/jobs/new",
    "/jobs/compare",
    "/models",
    "/models/fettle-tiny",
    "/playground",
    "/usage",
    "/settings",
    "/settings?tab=webhooks",
    "/settings?tab=members",
    "/settings?tab=you",
    "/settings?tab=appearance",
    "/nowhere",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("route", ROUTES)
def test_no_accessibility_violations(open_page, axe_violations, route, scheme):
    page = open_page(route, scheme=scheme, bypass_csp=True)
    assert page.locator("html").get_attribute("data-mantine-color-scheme") == scheme
    assert axe_violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_violations_at_the_sign_in_in_menus_and_in_dialogs(open_page, axe_violations, scheme):
    assert axe_violations(open_page("/sign-in", scheme=scheme, bypass_csp=True, session=False)) == []
    page = open_page("/", scheme=scheme, bypass_csp=True)
    for menu, first in (("Project default", "default"), ("Account of Owner", "Settings")):
        page.get_by_role("button", name=menu).press("Enter")
        expect(page.get_by_role("menuitem", name=first, exact=True)).to_be_focused()
        assert axe_violations(page) == [], menu
        page.keyboard.press("Escape")
        expect(page.get_by_role("menu")).to_have_count(0)
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search").wait_for()
    assert axe_violations(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard").wait_for()
    assert axe_violations(page) == []


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_is_refused_by_the_content_security_policy_or_fails(open_page, route):
    page = open_page(route)
    page.wait_for_load_state("load")  # never idle: the event stream stays open
    assert page.problems == []


@pytest.mark.parametrize("route", ROUTES)
def test_a_phone_never_scrolls_sideways(open_page, route):
    page = open_page(route, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

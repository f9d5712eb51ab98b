import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples/demo/train.jsonl"


@pytest.fixture
def bad_file(tmp_path):
    """The example with line 5 in a wrong role, line 10 broken off and line 21 repeating line 20."""
    lines = EXAMPLE.read_text().splitlines()
    lines[4] = lines[4].replace('"user"', '"usr"')
    lines[9] = '{"messages": ['
    lines[20] = lines[19]
    path = tmp_path / "broken.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_bad_file_says_which_line_what_was_expected_and_gives_the_good_lines(open_page, bad_file, tmp_path):
    page = open_page("/datasets")
    held = []
    page.route("**/v1/files", lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    page.locator("input[type=file]").set_input_files(bad_file)
    # The page's own look comes while the file is on its way; the server's word follows.
    page.get_by_text("2 bad lines so far").wait_for()
    page.get_by_text("Line 10: not valid JSON").wait_for()
    held[0].continue_()
    page.get_by_role("link", name="See what is wrong").click()
    page.get_by_text("Not usable yet: 96 rows · 2 errors · 1 warning").wait_for()
    page.get_by_role("button", name="messages[].role").get_by_text("the role is not known").wait_for()
    page.get_by_text("Expected: system, developer, user, assistant, tool").wait_for()
    raw = page.get_by_title("Line 5 as it stands")
    assert '"role": "usr"' in raw.inner_text()
    assert raw.locator("mark").inner_text() == '"usr"'

    with page.expect_download() as download:
        page.get_by_role("link", name="Download the bad lines").click()
    download.value.save_as(tmp_path / "bad.jsonl")
    assert (tmp_path / "bad.jsonl").read_text().splitlines() == [
        line for index, line in enumerate(bad_file.read_text().splitlines()) if index in (4, 9)
    ]

    page.get_by_role("button", name="Make a file of the good lines").click()
    page.get_by_text("Ready to train on: 94 rows · 1 warning").wait_for()
    assert page.problems == []


# A drag as a browser tells it: a file from outside, which the page is free to take.
DRAG = """([type, name, text]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], name));
    document.body.dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true}));
}"""


def test_rows_are_dropped_anywhere_searched_opened_and_addressed(open_page):
    page = open_page("/")
    page.evaluate(DRAG, ["dragover", "dropped.jsonl", ""])
    page.get_by_text("Drop to upload as a dataset").wait_for()
    page.evaluate(DRAG, ["drop", "dropped.jsonl", EXAMPLE.read_text()])
    page.get_by_text("dropped.jsonl is ready").wait_for()
    page.get_by_role("link", name="Look at its rows").click()
    page.get_by_role("table", name="Rows").wait_for()
    page.get_by_role("searchbox", name="Rows with this text").fill("29, 59")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("status").get_by_text("1 row", exact=True).wait_for()
    page.get_by_role("row").get_by_text("Find the maximum of 29, 59, 16, 76.").click()
    dialog = page.get_by_role("dialog", name="Line 4")
    dialog.get_by_text("item.answer").wait_for()
    again = open_page(page.url.removeprefix(page.evaluate("location.origin")))
    again.get_by_role("dialog", name="Line 4").get_by_text("Find the maximum of 29, 59, 16, 76.").wait_for()


def test_a_split_makes_two_files_without_overlap(open_page, site):
    page = open_page("/datasets")
    page.locator("input[type=file]").set_input_files(EXAMPLE)
    page.get_by_role("link", name="Look at its rows").click()
    page.get_by_role("tab", name="Split and overlap").click()
    page.get_by_role("button", name="Split", exact=True).click()
    page.get_by_role("link", name="train.validation.jsonl").click()
    page.get_by_text("Ready to train on: 10 rows").wait_for()
    page.get_by_role("tab", name="Split and overlap").click()
    page.get_by_role("combobox", name="The other file").click()
    page.get_by_role("option", name="train.train.jsonl").first.click()
    page.get_by_text("No prompt stands in both files.").wait_for()


def test_what_a_row_hides_is_shown_and_no_markup_runs(open_page, tmp_path):
    evil = 'Pay \u202e01 <img src=x onerror="document.title=1"> <b>now</b>'
    path = tmp_path / "evil.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": evil}]}) + "\n")
    page = open_page("/datasets")
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("link", name="Look at its rows").click()
    page.get_by_role("table", name="Rows").get_by_text("<b>now</b>").wait_for()
    assert page.get_by_text("U+202E").count() == 1
    assert page.locator("img[src=x]").count() == 0
    assert page.problems == []

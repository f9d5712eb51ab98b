"""Jobs from the form to their rollouts, as a person makes and reads them."""

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from fettle import Fettle

DEMO = Path(__file__).parents[3] / "examples/demo"
GRADER = json.loads((DEMO / "grader.json").read_text())
TRAINING_S = 180_000


@pytest.fixture(scope="module")
def client(site):
    return Fettle(base_url=site.base_url, api_key=site.api_key)


@pytest.fixture(scope="module")
def files(client):
    """Ids of training and held-out rows, under names that no other test uses."""
    return [
        client.files.create(file=(f"jobs-{name}.jsonl", (DEMO / f"{name}.jsonl").read_bytes()), purpose="fine-tune").id
        for name in ("train", "validation")
    ]


@pytest.fixture(scope="module")
def finished(client, files):
    """Two short jobs that have ended, for the pages that show some."""
    jobs = [
        client.finetune(
            model="fettle-tiny", data=files[0], validation=files[1], grader=GRADER, suffix=f"short {seed}", seed=seed,
            max_steps=6, eval_interval=3,
        )
        for seed in (3, 4)
    ]  # fmt: skip
    for job in jobs:
        job.wait(draw=False)
    return [job.id for job in jobs]


def test_a_job_is_made_in_the_page_watched_and_finished_early(open_page, client, files):
    page = open_page("/jobs")
    page.get_by_role("link", name="New job").first.click()
    page.get_by_role("button", name="Create the job").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose a model.")
    for label, option in (
        ("What training begins from", "fettle-tiny"),
        ("Rows to train on", "jobs-train.jsonl"),
        ("Rows to measure on", "jobs-validation.jsonl"),
    ):
        page.get_by_role("combobox", name=label).click()
        page.get_by_role("option", name=option).first.click()
    page.get_by_role("button", name="Write one here").click()
    page.get_by_role("tab", name="JSON").click()
    definition = page.get_by_role("textbox", name="Definition as JSON")
    definition.fill('{"type": "string_check"}')
    expect(page.get_by_text("this field is required").first).to_be_visible()
    definition.fill(json.dumps(GRADER | {"reference": "{{item.solution}}"}))
    expect(page.get_by_text("line 1, solution").first).to_be_visible(timeout=60_000)
    definition.fill(json.dumps(GRADER))
    expect(page.get_by_text("The server can run it.")).to_be_visible()
    expect(page.get_by_text("make about 150 updates of 8 prompts")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Quick look").click()
    page.get_by_role("button", name="Standard").click()
    page.get_by_label("Steps at most").fill("150")
    page.get_by_label("Steps between evaluations").fill("2")
    page.get_by_label("Suffix").fill("by")
    scrolled = page.evaluate("scrollY")
    assert scrolled > 0
    page.wait_for_url("**suffix=by*")

    page.get_by_role("button", name="Copy as code").click()
    page.get_by_text("JSON", exact=True).last.click()
    # What is typed goes into the address, and the page stays where it is.
    assert page.evaluate("scrollY") == scrolled
    copied = json.loads(page.get_by_label("Code", exact=True).inner_text())
    page.keyboard.press("Escape")
    # Whoever creates it with the last key still warm, on a slow line, is not called back to the form.
    page.route("**/JobPage-*.js", lambda route: (time.sleep(1), route.continue_()))
    page.get_by_label("Suffix").fill("by hand")
    page.get_by_role("button", name="Create the job").click()
    page.get_by_role("heading", name="by hand").wait_for()
    page.wait_for_url("**/jobs/ftjob-*")
    job = client.fine_tuning.jobs.retrieve(page.url.rsplit("/", 1)[1])
    assert copied == {
        "model": job.model,
        "training_file": files[0],
        "validation_file": files[1],
        "suffix": "by",
        "method": {
            "type": "reinforcement",
            "reinforcement": {"grader": GRADER, "hyperparameters": {"max_steps": 150, "eval_interval": 2}},
        },
    }
    asked = job.fettle["requested"]
    assert (asked["max_steps"], asked["eval_interval"], asked["n_epochs"]) == (150, 2, "auto")

    # The curves move while the page is only looked at. Several points may come with one look.
    chart = page.get_by_role("img", name=re.compile(r"held out, 95 %: \d+ points"))
    chart.wait_for(timeout=TRAINING_S)
    seen = chart.get_attribute("aria-label").split("held out, 95 %: ")[1].split()[0]
    expect(chart).not_to_have_accessible_name(re.compile(f"held out, 95 %: {seen} points"), timeout=TRAINING_S)
    expect(page.get_by_label("To step")).not_to_have_value("0")  # it was opened before the first step
    page.get_by_role("button", name="Finish early and keep the best").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("All checkpoints and rollouts stay.")
    dialog.get_by_role("button", name="Finish early and keep the best").click()
    expect(page.get_by_role("status").first).to_contain_text("is delivered", timeout=TRAINING_S)
    assert client.fine_tuning.jobs.retrieve(job.id).fettle["step"] < 150
    # The half grader, and the one that reads what no row has: the server refused both.
    assert page.problems
    assert all("400" in problem for problem in page.problems), page.problems


def test_a_stretch_of_the_curves_is_looked_at_closely(open_page, finished):
    page = open_page(f"/jobs/{finished[0]}")
    whole = page.get_by_role("img", name=re.compile(r"training: 6 points.*Marked: .*✓ \d+ at step"))
    expect(whole.first).to_be_visible()
    page.get_by_label("From step").fill("3")
    page.wait_for_url("**from=3*")
    expect(page.get_by_role("img", name="training: 4 points").first).to_be_visible()
    page.get_by_role("button", name="Show all steps").click()
    expect(whole.first).to_be_visible()


def test_why_a_checkpoint_was_chosen_is_a_sentence_a_picture_and_json(open_page, client, finished):
    page = open_page(f"/jobs/{finished[0]}")
    page.get_by_role("tab", name="Checkpoints").click()
    selection = client.fettle.selection(finished[0])
    page.get_by_role("heading", name=f"Why step {selection.chosen_step}").wait_for()
    assert page.url.endswith("tab=checkpoints")
    for candidate in selection.candidates:
        expect(page.get_by_role("img", name=f"Step {candidate.step}:")).to_be_visible()
    expect(page.get_by_role("img", name=", chosen")).to_have_count(1)
    page.get_by_role("button", name="The decision as JSON").click()
    shown = json.loads(page.locator("pre").first.inner_text())
    assert shown["chosen_step"] == selection.chosen_step
    assert shown["rule"] == selection.rule


def test_the_delivered_model_is_asked_a_held_out_row_beside_its_start(open_page, finished):
    page = open_page(f"/jobs/{finished[0]}")
    page.get_by_role("link", name="Try it beside its start").click()
    question = json.loads((DEMO / "validation.jsonl").read_text().splitlines()[0])["messages"][0]["content"]
    prompt = page.get_by_role("textbox", name="Prompt")  # while the playground loads, the job's page has other labels
    expect(prompt).to_have_value(question)
    prompt.press("Control+Enter")
    for answer in page.get_by_role("region", name="Answer of").all():
        expect(answer).to_contain_text("reward")
    expect(page.get_by_text("reward")).to_have_count(2)


def test_rollouts_are_narrowed_down_by_prompt_step_reward_and_text(open_page, client, finished):
    page = open_page(f"/jobs/{finished[0]}/rollouts")
    table = page.get_by_role("table", name="Prompts")
    table.get_by_role("row").nth(1).click()
    page.wait_for_url("**row=*")
    row = int(page.url.split("row=")[1].split("&")[0])
    question = json.loads((DEMO / "train.jsonl").read_text().splitlines()[row])["messages"][0]["content"]
    expect(page.get_by_text(question)).to_be_visible()
    page.get_by_role("button", name="Step ").first.click()
    answers = page.get_by_role("article")
    expect(answers.first).to_contain_text("Reward")
    step = int(page.url.split("step=")[1].split("&")[0])
    stored = client.get(f"/fettle/fine_tuning/jobs/{finished[0]}/rollouts?row={row}&step={step}", cast_to=object)[
        "data"
    ]
    assert stored
    expect(answers.first).to_contain_text(stored[0]["text"].strip()[:20])

    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("button", name="Show all")).to_have_count(0)
    page.get_by_role("group", name="Rewards").get_by_role("button").last.click()
    expect(answers.first).to_contain_text("Reward 1")
    address = page.url
    again = open_page(address.split(page.evaluate("location.origin"))[1])
    expect(again.get_by_role("group", name="Rewards").get_by_role("button", pressed=True)).to_have_count(1)
    expect(again.get_by_role("article").first).to_contain_text("Reward 1")
    again.get_by_label("Text in answer or thinking").fill("no answer says this")
    expect(again.get_by_text("No rollout fits the filters.")).to_be_visible()


def test_an_answer_is_compared_with_the_base_s_answer_to_the_same_prompt(open_page, finished):
    page = open_page(f"/jobs/{finished[0]}/rollouts?purpose=eval&row=0&step=6")
    page.get_by_role("combobox", name="Show what changed since").click()
    page.get_by_role("option", name="the base's answers").click()
    page.wait_for_url("**against=0*")
    expect(page.get_by_role("article").first).to_contain_text(re.compile("(Compared with|The same as) step 0"))


def test_keys_walk_through_steps_and_fold_thinking(open_page, finished):
    page = open_page(f"/jobs/{finished[0]}/rollouts?step=1")
    page.keyboard.press("]")
    page.wait_for_url("**step=2*")
    page.keyboard.press("[")
    page.wait_for_url("**step=1*")
    folded = page.get_by_role("button", name="▸ Thinking")
    expect(folded.first).to_be_visible()
    page.keyboard.press("t")
    expect(folded).to_have_count(0)
    page.get_by_label("Mark unlikely tokens").click()
    page.wait_for_url("**unlikely=true*")
    expect(page.get_by_role("article").locator("mark").first).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**row=*")


def test_jobs_are_filtered_chosen_and_compared(open_page, finished):
    page = open_page("/jobs")
    page.get_by_label("Name, id or model").fill("short")
    page.wait_for_url("**text=short*")
    expect(page.get_by_role("row")).to_have_count(3)
    for seed in (3, 4):
        page.get_by_label(f"Compare short {seed}").check()
    page.get_by_role("button", name="Compare 2").click()
    page.get_by_role("heading", name="Compare jobs").wait_for()
    expect(page.get_by_role("row", name="seed")).to_contain_text("3")
    expect(page.get_by_role("row", name="grader")).to_have_count(0)  # only what differs
    expect(page.get_by_text("Mean difference")).to_contain_text("short 4 wins on")
    for label, name in (("Baseline", "short 4"), ("Against it", "short 3")):
        page.get_by_role("combobox", name=label).click()
        page.get_by_role("option", name=name).click()
    page.wait_for_url("**other=*")
    expect(page.get_by_text("Mean difference")).to_contain_text("short 3 wins on")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_violations_where_there_are_jobs(open_page, axe_violations, finished, scheme):
    first, second = finished
    for path in (
        "/jobs",
        *(f"/jobs/{first}?tab={tab}" for tab in ("curves", "checkpoints", "events", "configuration")),
        f"/jobs/{first}/rollouts",
        f"/jobs/{first}/rollouts?row=1&unlikely=true",
        f"/jobs/compare?ids=%5B%22{first}%22%2C%22{second}%22%5D",
        f"/jobs/new?from={first}",
    ):
        page = open_page(path, scheme=scheme, bypass_csp=True)
        assert axe_violations(page) == [], path
        assert page.problems == [], path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_job_that_is_not_there_is_said_to_be_missing(open_page, axe_violations, scheme):
    for path in ("/jobs/ftjob-nobody", "/jobs/ftjob-nobody/rollouts"):
        page = open_page(path, scheme=scheme, bypass_csp=True)
        expect(page.get_by_role("alert").first).to_contain_text("ftjob-nobody")
        assert axe_violations(page) == [], path


def test_a_phone_never_scrolls_sideways_where_there_are_jobs(open_page, finished):
    first = finished[0]
    for path in (f"/jobs/{first}", f"/jobs/{first}?tab=checkpoints", f"/jobs/{first}/rollouts", "/jobs"):
        page = open_page(path, width=390)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    page = open_page("/playground", width=390)
    expect(page.get_by_role("button", name="Take a held-out row of its job")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_edited_grader_is_tried_on_the_answers_that_a_job_has_stored(open_page, finished):
    page = open_page("/graders/new?tab=regrade")
    page.get_by_role("combobox", name="Job").click()
    page.get_by_role("option", name=f"short 3 · succeeded · {finished[0][-6:]}").click()
    report = page.get_by_role("table", name=re.compile(r"^\d+ answers of \d+ groups$"))
    # The job's own grader, so nothing changes; then the opposite, so everything does.
    for operation, correlation in (("eq", "1"), ("ne", "-1")):
        page.get_by_role("combobox", name="Must").click()
        page.get_by_role("option", name=f"{operation}: ").click()
        page.get_by_role("button", name="Grade them again").click()
        expect(report.get_by_role("row", name="Rank correlation").get_by_role("cell").first).to_have_text(correlation)
    expect(page.get_by_role("table", name="Pushed the other way")).to_contain_text("1 → 0")
    assert page.problems == []

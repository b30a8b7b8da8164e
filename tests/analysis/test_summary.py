"""The end of a study is a dozen lines and an object that say what the page says first."""

import json
from pathlib import Path

from analysis.data.words import WIDTH
from analysis.questions.answers import answered
from analysis.say.summary import summary, summary_json
from analysis.say.verdicts import at_a_glance
from analysis.validity.checklist import validity
from tests.helpers.everything import everything
from tests.helpers.synthetic import study, trial


def test_a_dozen_lines_and_an_object(tmp_path: Path) -> None:
    found = answered(everything(tmp_path, trials=6, shards=False))
    lines = summary(found).splitlines()
    assert len(lines) + 1 <= 12 and max(map(len, lines)) <= 2 * WIDTH
    told = json.loads(summary_json(found, validity(found)))
    for each, own in zip(at_a_glance(found), told["verdicts"], strict=True):
        assert f"{each.question} {each.words}" in lines and f"  {each.sentence}" in lines
        assert (own["verdict"], own["sentence"]) == (each.words, each.sentence)
        assert [number["value"] for number in own["numbers"]] == [n.value for n in each.numbers]
    assert [(c["name"], c["verdict"]) for c in told["checks"]] == [
        (check.name, check.verdict) for check in validity(found)
    ]
    first, last = lines[-2:]
    assert first.split()[0] == "64" and last.split()[0] == "4096"


def test_a_study_that_tells_nothing_says_so() -> None:
    found = answered(study([trial()]))
    assert summary(found).count("? not told\n") == 3
    assert {
        each["verdict"] for each in json.loads(summary_json(found, validity(found)))["verdicts"]
    } == {"not told"}

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from pushpull.errors import InputError
from pushpull.reports import Entry, compare
from pushpull.reports.comparison import side_by_side
from pushpull.reports.page import page, sample_strips

SAMPLES = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 6), dtype=np.uint8)
_VOID = {"meta", "img", "br", "link", "input"}


class Outline(HTMLParser):
    """Tags, ids and addresses of a page; fails on tags that do not nest."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.ids, self.addresses, self.text = [], [], [], [], ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def made(comparison, samples=None, evidence=None):
    return page(comparison, samples, evidence)


@pytest.fixture(scope="module")
def html(results):
    def entry(stem, *figures):
        return Entry.of([results(stem, seed, clean=c, errors=e) for seed, (c, e) in enumerate(figures)])

    baseline, run = entry("plain", (0.20, 0.40), (0.30, 0.50)), entry("pp3", (0.25, 0.40), (0.35, 0.40))
    samples = {"fog": torch.as_tensor(SAMPLES), "gaussian_noise": SAMPLES}
    return made(compare(baseline, [run], commands=["pushpull compare plain pp3 & more"]), samples)


def test_the_page_is_well_formed_and_asks_for_nothing(html):
    outline = Outline(html)
    assert all(address.startswith(("#", "data:")) for address in outline.addresses)
    assert len(set(outline.ids)) == len(outline.ids)
    assert {one[1:] for one in outline.addresses if one.startswith("#")} <= set(outline.ids)
    assert not {"link", "iframe"} & {tag for tag, _ in outline.tags}
    assert [attributes for tag, attributes in outline.tags if tag == "script"] == [{}]
    assert "@import" not in html


def test_the_page_says_what_it_is(html):
    text = " ".join(Outline(html).text.split())
    for needed in (
        "resnet14 pp3 against resnet14 plain", "demonstration, not evidence", "1000 (test split)", "175,258",
        "NOT AlexNet-normalised", "fitted to the published table", "paired by seed", "torch 2.6.0",
        "pushpull compare plain pp3 & more", "mean over 15 corruptions c and 5 severities s of E[c,s]",
    ):  # fmt: skip
        assert needed in text


def test_tables_have_captions_and_scopes(html):
    outline = Outline(html)
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("caption") == tags.count("table") == 8
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in outline.tags if tag == "th")
    drawn = [attributes for tag, attributes in outline.tags if tag == "svg" and "role" in attributes]
    assert len(drawn) == 5 + 15 + 1, "mean and families, every corruption, one panel of differences"
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawn)


def test_differences_are_shaded_by_size(html):
    # 5 of 10 points: 0.08 + 0.32 / 2.
    cell = '<td class="better" style="--strength:0.24">40.0 <span class="spread">± 0.0</span>'
    assert cell in html, "two seeds settle nothing, so that it is not bold"
    assert '<span class="delta">−5.0</span>' in html


def test_labels_are_escaped_everywhere(results):
    evil = '<script>alert("x")</script>&'
    options = {"data": {"label": evil, "note": evil}, "corruption": {"source": evil}}
    entries = [Entry.of([results(**options)], label=f"{evil}{i}") for i in range(2)]
    html = made(compare(entries[0], entries[1:], title=evil, commands=[evil]))
    assert "<script>alert" not in html
    assert Outline(html).text.count('alert("x")') > 10


def test_no_banner_for_data_that_is_evidence(results):
    entries = [
        Entry.of([results(stem, data={"label": "CIFAR-10", "note": None})])
        for stem in ("plain", "pp3")  # of 1000
    ]
    assert 'class="banner"' not in made(compare(entries[0], entries[1:]))


def test_classes_without_images_leave_the_others(results):
    result = results(errors={"fog": [0.5] * 5})
    errors = [0.52, 0.5, *[None] * 8]
    for one in result.corrupted["fog"].values():
        one.class_errors[:] = errors
    text = Outline(made(side_by_side([result]))).text
    assert "2 of 2 classes" in text
    other = dataclasses.replace(result, model=result.model | {"label": "other"})
    text = Outline(made(side_by_side([result, other]))).text
    assert "0.0" in text
    assert not re.search("[+\u2212]0\\.0", text)


def test_a_set_of_its_own_and_one_severity(results):
    odd = "a very long name of a corruption"
    pair = [results(stem, clean=None, errors={odd: [0.5]}, severities=[3]) for stem in ("plain", "pp3")]
    one, two = made(side_by_side(pair[:1])), made(side_by_side(pair))
    assert "Column 3 is a severity." in one
    assert "below each" not in one
    assert "(extra)" not in two
    assert ">a very long name…<" in two
    assert f"{odd}: 0.0" in two


def test_samples_stand_side_by_side_in_the_usual_order(html):
    shown = [attributes for tag, attributes in Outline(html).tags if tag == "img"]
    assert [attributes["alt"] for attributes in shown] == [
        "gaussian noise, severity 1 to 5",
        "fog, severity 1 to 5",
    ]
    for attributes in shown:
        encoded = attributes["src"].removeprefix("data:image/png;base64,")
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
        assert strip.shape == (8, 30, 3)
        np.testing.assert_array_equal(strip[:, 12:18], SAMPLES[2].transpose(1, 2, 0))


@pytest.mark.parametrize("images", [np.zeros((5, 3, 8, 8)), np.zeros((4, 3, 8, 8), np.uint8)])
def test_other_samples_are_refused(images):
    with pytest.raises(InputError, match=r"samples\['fog'\] is .*give uint8 of shape \(5, 3, H, W\)"):
        list(sample_strips({"fog": images}))


@pytest.mark.parametrize(("seeds", "promised"), [((0,), False), ((0, 1), True)])
def test_captions_promise_a_spread_only_where_there_are_several_runs(results, seeds, promised):
    runs = [
        Entry.of([results(stem, seed, errors=0.3 + seed / 10) for seed in seeds]) for stem in ("plain", "pp3")
    ]
    text = made(compare(runs[0], runs[1:]))
    assert ("Bands are one standard deviation over seeds" in text) is promised

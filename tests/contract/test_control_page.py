"""The page of the control API: what is on it, and what a browser may do with it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from tests.docs import control

from arbiter.gateway.control_page import page


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and all of its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_every_address_and_every_field_of_a_body_is_on_the_page() -> None:
    words = Tags(page(control.openapi())).words
    for method, path, facts in control.control_routes():
        assert path in words, method
        assert facts["summary"] in words
    for schema in control.openapi()["components"]["schemas"].values():
        assert all(field in words for field in schema["properties"])


def test_every_field_of_a_body_says_what_it_is() -> None:
    for name, schema in control.openapi()["components"]["schemas"].items():
        if name == "Error":
            continue
        for field, facts in schema["properties"].items():
            assert facts.get("description", "").endswith("."), (name, field)


def test_every_link_leads_to_a_place_that_is_there() -> None:
    tags = Tags(page(control.openapi())).tags
    ids = {attributes.get("id") for _, attributes in tags}
    links = {str(attributes["href"]) for tag, attributes in tags if tag == "a"}
    assert {link for link in links if link[1:] not in ids} == {"/control/v1/openapi.json"}


@pytest.mark.security("S-05")
def test_the_page_brings_no_script_no_cookie_and_nothing_from_elsewhere() -> None:
    with TestClient(control.control(), base_url="http://localhost") as client:
        got = client.get("/v1/docs")
    assert got.status_code == 200
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert "set-cookie" not in got.headers
    assert got.headers["x-frame-options"] == "DENY"
    assert got.headers["x-content-type-options"] == "nosniff"
    policy = got.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    tags = Tags(got.text).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "form"}
    given = [(name, value or "") for _, attributes in tags for name, value in attributes.items()]
    assert not [name for name, _ in given if name in {"src", "style"} or name.startswith("on")]
    assert not [value for name, value in given if name == "href" and value[0] not in "#/"]


@pytest.mark.security("S-05", "S-35")
def test_words_are_never_markup() -> None:
    hostile = '<script>alert(1)</script>" onload="x\''
    facts = {
        "tags": [hostile],
        "summary": hostile,
        "parameters": [{"in": "query", "name": hostile}],
    }
    found = Tags(
        page(
            {
                "info": {"title": hostile, "description": hostile},
                "servers": [{"url": "/control"}],
                "paths": {f"/v1/{hostile}": {"get": facts}},
                "components": {
                    "schemas": {
                        hostile: {
                            "description": hostile,
                            "properties": {hostile: {"enum": [hostile]}},
                        }
                    }
                },
            }
        )
    )
    assert "script" not in {tag for tag, _ in found.tags}
    assert not any("onload" in attributes for _, attributes in found.tags)
    assert found.words.count("alert(1)") >= 8

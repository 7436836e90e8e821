"""The local server answers its own page, one question at a time, and nobody else."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from threading import Thread
from typing import Any

import pytest

from rnncore.study.server import Server


def answer(question: Mapping[str, Any]) -> Mapping[str, Any]:
    if question.get("wrong"):
        raise ValueError("no such word")
    return {"twice": 2 * question["number"]}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server("<p>page</p>", answer)
    thread = Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def ask(
    server: Server, path: str, body: str | None = None, method: str = "POST", **headers: str
) -> tuple[int, bytes, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json", **named})
        reply = connection.getresponse()
        return reply.status, reply.read(), reply.headers["Content-Type"]


def test_it_serves_the_page_and_answers(server: Server) -> None:
    assert ask(server, "/", method="GET") == (200, b"<p>page</p>", "text/html; charset=utf-8")
    status, body, _ = ask(server, "/run", json.dumps({"number": 21}))
    assert (status, json.loads(body)) == (200, {"twice": 42})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ('{"wrong": true}', 400, "no such word"),
        ("{}", 400, "number"),
        ("[1]", 400, "a question is a JSON object"),
        ("{", 400, "Expecting property name"),
        ('{"number": 1e999}', 400, "Out of range float"),
        ("x" * ((1 << 20) + 1), 413, "at most 1048576 bytes"),
    ],
)
def test_a_wrong_question_gets_a_reason_and_the_next_one_an_answer(
    server: Server, body: str, status: int, message: str
) -> None:
    try:
        got, reply, _ = ask(server, "/run", body)
    except (BrokenPipeError, ConnectionResetError):  # it hung up on a body that it had refused to read
        assert status == 413
    else:
        assert got == status
        assert message in json.loads(reply)["error"]
    assert ask(server, "/run", '{"number": 1}')[0] == 200


def test_other_sites_and_other_machines_cannot_ask(server: Server) -> None:
    assert ask(server, "/run", '{"number": 1}', Host="evil.example")[0] == 403
    assert ask(server, "/", method="GET", Host="evil.example")[0] == 403
    assert ask(server, "/run", '{"number": 1}', Content_Type="text/plain")[0] == 404  # what a foreign form can send
    assert ask(server, "/elsewhere", method="GET")[0] == 404
    assert server.server_address[0] == "127.0.0.1"

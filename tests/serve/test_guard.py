"""Who may ask: host, origin, token; and what the answers tell browsers."""

import json
import socket

import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.serve.guard import Guard
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Settings
from serve.serving import raw, refused, serving, until

connect = pytest.importorskip("websockets.sync.client", reason="websockets is absent").connect
TOKEN = "correct-horse"


@pytest.fixture(scope="module")
def locked(weights):
    """A service with a token, of a network that cannot be loaded: nothing here needs it."""
    empty = weights.with_name("none.safetensors")
    settings = Settings(weights=empty, port=0, token=TOKEN)
    with serving(settings, wait=False) as found:
        until(lambda: found.service.model.error)
        yield found


@pytest.mark.parametrize("path", ["/predict", "/segments", "/features", "/metrics"])
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong-horse", f"Basic {TOKEN}"])
def test_without_the_token_nothing_is_done(locked, path, given):
    headers = {} if given is None else {"Authorization": given}
    method = "GET" if path == "/metrics" else "POST"
    answer = locked.client.request(method, path, headers=headers)
    message = refused(answer, 401, "unauthorized", "Bearer")
    assert TOKEN not in message
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/", "/health", "/docs", "/openapi.json", "/static/index.html"])
def test_the_page_and_its_parts_are_open_so_that_it_can_ask_for_the_token(locked, path):
    assert locked.client.get(path).status_code in (200, 503)


def test_with_the_token_all_works(locked):
    headers = {"Authorization": f"bearer {TOKEN}"}
    assert "p3d_requests_total" in locked.client.get("/metrics", headers=headers).text
    refused(locked.client.post("/predict", headers=headers), 503, "not_ready")


@pytest.mark.parametrize("hello", ["{}", '{"token": "wrong-horse"}', '{"token": 7}'])
def test_a_camera_without_the_token_is_refused(locked, hello):
    with connect(f"ws://127.0.0.1:{locked.port}/stream") as plug:
        plug.send(hello)
        assert json.loads(plug.recv(timeout=60))["error"]["code"] == "unauthorized"
    with connect(f"ws://127.0.0.1:{locked.port}/stream") as plug:
        plug.send(json.dumps({"token": TOKEN}))
        assert json.loads(plug.recv(timeout=60))["error"]["code"] == "not_ready"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_name_that_was_made_to_point_here_is_refused(running, host):
    answer = raw(
        running, f"GET /model HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 421")
    assert b"p3d_nano" not in answer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:99", "[::1]:80"])
def test_names_of_this_machine_are_taken(running, host):
    answer = running.client.get("/model", headers={"Host": host})
    assert answer.status_code == 200


def test_a_page_of_another_site_may_not_send_files(running, films):
    with films[0].open("rb") as file:
        answer = running.client.post(
            "/predict", files={"file": file}, headers={"Origin": "http://evil.example"}
        )
    refused(answer, 403, "unauthorized", "evil.example")
    with films[0].open("rb") as file:
        own = running.client.post("/predict", files={"file": file}, headers={"Origin": running.url})
    assert own.status_code == 200


def test_no_answer_allows_another_site_to_read_it(running):
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        answer = running.client.request(method, "/model", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/model", "/docs", "/nothing"])
def test_every_answer_says_what_browsers_may_do(running, path):
    headers = running.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy.replace("'self'", "")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_the_pages_own_files_are_asked_for_again_after_an_upgrade(running):
    assert running.client.get("/static/app.js").headers["cache-control"] == "no-cache"


def test_the_frame_of_a_scans_page_has_no_origin_and_reaches_nothing(running):
    policy = running.client.get("/static/frame.html").headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy


def test_metrics_are_prometheus_text_without_names_that_clients_make_up(running, films):
    running.post(films[0])
    for i in range(3):
        running.client.get(f"/made-up-{i}")
    text = running.client.get("/metrics").text
    assert "made-up" not in text
    rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(rows['p3d_requests_total{path="/predict",status="200"}']) >= 1
    assert float(rows["p3d_clips_total"]) >= 5
    assert float(rows["p3d_resident_bytes"]) > 1e7
    assert all(float(value) >= 0 for value in rows.values())
    bounds = [float(v) for k, v in rows.items() if 'bucket{path="/predict"' in k]
    assert bounds == sorted(bounds)


def test_the_documentation_loads_nothing_from_elsewhere(running):
    page = running.client.get("/docs").text
    for route in ("/predict", "/segments", "/features", "/stream", "/model", "/health", "/metrics"):
        assert route in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page
    assert running.client.get("/docs.css").headers["content-type"].startswith("text/css")
    schema = running.client.get("/openapi.json").json()
    form = schema["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert "file" in form["multipart/form-data"]["schema"]["properties"]


def test_the_model_card_says_what_the_network_is_and_no_path(running, weights):
    card = running.client.get("/model").json()
    assert (card["name"], card["input"], card["frames"]) == ("p3d_nano", "video", 6)
    assert (card["size"], card["seconds"]) == ([24, 24], 1.5)
    assert card["protocol"] == "4 videos, 1 view"
    assert card["limits"] == {
        "upload_bytes": 2_000_000, "seconds": 20, "frames": 600, "pixels": 1_000_000,
    }  # fmt: skip
    assert (card["token_required"], card["research_use_only"]) == (False, True)
    assert str(weights.parent) not in json.dumps(card)


def post(found, film, **headers):
    with film.open("rb") as file:
        return found.client.post("/predict", files={"file": file}, headers=headers)


@pytest.fixture(scope="module")
def proxied(weights):
    """A service for this machine with a proxy before it; of no network, nothing needs one."""
    empty = weights.with_name("none.safetensors")
    with serving(
        Settings(weights=empty, port=0, public_host="Clips.example.org"), wait=False
    ) as found:
        until(lambda: found.service.model.error)
        yield found


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "clips.example.org"])
def test_a_page_behind_a_proxy_may_use_the_service(proxied, films, host):
    """Whether the proxy passes the name on or asks by the address of this machine."""
    assert proxied.client.get("/", headers={"Host": host}).status_code == 200
    answer = post(proxied, films[0], Host=host, Origin="https://clips.example.org")
    refused(answer, 503, "not_ready")  # the guard let it in
    for origin in ("https://evil.example", "https://clips.example.org:9", "https://example.org"):
        refused(post(proxied, films[0], Host=host, Origin=origin), 403, "unauthorized")
    with connect(
        f"ws://127.0.0.1:{proxied.port}/stream", origin="https://clips.example.org"
    ) as plug:
        plug.send("{}")
        assert json.loads(plug.recv(timeout=60))["error"]["code"] == "not_ready"


def test_other_names_are_refused_behind_a_proxy_too(proxied):
    answer = proxied.client.get("/model", headers={"Host": "evil.example"})
    refused(answer, 421, "bad_request", "--public-host")


@pytest.mark.parametrize("name", ["https://a.example", "a.example/x", "", "a b", "a.example:x"])
def test_a_public_host_is_a_name(weights, name):
    with pytest.raises(Pseudo3dError, match="public host"):
        Settings(weights=weights, public_host=name)


def guard(**how):
    return Guard(None, Settings(weights=None, **how), None)


def asked(host):
    """A page that was loaded from `host` asks the same `host`."""
    headers = [(b"host", host.encode()), (b"origin", b"http://" + host.encode())]
    return {"type": "http", "method": "POST", "path": "/predict", "headers": headers}


def test_without_a_token_names_of_other_sites_are_refused_at_every_address():
    door = guard(host="0.0.0.0", insecure=True, public_host="clips.example.org")
    with pytest.raises(Problem, match=r"'evil.example:8000' is no name of this service") as stop:
        door.check(asked("evil.example:8000"))
    assert stop.value.status == 421
    own = socket.gethostname()
    for host in ("10.0.0.7:8000", "[fe80::1]:8000", "localhost:8000", own, "clips.example.org"):
        door.check(asked(host))
    for host in ("", "10.0.0.7.evil.example", "::"):
        with pytest.raises(Problem):
            door.check(asked(host))


def test_with_a_token_any_name_may_lead_to_the_service():
    guard(host="0.0.0.0", token=TOKEN).check(asked("evil.example"))


@pytest.mark.parametrize(
    "token", ["pässwort-lang", " spaces-first", "a-token\nof-two-lines", "a\ttab-----"]
)
def test_a_token_that_not_every_client_can_send_is_refused(weights, token):
    with pytest.raises(Pseudo3dError, match="letters, digits and signs") as stop:
        Settings(weights=weights, token=token)
    assert token not in str(stop.value)


@pytest.mark.parametrize("token", ["pässwort-lang", "\ud800", 7, None])
def test_what_cannot_be_the_token_is_another_one(token):
    assert not guard(token=TOKEN).right(token)

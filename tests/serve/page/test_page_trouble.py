"""What the page does when it is early, late, alone or in doubt."""

from serve.page.service import answer, refusal, reply


def test_files_no_service_would_take_are_not_sent(tab, tmp_path):
    empty, large = tmp_path / "empty.mp4", tmp_path / "large.mp4"
    empty.touch()
    large.write_bytes(bytes(2_000_001))
    page = tab.open()
    tab.send(empty)
    page.get_by_text("empty.mp4 is empty; choose another file.").wait_for()
    tab.send(large)
    page.get_by_text(
        "large.mp4 has 2 MB, and the service takes up to 2 MB; cut it or make it smaller."
    ).wait_for()
    assert tab.service.times("/predict") == 0


def test_a_page_opened_early_waits_and_then_sends_what_was_chosen(tab, film):
    tab.service.health = (200, {"status": "loading"}, {})
    page = tab.open(ready=False)
    page.get_by_text("The network is being loaded. You may choose a file already.").wait_for()
    tab.send(film)
    page.get_by_text("film.mp4 waits until the network is ready").wait_for()
    assert tab.service.times("/predict") == 0
    tab.service.health = (200, {"status": "ready"}, {})
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#service") == "ready"


def test_a_network_that_cannot_be_loaded_says_why(tab):
    tab.service.health = (503, {"status": "failed", "error": "net.safetensors is damaged"}, {})
    page = tab.open(ready=False)
    page.wait_for_selector("#service[data-state=failed]")
    assert page.inner_text("#service") == "net.safetensors is damaged"


def test_a_service_that_is_away_is_waited_for(tab, film):
    tab.service.down = True
    page = tab.open(ready=False)
    page.wait_for_selector("#service[data-state=offline]")
    assert page.inner_text("#service") == "The service does not answer; trying again."
    tab.service.down = False
    page.wait_for_selector("#service[data-state=ready]")
    tab.service.down = True
    tab.send(film)
    page.wait_for_selector("#file-error .error[data-code=offline]")
    tab.service.down = False
    page.click("text=Try again")
    page.wait_for_selector("#result:not([hidden])")


def test_canceling_cuts_the_request_off(tab, film):
    tab.service.predict = lambda query: None
    tab.page.add_init_script(
        "const real = XMLHttpRequest.prototype.abort; window.cut = 0;"
        "XMLHttpRequest.prototype.abort = function () { window.cut++; real.call(this); }"
    )
    page = tab.open()
    tab.send(film)
    page.get_by_text("Sending film.mp4").wait_for()
    page.click("#cancel")
    page.wait_for_selector("#progress", state="hidden")
    tab.until("!document.body.classList.contains('started')")
    assert page.evaluate("window.cut") == 1
    assert not page.locator("#file-error .error").count()
    assert page.evaluate("document.activeElement.id") == "main"  # the button is gone, focus is not


def test_a_token_is_asked_for_kept_for_the_tab_and_sent(tab, film):
    tab.service.token, tab.service.card["token_required"] = "open sesame", True
    page = tab.open()
    page.wait_for_selector("#token-box[open]")
    page.fill("#token", "wrong")
    page.click("text=Use it")
    tab.send(film)
    page.wait_for_selector("#file-error .error[data-code=unauthorized]")
    page.wait_for_selector("#token-box[open]")
    page.fill("#token", "open sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")  # the file was sent again by itself
    page.reload()
    page.wait_for_selector("#service[data-state=ready]")
    assert page.is_hidden("#token-box")
    assert page.evaluate("[document.cookie, localStorage.length]") == ["", 0]
    page.click("#token-open")
    page.keyboard.press("Escape")
    assert page.is_hidden("#token-box")


def test_all_files_that_were_refused_without_a_token_go_on_with_it(tab, film, tmp_path):
    files = [film, *(tmp_path / f"{name}.mp4" for name in ("second", "third"))]
    for path in files[1:]:
        path.write_bytes(film.read_bytes())
    tab.service.token = "open sesame"  # asked for at the first refusal only
    tab.service.predict = lambda query: (200, answer(), {})
    page = tab.open()
    tab.send(*files)
    page.wait_for_selector("#token-box[open]")
    page.fill("#token", "open")
    tab.until(
        "[...document.querySelectorAll('#jobs button')].every("
        "(b) => b.textContent.endsWith('failed'))"
    )
    assert page.input_value("#token") == "open"  # later refusals leave what is being typed
    page.fill("#token", "open sesame")
    page.keyboard.press("Enter")
    tab.until(
        "[...document.querySelectorAll('#jobs button')].every("
        "(b) => b.textContent.includes('waving'))"
    )
    assert tab.service.times("/predict") == 6


def test_several_files_wait_in_line_and_each_keeps_its_answer(tab, film, tmp_path):
    second, third = tmp_path / "second.mp4", tmp_path / "third.mp4"
    second.write_bytes(film.read_bytes())
    third.write_bytes(film.read_bytes())
    tab.service.predict = lambda query: None
    page = tab.open()
    tab.send(film)
    tab.send(second, third)  # while the first is under way
    page.click("#jobs button >> nth=0")
    tab.until("document.querySelectorAll('#jobs button').length === 3")
    for i, path in enumerate((film, second, third)):
        while len(tab.service.held) == i:
            page.wait_for_timeout(20)
        assert len(tab.service.held) == i + 1  # one at a time
        said = {"label": "clapping", "score": 0.5 + 0.1 * i, "source": path.name}
        found = refusal(422, "unreadable", "no") if path == second else (200, answer() | said, {})
        reply(tab.service.held[i], found)
    tab.until("document.querySelector('#jobs').innerText.includes('third.mp4: clapping 70.0 %')")
    lines = page.locator("#jobs button").all_inner_texts()
    assert lines == [
        "film.mp4: clapping 50.0 %",
        "second.mp4: failed",
        "third.mp4: clapping 70.0 %",
    ]
    assert page.inner_text("#found") == "clapping 50.0 %"  # what is being read stays
    page.click("#jobs button >> nth=1")
    page.wait_for_selector("#file-error .error[data-code=unreadable]")
    assert page.is_hidden("#result")
    page.click("#jobs button >> nth=2")
    page.get_by_text("third.mp4 · ").wait_for()
    assert not page.locator("#file-error .error").count()
    assert page.locator("#jobs button[aria-pressed=true]").inner_text().startswith("third.mp4")


def test_a_dropped_file_is_taken_from_any_tab(tab):
    page = tab.open()
    page.click("#tab-card")
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["x"], "dropped.avi"));
          for (const name of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true }));
            if (name === "dragover") document.body.dataset.seen = document.body.className;
          }
        }"""
    )
    page.wait_for_selector("body[data-shown='dropped.avi']")
    assert page.get_attribute("body", "data-seen") == "dropping"
    assert page.is_visible("#view-file")

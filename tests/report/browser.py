"""A headless Chromium, spoken to by its DevTools protocol: what a page does there, and how it looks."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import websocket

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no browser here: apt-get install chromium")
_PATIENCE = 60.0


@dataclass(kw_only=True)
class Browser:
    """One tab. ``requests`` are the addresses that it asked for, ``troubles`` what its console said."""

    socket: Any
    requests: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    _last: int = 0
    _loaded: bool = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        self.socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self._last:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.consoleAPICalled":
                self.troubles.append(json.dumps(parameters["args"]))
            case "Runtime.exceptionThrown":
                self.troubles.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded":
                self.troubles.append(parameters["entry"]["text"])
            case "Page.loadEventFired":
                self._loaded = True

    def open(self, page: Path, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Show ``page`` and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.requests.clear()
        self.troubles.clear()
        self._load("Page.navigate", url=page.absolute().as_uri())

    def reload(self) -> None:
        """Load the page again and wait until it is loaded."""
        self._load("Page.reload")

    def _load(self, method: str, **parameters: Any) -> None:
        self._loaded = False
        self.call(method, **parameters)
        until = time.monotonic() + _PATIENCE
        while not self._loaded:
            assert time.monotonic() < until, "the page was not loaded"
            self._note(json.loads(self.socket.recv()))

    def value(self, expression: str) -> Any:
        """Return what JavaScript says of the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png", clip=self._whole())
        return base64.b64decode(shot["data"])

    def _whole(self) -> dict[str, Any]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium, and end it."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as folder:
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={folder}",
            "--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb",
            "--hide-scrollbars", "about:blank",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with _tab(Path(folder) / "DevToolsActivePort", process) as tab:
                yield tab
        finally:
            process.terminate()
            process.wait(timeout=20)


@contextmanager
def _tab(told: Path, process: subprocess.Popen[bytes]) -> Iterator[Browser]:
    until = time.monotonic() + _PATIENCE
    while not told.is_file() or len(told.read_text().split()) < 2:
        assert process.poll() is None, "Chromium ended"
        assert time.monotonic() < until, "Chromium does not speak"
        time.sleep(0.05)
    port, path = told.read_text().split()
    main = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=_PATIENCE)
    target = Browser(socket=main).call("Target.createTarget", url="about:blank")["targetId"]
    tab = Browser(
        socket=websocket.create_connection(f"ws://127.0.0.1:{port}/devtools/page/{target}", timeout=_PATIENCE)
    )
    for domain in ("Page", "Runtime", "Network", "Log"):
        tab.call(f"{domain}.enable")
    try:
        yield tab
    finally:
        tab.socket.close()
        main.close()

"""A headless Chromium, driven by its DevTools protocol over a WebSocket, for tests of the page."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None
)
SECONDS = 60.0
"""Until an answer, on a loaded machine."""
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-port=0",
)


def needs_chromium() -> str:
    """Return Chromium's path, or skip the test by name and reason."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (chromium, chromium-browser, google-chrome): the page cannot be opened")
    return CHROMIUM


class Browser:
    """A browser with one tab.

    Args:
        folder: for its profile.

    Attributes:
        messages: of the console, and uncaught errors.
        requests: URLs that pages asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = threading.Event()
        self._number = 0
        self._process = subprocess.Popen(
            [needs_chromium(), *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._wait(self._connect(folder / "DevToolsActivePort"))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its answer."""
        answer = self._wait(self._call(method, parameters))
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def open(
        self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False, scripts: bool = True
    ) -> None:
        """Open a file in a window of this size, and wait until it is loaded."""
        self.messages.clear()
        self.requests.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", media="screen", features=[scheme, motion])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._loaded.clear()
        self.call("Page.navigate", url=file.as_uri())
        assert self._loaded.wait(SECONDS), f"{file} is not loaded in {SECONDS:.0f} s"

    def evaluate(self, expression: str) -> Any:
        """Return the value of JavaScript, awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def each(self, selector: str, function: str = "e => e.textContent") -> list[Any]:
        """Return a function's value for each element that a selector finds; by default its text."""
        values: list[Any] = self.evaluate(f"[...document.querySelectorAll({selector!r})].map({function})")
        return values

    def enter(self, selector: str, value: str) -> None:
        """Give a field a value, as a user does."""
        for event in ("input", "change"):
            self.each(selector, f"e => {{e.value = {value!r}; e.dispatchEvent(new Event({event!r}))}}")

    def press(self, key: str) -> None:
        """Press a key such as Tab or Enter."""
        codes = {"Tab": 9, "Enter": 13, "ArrowDown": 40}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            about = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            self.call("Input.dispatchKeyEvent", type=kind, **about, **(text if kind == "keyDown" else {}))

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._wait(self._disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    async def _connect(self, port_file: Path) -> None:
        until = time.monotonic() + SECONDS
        while not (port_file.exists() and len(port_file.read_text().splitlines()) == 2):
            assert time.monotonic() < until, "Chromium does not start"
            assert self._process.poll() is None, f"Chromium ended with {self._process.returncode}"
            await asyncio.sleep(0.05)
        address = f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
        self._client = aiohttp.ClientSession()
        async with self._client.get(f"{address}/json/list") as answer:
            tabs = await answer.json()
        tab = next(each for each in tabs if each["type"] == "page")
        self._socket = await self._client.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)
        self._reader = asyncio.create_task(self._read())

    async def _disconnect(self) -> None:
        self._reader.cancel()
        await self._client.close()

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        answer = self._answers[self._number] = self._loop.create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        return await answer

    async def _read(self) -> None:
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
                continue
            about = event["params"]
            if event["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif event["method"] == "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.messages.append(str(about["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded":
                self.messages.append(about["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled":
                self.messages.append(f"{about['type']}: {about['args']}")

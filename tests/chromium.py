"""A headless Chromium driven over the DevTools protocol through a pair of pipes: no dependency.

https://chromedevtools.github.io/devtools-protocol: a message is JSON that ends in a zero byte,
sent to file descriptor 3 of the browser and read from its descriptor 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
         "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking")
PATIENCE = 90.0  # seconds: the machine may be busy


def installed() -> str | None:
    """Path of a Chromium, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)
_START = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])"""  # where Chromium looks for its pipes


class Page:
    """One tab: opens files, runs scripts, presses keys, and keeps what the console said."""

    def __init__(self, to: int, come: int) -> None:
        self.to, self.come = to, come
        self.buffer, self.number, self.session = b"", 0, ""
        self.complaints: list[str] = []  # errors and warnings of the console
        self.requests: list[str] = []  # every address that was asked for
        self.loaded = False

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self.number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']['message']}")
                return said["result"]
            self._note(said)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            if not select.select([self.come], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium said nothing for {PATIENCE} s")
            part = os.read(self.come, 1 << 20)
            if not part:
                raise EOFError("Chromium is gone")
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, said: dict[str, Any]) -> None:
        method, params = said.get("method"), said.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            said_more = details.get("exception", {}).get("description")
            self.complaints.append(said_more or details["text"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str([a.get("value") for a in params["args"]]))

    def attach(self) -> None:
        """Open the tab and listen to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded; what the last one said is forgotten."""
        self.complaints, self.requests, self.loaded = [], [], False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self._note(self._next())

    def run(self, script: str) -> Any:
        """The value of an expression, waited for where it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                          awaitPromise=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def busy(self, script: str, rounds: int = 5) -> float:
        """Milliseconds that the page's thread computes for a script and the layout after it,
        whatever else the machine does: the mean of `rounds`, after one to warm up."""
        self.call("Performance.enable", timeDomain="threadTicks")
        self.run(script)
        before = self._computed()
        for _ in range(rounds):
            self.run(f"{script}; document.body.offsetHeight")
        took = self._computed() - before
        self.call("Performance.disable")
        return 1_000 * took / rounds

    def _computed(self) -> float:
        found = self.call("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in found if m["name"] == "TaskDuration")

    def press(self, key: str, code: int = 0, text: str = "") -> None:
        """Press and release a key, as a keyboard does."""
        facts: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code}
        typed = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **facts, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def look(self, width: int, height: int, *, dark: bool = False, media: str = "") -> None:
        """Choose the size of the window, the colour scheme and the medium."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def screenshot(self, whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        more = {"captureBeyondViewport": True} if whole else {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            more["clip"] = {**size, "scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Page]:
    """Start Chromium with a fresh profile in a folder, and end it."""
    (its_in, ours_out), (ours_in, its_out) = os.pipe(), os.pipe()
    its = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (its_in, its_out)]  # 3 and 4 stay free
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *map(str, its), program, *FLAGS,
         f"--user-data-dir={profile}"],
        pass_fds=its, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for end in (its_in, its_out, *its):
        os.close(end)
    try:
        page = Page(ours_out, ours_in)
        page.attach()
        yield page
    finally:
        process.terminate()
        process.wait(timeout=30)
        os.close(ours_out)
        os.close(ours_in)

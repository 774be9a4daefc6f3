"""The report in a real browser: no error, every picture drawn, nothing wider than a phone. Skipped without Chromium."""

import json
import re
import shutil
import subprocess

import pytest
from test_report import save_full

from benchmarks.report import page
from benchmarks.report.results import load

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"),
    *("--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=5000", "--dump-dom"),
]

# A window of a phone's width: a headless one has a least width of its own.
FRAME = """<!doctype html><iframe id=page width={width} height=800 src=report.html></iframe><pre id=seen></pre><script>
document.getElementById("page").onload = (event) => {{
  const page = event.target.contentDocument;
  page.querySelectorAll("details").forEach((each) => (each.open = true));
  const boxes = [...page.querySelectorAll("svg")].map((each) => each.getBoundingClientRect());
  const small = boxes.filter((box) => box.width < 200 || box.height < 50).length;
  const wide = page.documentElement.scrollWidth;
  const sections = page.querySelectorAll("h2").length;
  const seen = {{ pictures: boxes.length, small, wide, title: page.title, sections }};
  document.getElementById("seen").textContent = JSON.stringify(seen);
}};
</script>"""


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_opens_without_errors_and_draws_every_picture(tmp_path, width):
    written = page.write(load(save_full(tmp_path / "results")), tmp_path)
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    ran = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'frame.html'}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in ran.stderr, ran.stderr
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', ran.stdout)[1])
    assert seen["pictures"] == written.read_text().count("<svg") > 10
    assert seen["small"] == 0
    assert seen["wide"] <= width
    assert seen["sections"] >= 8
    assert seen["title"].startswith("backprop_xp")

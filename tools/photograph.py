"""Pictures of an HTML report as people meet it: wide, on a phone, in the dark, and on paper. Needs Chromium.

    python tools/photograph.py report/report.html pictures

writes pictures/wide.png, middle.png, narrow.png, dark.png and paper.pdf. Tests open reports with the same functions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from html import escape, unescape
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE, TABLET, DESKTOP = 390, 768, 1280
MEASURE = Path(__file__).with_name("measure.js")


def measure(page: Path, width: int, *, dark: bool = False) -> dict[str, Any]:
    """What a browser makes of the page in a window so wide.

    Its height, what sticks out or scrolls by itself, captions that are cut and rows that break, colours, broken images,
    the texts whose contrast is lowest, and where the first line between fp32 and int8 can be.
    """
    return measure_at(page, [width], dark=dark)[width]


def measure_at(page: Path, widths: Sequence[int], *, dark: bool = False) -> dict[int, dict[str, Any]]:
    """`measure` at each width, of one browser, which takes longer to start than to do it."""
    with tempfile.TemporaryDirectory() as folder:
        script = f"const measure = frame => {{{MEASURE.read_text()}}}; frame.onload = () => "
        script += "{ document.body.append(Object.assign(document.createElement('pre'), {id: 'found', textContent: "
        script += f"JSON.stringify({list(widths)}.map(w => {{ frame.width = w; return measure(frame); }}))}})); }};"
        dom = _chromium(_framed(page, widths[0], 800, Path(folder), script), dark, "--dump-dom").decode()
    found = dom.split('<pre id="found">')[1].split("</pre>")[0]
    return dict(zip(widths, json.loads(unescape(found)), strict=True))


def photograph(page: Path, picture: Path, width: int, *, dark: bool = False) -> int:
    """The whole page as PNG; its height."""
    height = int(measure(page, width, dark=dark)["height"])
    with tempfile.TemporaryDirectory() as folder:
        wrapper = _framed(page, width, height, Path(folder))
        _chromium(wrapper, dark, f"--window-size={width},{height}", f"--screenshot={picture.absolute()}")
    return height


def paper(page: Path, document: Path) -> None:
    """The page as a printer gets it, as PDF."""
    _chromium(page, False, "--no-pdf-header-footer", f"--print-to-pdf={document.absolute()}")


def _framed(page: Path, width: int, height: int, folder: Path, script: str = "") -> Path:
    """A page that shows `page` in a frame of this size: windows themselves cannot be as narrow as a phone."""
    wrapper = folder / "frame.html"
    wrapper.write_text(
        "<!doctype html><style>body{margin:0}iframe{border:0;display:block}</style>"
        f'<iframe id="frame" width="{width}" height="{height}"></iframe>'
        f"<script>const frame = document.getElementById('frame'); {script}\n"
        f"frame.src = {json.dumps(page.absolute().as_uri())};</script>",
        encoding="utf-8",
    )
    return wrapper


def _chromium(page: Path, dark: bool, *options: str) -> bytes:
    if CHROMIUM is None:
        raise SystemExit("Chromium is not installed (looked for chromium, chromium-browser and google-chrome)")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            "--virtual-time-budget=3000",
            f"--user-data-dir={profile}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *options,
            page.absolute().as_uri(),
        ]
        result = subprocess.run(command, capture_output=True, timeout=120, check=False)
    if result.returncode:
        raise SystemExit(f"Chromium failed: {escape(result.stderr.decode(errors='replace')[-500:])}")
    return result.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    photograph(options.page, options.folder / "wide.png", DESKTOP)
    photograph(options.page, options.folder / "middle.png", TABLET)
    photograph(options.page, options.folder / "narrow.png", PHONE)
    photograph(options.page, options.folder / "dark.png", DESKTOP, dark=True)
    paper(options.page, options.folder / "paper.pdf")
    for picture in sorted(options.folder.iterdir()):
        print(picture)


if __name__ == "__main__":
    main()

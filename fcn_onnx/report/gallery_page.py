"""The gallery as HTML: the images that changed most, with fp32's and int8's labels on either side of a line.

The line is moved without a script: eleven radio buttons lie over the picture, side by side and unseen, and the one that
is chosen says where it is. They are one stop of the Tab key, and the arrow keys go from one to the next; a pointer that
rests on one moves the line there for as long. On paper both pictures are whole, side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from fcn_onnx.report.document import Candidate, Pictures
from fcn_onnx.report.pictures import Encoded, data_uri

STEPS = 11
"""Places of the line, from all int8 to all fp32; `style.css` has a rule for each."""


def gallery(candidate: Candidate, pictures: Encoded, group: str) -> str:
    """The pictures of one candidate.

    Args:
        pictures: by their names in the report; an entry whose picture is not there is drawn without it.
        group: unlike any other candidate's.
    """
    agreement = {image.name: image.agreement for image in candidate.worst_images}
    parts = []
    for index, entry in enumerate(candidate.gallery):
        share = agreement.get(entry.name)
        said = "" if share is None else f" — {100 * share:.2f} % of the labels agree"
        if drawn := _entry(entry, pictures, f"{group}-{index}"):
            parts.append(
                f'<section class="changed"><p class="name">{escape(entry.name)}{said}</p>\n'
                f'<div class="gallery">{drawn}</div></section>'
            )
    return "\n".join(parts)


def _entry(entry: Pictures, pictures: Encoded, group: str) -> str:
    name = escape(entry.name)
    found = {
        key: escape(uri)
        for key in ("image", "truth", "fp32", "int8", "disagreement")
        if (uri := data_uri(getattr(entry, key), pictures))
    }
    both = {"fp32", "int8"} <= found.keys()
    parts = [_figure(found, "image", "photograph", name), _figure(found, "truth", "truth", name)]
    if both:
        parts.append(_wipe(found, name, group))
    else:
        parts += [_figure(found, key, key, name) for key in ("fp32", "int8")]
    parts.append(_figure(found, "disagreement", "where they differ", name))
    return "".join(parts)


def _figure(found: Mapping[str, str], key: str, caption: str, name: str) -> str:
    if key not in found:
        return ""
    return f'<figure><img src="{found[key]}" alt="{caption} of {name}"><figcaption>{caption}</figcaption></figure>'


def _wipe(found: Mapping[str, str], name: str, group: str) -> str:
    """fp32's picture left of the line, and int8's right of it."""
    places = "".join(
        f'<input type="radio" name="{group}" aria-label="line at {100 * step // (STEPS - 1)} %"'
        f"{' checked' if step == STEPS // 2 else ''}>"
        for step in range(STEPS)
    )
    both = "".join(f'<img src="{found[key]}" alt="{key} of {name}">' for key in ("fp32", "int8"))
    hint = '<span class="hint">point, tap, or ← →</span>'
    return (
        f'<figure class="wipe"><div role="radiogroup" aria-label="fp32 left of the line, int8 right of it, of {name}">'
        f"{places}{both}<i></i></div><figcaption><span>fp32</span>{hint}<span>int8</span></figcaption></figure>"
    )

"""What onnxruntime leaves behind of a session, where it could not write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toys import pixel_classifier, save

from fcn_onnx.errors import OutputError
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import Session, options_of


@pytest.mark.parametrize("left", ['[{"cat": "Node", "na', "", None], ids=["cut", "empty", "none"])
def test_a_profile_that_a_full_disk_cut_is_told_so(tmp_path: Path, left: str | None) -> None:
    """onnxruntime ends its profile without a word, whatever of it was written (seen by the campaign of faults)."""
    options = options_of(SessionConfig())
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = Session(str(save(pixel_classifier(), tmp_path / "toy.onnx")), options, name="toy")
    session.run(None, {session.inputs[0].name: np.zeros((1, 3, 8, 8), np.float32)})
    whole = session.profile()
    assert {event["cat"] for event in whole} == {"Session", "Node"}
    written = next(tmp_path.glob("profile*"))
    if left is None:
        written.unlink()
    else:
        written.write_text(left)
    session._session = SimpleNamespace(end_profiling=lambda: str(written))
    with pytest.raises(OutputError, match="is the disk full"):
        session.profile()

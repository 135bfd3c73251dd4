"""onnxruntime's execution providers other than the CPU's: what runs on them, and that nothing quietly does not.

onnxruntime leaves out a provider that does not start (no GPU, no driver, no library of its own) and gives the CPU what
one does not take, and raises nothing in either case. Here both are errors, the second where a node that multiplies is
concerned: what moves and shapes tensors may stay on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from fcn_onnx.errors import MissingDependencyError, ModelError, first_line
from fcn_onnx.jobs.text import listed
from fcn_onnx.model.macs import OPERATORS
from fcn_onnx.runtime.onnxruntime import executed_graph, int8_names
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, Profiled, SessionConfig
from fcn_onnx.runtime.session import Session, options_of, python_of
from fcn_onnx.runtime.smallest import smallest_model
from fcn_onnx.runtime.trace import traced

RECORDED = "session.record_ep_graph_assignment_info"
"""Has onnxruntime keep which provider took which node."""

NAMED = 3


class OnProvider:
    """See `seam.Runtime`.

    Args:
        name: as reports have it.
        provider: onnxruntime's name of it.
        compiles: it makes something of its own of the nodes that it takes, whose layers onnxruntime does not see.
    """

    version: str = ort.__version__

    def __init__(self, name: str, provider: str, *, compiles: bool = False) -> None:
        self.name = name
        self._provider = provider
        self._compiles = compiles
        self._starts = False

    @property
    def remark(self) -> str:
        """See `seam.Runtime`."""
        return (
            f"{self.name} is onnxruntime {self.version} with {self._provider}: all that multiplies runs there, and "
            "what else it does not take on the CPU"
        )

    def open(self, source: str | bytes, config: SessionConfig, *, name: str, fix: str) -> Session:
        """See `seam.Runtime`.

        Raises:
            MissingDependencyError: the provider does not start on this machine.
            ModelError: it leaves to the CPU what multiplies.
        """
        self._require_started()
        options = options_of(config)
        options.add_session_config_entry(RECORDED, "1")
        session = Session(source, options, name=name, fix=fix, provider=self._provider)
        left = [
            f"{node} ({op_type})"
            for taken_by, node, op_type in session.assignment
            if taken_by != self._provider and op_type in OPERATORS
        ]
        if left:
            raise ModelError(
                f"{self._provider} leaves {len(left)} nodes of {name} that multiply to the CPU: {listed(left, NAMED)}",
                fix="quantize it again with --format qdq, which more providers read, or use "
                f"--runtime {DEFAULT_RUNTIME}",
            )
        return session

    def _require_started(self) -> None:
        """Raise MissingDependencyError where the provider does not run even `smallest_model`."""
        if self._starts:
            return
        model, options = smallest_model().SerializeToString(), options_of(SessionConfig())
        try:
            said = ""
            self._starts = (
                self._provider in Session(model, options, name="the smallest model", provider=self._provider).providers
            )
        except ModelError as error:
            said = f" ({first_line(error.__cause__ or error)})"
        if not self._starts:
            raise MissingDependencyError(
                f"{self._provider} does not start on this machine{said}, and onnxruntime would use the CPU",
                fix="install what the provider needs: its device, driver and libraries (onnxruntime.ai/docs/"
                f"execution-providers); or use --runtime {DEFAULT_RUNTIME}",
            )

    def int8_nodes(self, path: Path) -> frozenset[str] | None:
        """See `seam.Runtime`."""
        return None if self._compiles else int8_names(executed_graph(path, self._provider))

    def python(self, path: str, config: SessionConfig) -> str:
        """See `seam.Runtime`."""
        return python_of(path, config, self._provider)

    def profile(
        self, source: str | bytes, config: SessionConfig, feeds: Mapping[str, NDArray[Any]], runs: int, *, name: str
    ) -> Profiled:
        """See `seam.Runtime`."""
        return traced(source, options_of(config), feeds, runs, name=name, provider=self._provider)


CUDA = OnProvider("onnxruntime-cuda", "CUDAExecutionProvider")
TENSORRT = OnProvider("onnxruntime-tensorrt", "TensorrtExecutionProvider", compiles=True)
MIGRAPHX = OnProvider("onnxruntime-migraphx", "MIGraphXExecutionProvider", compiles=True)
OPENVINO = OnProvider("onnxruntime-openvino", "OpenVINOExecutionProvider", compiles=True)

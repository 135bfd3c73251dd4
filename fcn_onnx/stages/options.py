"""The options of every stage, each written once: flags on the command line, keys in a recipe, arguments in Python.

What says which images are meant, and what a model does not say of itself, are parts that several stages share
(`ImageSource`, `ImageChoice`, `Interface`). Nothing heavy is imported here: tables of names are looked up when they are
needed. What several stages have in common is in `shared_options`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.jobs.bounds import COUNT, DROP, FRACTION, SIDE
from fcn_onnx.jobs.engines import RAY, Running
from fcn_onnx.jobs.fields import Checked, Pair, option, part
from fcn_onnx.model.interface import InputHints, Interface, multiple_of_option
from fcn_onnx.model.tiling import Tiling
from fcn_onnx.stages.shared_options import (
    LEVELS,
    METHODS,
    bias_correction_option,
    force_option,
    format_option,
    per_channel_option,
    percentile_option,
    ranges_option,
    runtime_option,
    runtimes_option,
    target_option,
    threads_option,
    wait_option,
)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Checked):
    """Of `export`; see the options' help.

    Raises:
        UsageError: it is not said which network, or twice; or options that contradict each other.
    """

    arch: str | None = option(
        None,
        help="Which network; see below. Default: the one whose --weights FILE these are.",
        names="fcn_onnx.networks.families:NAMES",
    )
    network: str | None = option(
        None,
        help="Any other: a torch.nn.Module, or what returns one when called, in a module that is installed or lies "
        "here. Its code runs.",
        metavar="PACKAGE.MODULE:FACTORY",
    )
    opset: int = option(12, help="The opset of the ONNX file: 11, 12 and newer.")
    weights: str = option(
        "DEFAULT",
        help="The published weights (of --network: what it comes with), random ones (seeded, recorded as random), or "
        "a checkpoint: torch, MXNet, MindSpore or safetensors.",
        metavar="DEFAULT|none|FILE",
    )
    classes: int | str | None = option(
        None,
        help="How many classes, or a file with their names, one a line. Default: as many as the weights are for.",
        metavar="N|FILE",
    )
    aux: bool | None = option(
        None,
        help="Export the auxiliary head and its output, or leave them out. Default: as the network's origin has it.",
        flag="--aux",
        opposite="--no-aux",
    )
    output_name: str | None = option(
        None, help="Of what --network returns by name: the logits. Default: out, logits, or the only tensor."
    )
    size: Pair | None = option(None, help="Fix the input's size; dynamic otherwise.", metavar="HxW", bound=SIDE)
    hints: InputHints = part(InputHints)
    output_labels: bool = option(False, help="Outputs are uint8 labels (N, H, W), the argmax, not logits.")
    fp16: bool = option(False, help="Compute in float16, for GPUs; input and outputs stay float32.")
    output: Path | None = option(
        None,
        help="The model to write. Default: fcn-<arch or factory>-<opset>.onnx here.",
        metavar="FILE",
        decides=False,
        in_recipe=False,
    )
    test_data: bool = option(
        False, help="Also write the model zoo's test data set and .tar.gz.", decides=False, in_recipe=False
    )
    list_networks: bool = option(
        False,
        help="Only show the networks: parameters and multiply-accumulates as counted, and what was published.",
        flag="--list",
        decides=False,
        in_recipe=False,
    )
    force: bool = force_option()
    wait: float = wait_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.list_networks:
            return
        if self.arch and self.network:
            raise UsageError("--arch and --network name two networks", fix="name one")
        if not self.arch and not self.network and self.weights in ("DEFAULT", "none"):
            raise UsageError(
                "Missing: which network",
                fix="name one with --arch NAME (--list shows them), your own with --network PACKAGE.MODULE:FACTORY, or "
                "a checkpoint of one that is known with --weights FILE",
            )
        if self.output_name and not self.network:
            raise UsageError("--output-name is of what --network returns", fix="leave it out")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(Checked):
    """Of `benchmark`; see the options' help."""

    models: tuple[Path, ...] = option(
        help="Files; speed-ups refer to the first.", argument=True, metavar="MODEL [MODEL …]"
    )
    size: tuple[Pair, ...] = option(
        (),
        help="Size of the random input; may be repeated. Default: the one that a model takes, or 520x520.",
        metavar="HxW",
        bound=SIDE,
    )
    runs: int = option(20, help="Timed runs of each model.", bound=COUNT)
    multiple_of: int | None = multiple_of_option()
    profile: bool = option(False, help="Also say where the time goes: by operator, and by layer.")
    tune: bool = option(
        False, help="Also try threads, spinning, memory pattern, batches and several sessions, and say what is faster."
    )
    runtime: tuple[str, ...] = runtimes_option("What runs each model")
    threads: int = threads_option()


@dataclass(frozen=True, kw_only=True)
class PredictOptions(Checked):
    """Of `predict`; see the options' help."""

    model: Path = option(help="A model that returns logits or labels.", argument=True)
    images: tuple[Path, ...] = option(
        help="Photographs, folders of them, or - for frames from standard input.",
        argument=True,
        metavar="IMAGE|FOLDER|-…",
    )
    output: Path | None = option(
        None,
        help="Where pictures go. Default: predictions; with images from standard input, standard output, as PNG.",
        metavar="DIR|-",
        decides=False,
    )
    write: str = option(
        "overlay",
        help="What standard output gets; a folder gets everything.",
        also={"overlay": "classes over the photograph", "labels": "palette PNG", "confidence": "grey PNG"},
        decides=False,
    )
    legend: bool = option(True, help="Name the classes in the overlay.", flag="--legend", opposite="--no-legend")
    tiling: Tiling = part(Tiling)
    running: Running = part(Running)
    interface: Interface = part(Interface)
    runtime: str = runtime_option("What runs the model.")
    threads: int = threads_option(decides=False)
    wait: float = wait_option()


@dataclass(frozen=True, kw_only=True)
class InspectOptions(Checked):
    """Of `inspect`; see the options' help."""

    model: Path = option(help="A model, or what calibrate kept.", argument=True, metavar="MODEL|HISTOGRAMS")
    int8: Path | None = option(None, help="The int8 model made from it.", argument=True, metavar="[INT8]")
    choice: ImageSource | None = part(ImageSource, given="data")
    limit: int = option(8, help="Images of --data to run on, of a list or of all, the first.", bound=COUNT)
    size: Pair = option(
        (520, 520), help="Input size that the MACs are counted for. Default: 520x520.", metavar="HxW", bound=SIDE
    )
    plot: Path | None = option(
        None, help="Draw histograms with the thresholds of each method.", metavar="FILE.html", decides=False
    )
    interface: Interface = part(Interface)
    runtime: str = runtime_option("Whose kernels it is asked of what runs in int8.")
    threads: int = threads_option()


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(Checked):
    """Of `calibrate`; see the options' help."""

    model: Path | None = option(None, help="The fp32 model. Default: the one here.", metavar="FILE")
    choice: ImageChoice | None = part(ImageChoice, given="data")
    source: Path | None = option(
        None, help="Histograms of an earlier pass, instead of --data.", flag="--from", metavar="HIST"
    )
    method: str = option("mse", help="How thresholds are chosen; see below.", names=METHODS)
    percentile: float | None = percentile_option()
    levels: str = option("u8", help="Of the int8 activations, for mse and kl; see below.", names=LEVELS)
    output: Path | None = option(
        None, help="The table to write. Default: calibration/<model>-<method>.json.", metavar="FILE", decides=False
    )
    histograms: Path | None = option(
        None, help="Also write what was observed, from which --from makes other tables.", metavar="FILE", decides=False
    )
    skip_bad_images: bool = option(False, help="List images that cannot be read instead of stopping.")
    running: Running = part(Running)
    interface: Interface = part(Interface)
    threads: int = threads_option(decides=False)
    wait: float = wait_option()


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(Checked):
    """Of `quantize`; see the options' help."""

    model: Path | None = option(None, help="The fp32 model. Default: the one here.", metavar="FILE", in_recipe=False)
    choice: ImageChoice | None = part(ImageChoice, given="data")
    ranges: Path | None = ranges_option("--data. With neither, the model's own clips (TI's *_qat.onnx).")
    method: str | None = option(
        None, help="How thresholds are chosen. Default: mse; minmax with neural-compressor.", names=METHODS
    )
    percentile: float | None = percentile_option()
    backend: str = option(
        "onnxruntime",
        help="The library that writes the int8 graph.",
        names="fcn_onnx.quantization.backends.table:BACKENDS",
    )
    format: str = format_option()
    target: str = target_option("this CPU, or what --runtime reads")
    per_channel: bool | None = per_channel_option()
    bias_correction: bool = bias_correction_option()
    keep_float: tuple[str, ...] = option(
        (), help="Convolutions and matrix products in whose names this is found stay fp32; repeatable.", metavar="REGEX"
    )
    max_drop: float | None = option(
        None,
        help="Lose no more of the mIoU on calibration images, relative: keep in fp32 what gains most for its time.",
        metavar="PERCENT",
        bound=DROP,
    )
    min_agreement: float | None = option(
        None,
        help="The same for the share of the calibration images' labels that are fp32's. It needs no truth.",
        metavar="FRACTION",
        bound=FRACTION,
    )
    refine: bool = option(False, help="Move thresholds to where the output errs least; takes minutes.")
    runtime: str = runtime_option("What is to run the model, and what bounds and --refine are measured in.")
    output: Path | None = option(
        None,
        help="The int8 model to write. Default: fcn-<arch>-<opset>-int8.onnx here.",
        metavar="FILE",
        decides=False,
        in_recipe=False,
    )
    running: Running = part(Running)
    interface: Interface = part(Interface)
    threads: int = threads_option(decides=False, in_recipe=False)
    force: bool = force_option()
    wait: float = wait_option()


@dataclass(frozen=True, kw_only=True)
class SensitivityOptions(Checked):
    """Of `sensitivity`; see the options' help."""

    model: Path | None = option(None, help="The fp32 model. Default: the one here.", metavar="FILE")
    choice: ImageChoice = part(ImageChoice)
    ranges: Path | None = ranges_option("ranges observed on the chosen images.")
    method: str = option("mse", help="How thresholds are chosen.", names=METHODS)
    percentile: float | None = percentile_option()
    format: str = format_option()
    target: str = target_option()
    per_channel: bool | None = per_channel_option()
    bias_correction: bool = bias_correction_option()
    trial_images: int = option(
        8, help="Of the chosen images, what each layer is tried on; the front is measured on others.", bound=COUNT
    )
    report: Path = option(
        Path("sensitivity"), help="Gets sensitivity.json and sensitivity.html.", metavar="DIR", decides=False
    )
    interface: Interface = part(Interface)
    threads: int = threads_option()
    force: bool = force_option()
    wait: float = wait_option()


@dataclass(frozen=True, kw_only=True)
class ValidateOptions(Checked):
    """Of `validate`; see the options' help."""

    fp32: Path | None = option(None, help="The fp32 model. Default: the one here.", metavar="FILE", in_recipe=False)
    int8: tuple[Path, ...] = option(
        (), help="The int8 model; repeat it to compare several. Default: the one here.", metavar="FILE", in_recipe=False
    )
    choice: ImageSource = part(ImageSource)
    protocol: str | None = option(
        None,
        help="Protocol to score by; see below. Default: as the network's origin does, else torchvision.",
        names="fcn_onnx.evaluation.protocols:PROTOCOLS",
    )
    limit: int | None = option(None, help="Only the first N images.", bound=COUNT)
    include_calibration_images: bool = option(False, help="Also score what the int8 model was calibrated on.")
    gates: Gates = part(Gates)
    report: Path | None = option(
        Path("report"),
        help="Gets report.json, report.md, report.html, metrics.json and images.npz.",
        metavar="DIR",
        decides=False,
        in_recipe=False,
    )
    junit: Path | None = option(
        None,
        help="Also write the run and its gates as JUnit XML, which CI shows as tests.",
        metavar="FILE",
        decides=False,
        in_recipe=False,
    )
    profile: bool = option(False, help="Also say where each session's time goes, and the memory that it takes.")
    running: Running = part(Running)
    interface: Interface = part(Interface)
    runtime: tuple[str, ...] = runtimes_option("What runs each int8 model, and the first fp32 too")
    threads: int = threads_option(in_recipe=False)
    wait: float = wait_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        timed = self.gates.min_speedup is not None or self.gates.max_latency is not None
        if timed and self.running.engine == RAY:
            raise UsageError(
                "--min-speedup and --max-latency are of a quiet machine, and a cluster's are busy",
                fix="leave out --engine ray, or the gate: `benchmark` times models on few images",
            )

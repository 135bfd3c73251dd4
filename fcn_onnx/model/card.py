"""The model card: what an ONNX file of ours says of itself, in its `metadata_props`.

Each field is one property named `fcn_onnx.<field>` whose value is JSON, so that any ONNX viewer shows
it and any program reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_type_hints

import onnx

from fcn_onnx.errors import ModelError
from fcn_onnx.jobs.text import utf8
from fcn_onnx.jobs.typed import require_typed
from fcn_onnx.model.interface import MAX_CLASSES

PREFIX = "fcn_onnx."
PLANNED = {"float_nodes": tuple[str, ...]}
"""What is read of a recorded plan, beyond showing it."""


@dataclass(frozen=True)
class ModelCard:
    """Provenance of one model file; fields are None or empty where they do not apply.

    Attributes:
        job: digest of everything the file was made from; equal digests mean nothing to redo.
        arch: architecture name, as `export --arch` takes it, or the name of the factory of `export --network`.
        opset: of the default domain.
        weights: where they came from and their digest: {"source", "digest", "random"}.
        notes: what was found, assumed or left out when it was exported.
        protocol: by which what the network's origin published was measured.
        classes: class names in label order.
        preprocessing: `Preprocessing.to_json()`.
        output: name of the output to read, where the user had to say it.
        versions: packages that made it.
        form: `FORM_VERSION` of the fcn-onnx that wrote it.
        content: of an int8 model, `digest_content`: what is in the file beside its metadata.
        source: digest of the fp32 model that an int8 model was made from.
        quantization: the plan as recorded JSON (format, per_channel, target, method, …).
        calibration_images: what the ranges were observed on: digest of the file by name, relative to the
            data folder.
    """

    job: str | None = None
    arch: str | None = None
    opset: int | None = None
    weights: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    protocol: str | None = None
    classes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] | None = None
    output: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    form: int | None = None
    content: str | None = None
    source: str | None = None
    quantization: Mapping[str, Any] | None = None
    calibration_images: Mapping[str, str] = field(default_factory=dict)

    def for_job(self, job: str) -> ModelCard:
        """The same card with the digest of the job that it belongs to."""
        return replace(self, job=job)

    def write_to(self, model: onnx.ModelProto) -> None:
        """Put the card into `model`, replacing an older one; other properties stay."""
        others = {p.key: p.value for p in model.metadata_props if not p.key.startswith(PREFIX)}
        said = {key: value for key, value in asdict(self).items() if value not in (None, (), {})}
        texts = {key: json.dumps(value, ensure_ascii=False, sort_keys=True) for key, value in said.items()}
        ours = {PREFIX + key: utf8(text).decode() for key, text in texts.items()}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, others | ours)

    @classmethod
    def read_from(cls, model: onnx.ModelProto, name: str) -> ModelCard:
        """The card in `model`; an empty one where there is none.

        Raises:
            ModelError: a property of ours is not the JSON it should be; `name` says in which file.
        """
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        try:
            found = {p.key.removeprefix(PREFIX): p.value for p in model.metadata_props if p.key.startswith(PREFIX)}
            for key in hints.keys() & found.keys():
                try:
                    values[key] = json.loads(found[key])
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{key} is not JSON") from error
            require_typed(values, hints)
            if len(values.get("classes", ())) > MAX_CLASSES:
                raise ValueError(f"it names {len(values['classes'])} classes, and labels of 8 bits tell {MAX_CLASSES}")
            require_typed({"float_nodes": (values.get("quantization") or {}).get("float_nodes", [])}, PLANNED)
        except ValueError as error:  # also of text that is not UTF-8
            raise ModelError(f"the card in the metadata of {name}: {error}", fix="make the model again") from error
        for key in {"classes", "notes"} & values.keys():
            values[key] = tuple(values[key])
        return cls(**values)

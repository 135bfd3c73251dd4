# fcn-onnx on a CPU: quantize, validate, predict, benchmark.
#
#   docker build --tag fcn-onnx .
#   docker run --rm --user "$(id -u)" --volume "$PWD:/work" fcn-onnx quantize --model fcn-resnet50-12.onnx --data coco/val2017
#
# `--build-arg EXTRAS=[export,fast]` adds torch and with it `export` and `demo`; torch's default build brings several GB of
# CUDA libraries, so set PIP_INDEX_URL or PIP_EXTRA_INDEX_URL to an index with CPU builds.

FROM python:3.11-slim AS build
COPY . /source
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels /source

FROM python:3.11-slim
ARG EXTRAS=[fast]
COPY constraints/newest.txt /constraints.txt
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /constraints.txt "$(echo /wheels/*.whl)${EXTRAS}"
# What is not the user's own is read-only; HOME and TMPDIR are where numba and onnxruntime may write.
ENV HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /work
ENTRYPOINT ["fcn-onnx"]
CMD ["--help"]

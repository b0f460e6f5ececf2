# syntax=docker/dockerfile:1
# docker build --target cpu -t ringrift:cpu .      any machine
# docker build --target cuda -t ringrift:cuda .    NVIDIA GPUs; docker run --gpus all ...
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/ringrift
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./

# Packages that change rarely are a layer of their own, before the code.
FROM build AS build-cpu
RUN /opt/ringrift/bin/pip install --index-url https://download.pytorch.org/whl/cpu \
    "torch>=2.6"
COPY src src
RUN /opt/ringrift/bin/pip install -c constraints.txt ".[metrics,mlflow,store,web]"

FROM build AS build-cuda
RUN /opt/ringrift/bin/pip install -c constraints.txt "torch>=2.6" "numba-cuda[cu13]>=0.30"
COPY src src
RUN /opt/ringrift/bin/pip install -c constraints.txt ".[gpu,metrics,mlflow,store,web]"

FROM python:${PYTHON}-slim-bookworm AS base
# Fixed numbers, so that a folder of the host can be given to this user.
RUN groupadd --gid 1000 ringrift \
    && useradd --uid 1000 --gid 1000 --create-home ringrift \
    && install -d -o ringrift -g ringrift /work /cache
ENV PATH=/opt/ringrift/bin:$PATH RINGRIFT_CACHE_DIR=/cache
USER 1000:1000
WORKDIR /work
VOLUME ["/work", "/cache"]
ENTRYPOINT ["ringrift"]
CMD ["--help"]

FROM base AS cuda
COPY --from=build-cuda /opt/ringrift /opt/ringrift

FROM base AS cpu
COPY --from=build-cpu /opt/ringrift /opt/ringrift

# fettle in a container: a target per profile, layers in the order base, Python, dependencies, templates, application.
#
#   docker build .                                            the demo (CPU)
#   docker build --target a1111-runpod .                      AUTOMATIC1111's webui for RunPod serverless (GPU)
#   docker build --target diffusers-runpod .                  the bundled engine with templates for RunPod serverless (GPU)
#   docker build --build-arg BINARY=prebuilt .                takes dist/fettle as it lies there instead of compiling it
#   docker build --build-arg RECIPE=templates.json \          bakes merged models; the token is a secret, never an ARG:
#     --secret id=CIVITAI_API_KEY,env=CIVITAI_API_KEY .       what an ARG holds stands in the image's history for ever
#
# Indexes: UV_DEFAULT_INDEX, UV_INDEX (several, with spaces between), UV_FIND_LINKS; a private one's password comes as --secret id=netrc,src=…

# The seeds' GPU base; any Debian or Ubuntu with a driver-matching CUDA will do. Python 3.11 is installed where it lacks.
ARG GPU_BASE=runpod/base:0.6.3-cuda11.8.0
ARG CPU_BASE=debian:bookworm-slim
# Anything with Bun 1.4.5, or npm or Debian's apt to get it with.
ARG COMPILE_BASE=oven/bun:1.4.5-debian

# --- the binary ---------------------------------------------------------------------------------------------------------------------
FROM ${COMPILE_BASE} AS binary
# compiled, or prebuilt: then nothing is compiled, and any small image will do as COMPILE_BASE.
ARG BINARY=compiled
# The certificates of a proxy that opens TLS, if you are behind one (a path in this image).
ARG NODE_EXTRA_CA_CERTS
WORKDIR /src
COPY scripts/lib/bootstrap.sh scripts/lib/bootstrap.sh
COPY package.json bun.lock bunfig.toml tsconfig.json ./
RUN [ "$BINARY" = prebuilt ] || bash -c 'set -e; source scripts/lib/bootstrap.sh; need_node_modules'
COPY scripts/build scripts/build
COPY commands commands
COPY src src
# The pattern lets a tree without dist/fettle pass.
COPY package.json dist/fettl[e] /prebuilt/
RUN if [ "$BINARY" = prebuilt ]; then cp /prebuilt/fettle /fettle; else scripts/build && cp dist/fettle /fettle; fi

# --- demo: the bundled engine on the CPU --------------------------------------------------------------------------------------------
FROM ${CPU_BASE} AS demo-base
ARG PYTHON_VERSION=3.11
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS UV_INDEX_STRATEGY=unsafe-best-match UV_TORCH_BACKEND=cpu
RUN --mount=type=bind,source=scripts/image/python,target=/build/python /build/python
ENV PATH=/opt/venv/bin:$PATH FETTLE_PYTHON=/opt/venv/bin/python PYTHONUNBUFFERED=1
COPY src/engines/diffusers/helper/requirements.txt /opt/fettle/requirements.txt
RUN --mount=type=bind,source=scripts/image/dependencies,target=/build/dependencies --mount=type=secret,id=netrc,target=/run/secrets/netrc \
    /build/dependencies /opt/fettle/requirements.txt
# A recipe of the build context; its models lie beside it, or are fetched into a cache that outlives the build but is no part of the image.
ARG RECIPE
COPY --from=binary /fettle /usr/local/bin/fettle
RUN --mount=type=bind,target=/context --mount=type=cache,target=/var/cache/fettle --mount=type=secret,id=CIVITAI_API_KEY --mount=type=secret,id=HF_TOKEN \
    /context/scripts/image/templates "$RECIPE"

# --- a1111-runpod: AUTOMATIC1111's webui for RunPod serverless ----------------------------------------------------------------------
FROM ${GPU_BASE} AS a1111-runpod
ARG PYTHON_VERSION=3.11
ARG SSL_CERT_FILE
ARG UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS UV_INDEX_STRATEGY=unsafe-best-match UV_TORCH_BACKEND=cu118
RUN --mount=type=bind,source=scripts/image/python,target=/build/python /build/python git libgl1 libglib2.0-0
ENV PATH=/opt/venv/bin:$PATH FETTLE_PYTHON=/opt/venv/bin/python PYTHONUNBUFFERED=1
ARG WEBUI_REPOSITORY=https://github.com/AUTOMATIC1111/stable-diffusion-webui
ARG WEBUI_REF=v1.10.1
RUN git clone --quiet --depth 1 --branch "$WEBUI_REF" "$WEBUI_REPOSITORY" /stable-diffusion-webui && chown -R fettle:fettle /stable-diffusion-webui
RUN --mount=type=bind,source=scripts/image/dependencies,target=/build/dependencies --mount=type=secret,id=netrc,target=/run/secrets/netrc \
    /build/dependencies /stable-diffusion-webui/requirements_versions.txt
ARG RECIPE
COPY --from=binary /fettle /usr/local/bin/fettle
RUN --mount=type=bind,target=/context --mount=type=cache,target=/var/cache/fettle --mount=type=secret,id=CIVITAI_API_KEY --mount=type=secret,id=HF_TOKEN \
    /context/scripts/image/templates "$RECIPE"
# fettle itself stays root (volumes of the platform belong to root), the engine does not.
RUN mkdir -p /etc/fettle && printf '%s\n' 'version: 1' 'extends: a1111-runpod' 'engines: { webui: { user: fettle } }' >/etc/fettle/fettle.yaml
ARG VERSION=0.1.0 REVISION
LABEL org.opencontainers.image.title="fettle a1111-runpod" org.opencontainers.image.licenses=MIT \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["fettle", "health"]
ENTRYPOINT ["tini", "--"]
CMD ["fettle", "start"]

# --- diffusers-runpod: the bundled engine with templates for RunPod serverless ------------------------------------------------------
FROM ${GPU_BASE} AS diffusers-runpod
ARG PYTHON_VERSION=3.11
ARG SSL_CERT_FILE
# torch brings its own CUDA; the oldest that its version is built for runs with the most drivers.
ARG UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS UV_INDEX_STRATEGY=unsafe-best-match UV_TORCH_BACKEND=cu126
RUN --mount=type=bind,source=scripts/image/python,target=/build/python /build/python
ENV PATH=/opt/venv/bin:$PATH FETTLE_PYTHON=/opt/venv/bin/python PYTHONUNBUFFERED=1
COPY src/engines/diffusers/helper/requirements.txt /opt/fettle/requirements.txt
RUN --mount=type=bind,source=scripts/image/dependencies,target=/build/dependencies --mount=type=secret,id=netrc,target=/run/secrets/netrc \
    /build/dependencies /opt/fettle/requirements.txt
# The recipe becomes /templates.json and its models /models/merged: where the profile looks. buildah makes a RUN anew only when something
# before it changed, so the recipe is copied (without one, the licence).
ARG RECIPE
COPY ${RECIPE:-LICENSE} /opt/fettle/recipe/
COPY --from=binary /fettle /usr/local/bin/fettle
RUN --mount=type=bind,target=/context --mount=type=cache,target=/var/cache/fettle --mount=type=secret,id=CIVITAI_API_KEY --mount=type=secret,id=HF_TOKEN \
    /context/scripts/image/templates "$RECIPE" /models/merged /templates
COPY scripts/image-config/diffusers-runpod.yaml /etc/fettle/fettle.yaml
RUN [ -z "$RECIPE" ] || sed -i "s#/templates.json#/templates.${RECIPE##*.}#" /etc/fettle/fettle.yaml
ARG VERSION=0.1.0 REVISION
LABEL org.opencontainers.image.title="fettle diffusers-runpod" org.opencontainers.image.licenses=MIT \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
ENV FETTLE_PROFILE=diffusers-runpod
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["fettle", "health"]
ENTRYPOINT ["tini", "--"]
CMD ["fettle", "start"]

# --- the default target -------------------------------------------------------------------------------------------------------------
FROM demo-base AS demo
ARG VERSION=0.1.0 REVISION
LABEL org.opencontainers.image.title="fettle demo" org.opencontainers.image.licenses=MIT \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
# The job API stays on loopback until somebody opens it: docker run -e FETTLE_HTTP_LISTEN=0.0.0.0 -e FETTLE_API_KEY=… -p 8000:8000
ENV FETTLE_PROFILE=demo FETTLE_STATE_DIR=/var/lib/fettle FETTLE_LOG_DIR=/var/log/fettle FETTLE_RUNTIME_DIR=/run/fettle
USER fettle
WORKDIR /home/fettle
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 CMD ["fettle", "health"]
ENTRYPOINT ["tini", "--"]
CMD ["fettle", "start"]

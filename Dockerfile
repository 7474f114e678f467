# A first version: it builds and runs. Size, the official nginx as a base and a scan come with the image issue.
#
# Both stages stand on the same base, so that the virtual environment finds the Python it was made with.
ARG NGINX_IMAGE=debian:bookworm-slim

FROM ${NGINX_IMAGE} AS build
USER root
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# The environment that ships has no pip in it: one made for the build fills it.
RUN python3 -m venv /build \
    && python3 -m venv --without-pip /opt/autoexit-nginx \
    && /build/bin/pip install --quiet --no-cache-dir --require-hashes -r requirements-build.lock \
    && /build/bin/pip --python /opt/autoexit-nginx/bin/python install --quiet --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY nginx nginx
COPY supervisor supervisor
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /dist . \
    && /build/bin/pip --python /opt/autoexit-nginx/bin/python install --quiet --no-deps --no-index /dist/*.whl

FROM ${NGINX_IMAGE}
USER root
# 101 is the user nginx in the official image: where it is taken by another name, the number counts.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 \
    && { command -v nginx >/dev/null || apt-get install -y -qq --no-install-recommends nginx-light; } \
    && rm -rf /var/lib/apt/lists/* \
    && { getent group 101 >/dev/null || groupadd --system --gid 101 nginx; } \
    && { getent passwd 101 >/dev/null || useradd --system --uid 101 --gid 101 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nginx; } \
    && install -d -o 101 -g 101 -m 0700 /run/autoexit-nginx /var/lib/autoexit-nginx
COPY --from=build /opt/autoexit-nginx /opt/autoexit-nginx
ENV PATH=/opt/autoexit-nginx/bin:$PATH PYTHONUNBUFFERED=1
USER 101:101
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["autoexit-nginx", "healthcheck"]
ENTRYPOINT ["autoexit-nginx"]

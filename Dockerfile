# The supervisor as PID 1 of the official image of the current stable nginx. Plain Debian with its own
# nginx is the second choice (docs/traffic.md, "What Debian's nginx costs"):
#
#     docker build --build-arg NGINX_IMAGE=debian:bookworm-slim .
#
# Both stages use the same base, so that the environment finds the Python it was created with.
# Pinned by tag: a security release is a new tag, and `make image` fails below the minimum version in
# tools/nginx-floor. For the contents and the reasons see docs/image.md.
ARG NGINX_IMAGE=nginx:1.30.7-trixie

FROM ${NGINX_IMAGE} AS build
USER root
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# The shipped environment contains no pip: one that stays in this stage fills it. Bytecode is not
# checked against its source (unchecked-hash): otherwise a build that rewrites file times would make
# every start compile everything again, and a read-only root could not store the result.
RUN python3 -m venv /build \
    && python3 -m venv --without-pip /opt/autoexit-nginx \
    && /build/bin/pip install --quiet --no-cache-dir --require-hashes -r requirements-build.lock \
    && /build/bin/pip --python /opt/autoexit-nginx/bin/python install \
        --quiet --no-cache-dir --no-compile --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY nginx nginx
COPY supervisor supervisor
COPY tools/onefile.py tools/
# Our own start script: pip's script imports modules before signals are blocked, and PID 1 would lose a
# stop signal that arrives meanwhile. -I ignores PYTHON* variables and user site directories.
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /dist . \
    && /build/bin/pip --python /opt/autoexit-nginx/bin/python install \
        --quiet --no-deps --no-compile --no-index /dist/*.whl \
    && printf '#!%s -IB\nfrom supervisor.__main__ import main\n\nmain()\n' /opt/autoexit-nginx/bin/python \
        >/opt/autoexit-nginx/bin/autoexit-nginx \
    && rm -f /opt/autoexit-nginx/bin/[Aa]ctivate* \
    && python3 tools/onefile.py /opt/autoexit-nginx/autoexit.pyz >/dev/null \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/autoexit-nginx/lib \
    && /opt/autoexit-nginx/bin/python -IBc 'from supervisor.nginx.templates import compile_all; compile_all()'

FROM ${NGINX_IMAGE}
USER root
# 101 is the user nginx of the official image; if another user has that number, the number is used.
# The two directories have the mode and the owner of /tmp, so that any --user can create its own files
# there, and no user can replace those of another. Of the official image's scripts only the template
# script stays; the others edit files that are not used.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 ca-certificates >/dev/null \
    && { command -v nginx >/dev/null || apt-get install -y -qq --no-install-recommends nginx >/dev/null; } \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/*.log \
    && { getent group 101 >/dev/null || groupadd --system --gid 101 nginx; } \
    && { getent passwd 101 >/dev/null || useradd --system --uid 101 --gid 101 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nginx; } \
    && install -d -m 1777 /run/autoexit-nginx /var/lib/autoexit-nginx \
    && install -d /docker-entrypoint.d /etc/nginx/conf.d /etc/nginx/server.d \
    && rm -f /etc/nginx/conf.d/default.conf /docker-entrypoint.sh \
        /docker-entrypoint.d/10-listen-on-ipv6-by-default.sh /docker-entrypoint.d/15-local-resolvers.envsh \
        /docker-entrypoint.d/30-tune-worker-processes.sh \
    && ln -sf /dev/stdout /var/log/nginx/access.log \
    && ln -sf /dev/stderr /var/log/nginx/error.log
COPY nginx/plain.conf /etc/nginx/nginx.conf
COPY --from=build /opt/autoexit-nginx /opt/autoexit-nginx
ENV PATH=/opt/autoexit-nginx/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 101:101
EXPOSE 8080
# The official image uses SIGQUIT; here every stop signal drains, and SIGTERM is the usual one.
STOPSIGNAL SIGTERM
# Each check starts a new Python process: 14 ms of CPU time and 10 MB for a moment.
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s CMD ["autoexit-nginx", "healthcheck"]
ENTRYPOINT ["autoexit-nginx"]
# Clears the official image's command, which would be passed as arguments.
CMD []
# Last, so that a new revision rebuilds only this.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="autoexit-nginx" \
      org.opencontainers.image.description="One address for the replicas of a Nomad service, for a limited time, with a clean end" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

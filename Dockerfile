# The operator and the helpers that it puts into runs' pods: one bundle beside Node. Build the bundle first: npm run bundle.
# The base is an argument so that the same file builds where the public one cannot be pulled.
ARG BASE=docker.io/library/node:24-bookworm-slim
FROM ${BASE}

# git and ssh fetch the sources of runs.
RUN command -v git >/dev/null && command -v ssh >/dev/null \
 || (apt-get update && apt-get install -y --no-install-recommends ca-certificates git openssh-client && rm -rf /var/lib/apt/lists/*)
# ssh refuses to work for a user that has no name.
RUN echo 'worldflux:x:10001:10001:worldflux:/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'worldflux:x:10001:' >> /etc/group

COPY dist/main.js dist/collector.mjs /app/
ENV NODE_ENV=production
USER 10001:10001
WORKDIR /tmp
# V8 sizes its young generation by the memory it finds: on a large machine it grows to 128 MB of what is garbage already.
ENTRYPOINT ["node", "--max-semi-space-size=16", "/app/main.js"]
CMD ["operator"]

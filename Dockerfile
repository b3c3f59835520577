# Two images from one file: `guerdon` (API, worker, attestors, CLI) and `chain` (Anvil, for development).

FROM node:20-bookworm-slim AS node-tools
WORKDIR /guerdon
COPY package.json package-lock.json .npmrc ./
RUN npm install --no-save --no-audit --no-fund

FROM node-tools AS chain
EXPOSE 8545
USER node
ENTRYPOINT ["node_modules/.bin/anvil", "--host", "0.0.0.0"]

# Compilers run here and nowhere else: the service image has none, and none of what only development takes.
FROM python:3.12-slim-bookworm AS build
COPY --from=node-tools /usr/local/bin/node /usr/local/bin/node
WORKDIR /guerdon
ENV GUERDON_CACHE=/guerdon/cache
COPY requirements.lock requirements-service.lock pyproject.toml README.md ./
RUN python -m venv /tools && /tools/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-service.lock
COPY --from=node-tools /guerdon/node_modules node_modules
COPY prover prover
COPY contracts contracts
COPY scripts scripts
RUN /tools/bin/python -m scripts.compile && /tools/bin/python -m prover.keygen dev
COPY backend backend
RUN .venv/bin/pip install --no-cache-dir --no-deps --editable .

FROM python:3.12-slim-bookworm AS guerdon
RUN useradd --create-home --uid 10001 guerdon && mkdir /data && chown guerdon /data
WORKDIR /guerdon
COPY --from=build /guerdon/.venv .venv
COPY --from=build --chown=guerdon /guerdon/cache cache
COPY --from=build /guerdon/build/contracts build/contracts
COPY --from=build /guerdon/pyproject.toml /guerdon/README.md ./
COPY --from=build /guerdon/prover prover
COPY --from=build /guerdon/backend backend
COPY --from=build /guerdon/*.egg-info ./guerdon.egg-info
ENV GUERDON_CACHE=/guerdon/cache PATH=/guerdon/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER guerdon
ENTRYPOINT ["guerdon"]

# The workbench, see docs/annotate.md. Everything is kept in /data.
FROM node:22-slim AS page
WORKDIR /web/page
COPY mitoyolo/web/page ./
RUN npm ci --no-audit --no-fund && npm run build

FROM python:3.11-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/mitoyolo
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY mitoyolo mitoyolo
COPY converters converters
COPY data_yaml data_yaml
COPY --from=page /web/static mitoyolo/web/static
RUN pip install --no-cache-dir -c constraints.txt '.[deploy,postgresql]'

RUN useradd --create-home --uid 1000 lab && mkdir /data && chown lab /data
USER lab
VOLUME /data
EXPOSE 8000
# the container's own network; publish it at 127.0.0.1, or behind a proxy with TLS
ENTRYPOINT ["mitoyolo", "serve", "/data", "--host", "0.0.0.0"]

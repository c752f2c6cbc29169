# mvscheduler: one static binary, no shell, nobody's rights, no file that is written.
#
#   docker build -t mvscheduler --build-arg VERSION=v1.2.3 .
#
# Both images can be replaced, for a mirror or a machine that can pull nothing (deploy/docker/test.sh).
ARG GO_IMAGE=golang:1.26.8
ARG RUNTIME_IMAGE=scratch

FROM ${GO_IMAGE} AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" GOTOOLCHAIN=local
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN go build -ldflags "-s -w -X main.version=${VERSION}" -o /out/mvscheduler ./cmd/mvscheduler

FROM ${RUNTIME_IMAGE}
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="mvscheduler" \
      org.opencontainers.image.description="Keeps the materialized views of a PostgreSQL database fresh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# For sslmode=verify-full against a server with a public certificate. Time zones are in the binary.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/mvscheduler /mvscheduler
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
# Ready: its database answers and the schema fits. The address comes from MVSCHEDULER_LISTEN, as for serve.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/mvscheduler", "health"]
ENTRYPOINT ["/mvscheduler"]
CMD ["serve"]

# One static binary and nothing else.
#   docker build -t ringcast .
#   docker run --rm -p 8878:8878 --security-opt seccomp=packaging/seccomp.json ringcast --engine HOST

ARG RUST_IMAGE=rust:1-alpine
FROM ${RUST_IMAGE} AS build
# mimalloc is built from C.
RUN apk add --no-cache build-base
WORKDIR /ringcast
COPY . .
# The target of this image is musl, which links everything into the binary.
RUN cargo build --release --locked --bin ringcast \
 && mkdir -p /out/state \
 && cp target/release/ringcast /out/ringcast

FROM scratch
COPY --from=build /out/ringcast /ringcast
COPY --from=build --chown=65532:65532 /out/state /state
USER 65532:65532
ENV RINGCAST_STATE_DIR=/state
EXPOSE 8878
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["/ringcast", "healthcheck"]
ENTRYPOINT ["/ringcast"]

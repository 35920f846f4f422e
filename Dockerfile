# docker build -t perennial . && docker run --read-only -p 127.0.0.1:3000:3000 -v perennial:/var/lib/perennial perennial

FROM rust:1.95-bookworm AS build
WORKDIR /build
# The dependencies have a layer of their own, which is built again only when Cargo.toml or Cargo.lock changes. Cargo builds
# them for an empty program, whose own output is removed. The tests and benchmarks that Cargo.toml names are not needed.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --bin perennial \
    && cargo clean --release --locked --package perennial \
    && rm -r src
COPY src src
# The binary contains the page that is served where there are no settings.
COPY config/public config/public
RUN cargo build --release --locked --bin perennial \
    # A new volume takes the owner of this folder: the user below.
    && install -d -o 65532 -g 65532 -m 700 /out/var/lib/perennial \
    # Whom backups to https servers trust.
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt \
    && install -D -m 755 target/release/perennial /out/usr/bin/perennial

FROM debian:bookworm-slim
COPY --from=build /out /
COPY config/container.toml /etc/perennial/perennial.toml
COPY config/public /srv/perennial
ENV PERENNIAL_CONFIG=/etc/perennial/perennial.toml
# This user owns nothing but the volume.
USER 65532:65532
VOLUME /var/lib/perennial
EXPOSE 3000
# Healthy means that /readyz answers 200: every part of the daemon can serve.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s CMD ["perennial", "healthcheck"]
ENTRYPOINT ["perennial"]
CMD ["serve"]

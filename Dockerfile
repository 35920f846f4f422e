# docker build -t perennial . && docker run --read-only -p 127.0.0.1:3000:3000 -v perennial:/var/lib/perennial perennial

FROM rust:1.95-bookworm AS build
WORKDIR /build
# The manifest names tests and benchmarks; they are not built here, so that a change of theirs builds nothing anew.
COPY Cargo.toml Cargo.lock ./
COPY src src
# The page that is served where there is no site is a part of the binary.
COPY config/public config/public
RUN cargo build --release --locked --bin perennial \
    # The data folder as the user below needs it: a volume takes its owner from the image.
    && install -d -o 65532 -g 65532 -m 700 /out/var/lib/perennial \
    && install -D -m 755 target/release/perennial /out/usr/bin/perennial

FROM debian:bookworm-slim
COPY --from=build /out /
COPY config/container.toml /etc/perennial/perennial.toml
COPY config/public /srv/perennial
ENV PERENNIAL_CONFIG=/etc/perennial/perennial.toml
# No name and no shell of its own; nothing but the volume belongs to it.
USER 65532:65532
VOLUME /var/lib/perennial
EXPOSE 3000
# Ready is what /readyz says: every part of the daemon serves.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s CMD ["perennial", "healthcheck"]
ENTRYPOINT ["perennial"]
CMD ["serve"]

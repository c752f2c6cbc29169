# A PostgreSQL image from Debian's packages, for machines that can pull none: it understands the variables
# of the public image that docker-compose.yml and the tests use, and no others.
#
#   docker build -t postgres:17 -f deploy/docker/postgres.Dockerfile deploy/docker
ARG DEBIAN_IMAGE=debian:trixie-slim
FROM ${DEBIAN_IMAGE}
RUN groupadd -r -g 999 postgres && \
    useradd -r -u 999 -g postgres -d /var/lib/postgresql -s /bin/bash postgres && \
    mkdir -p /etc/postgresql-common && \
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf && \
    apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        postgresql-17 postgresql-17-cron postgresql-17-timescaledb && \
    rm -rf /var/lib/apt/lists/* && \
    install -d -o postgres -g postgres -m 1777 /var/lib/postgresql/data /run/postgresql
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
VOLUME /var/lib/postgresql/data
USER postgres
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]

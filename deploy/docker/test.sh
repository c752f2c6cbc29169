#!/usr/bin/env bash
# Builds the image, runs docker-compose.yml and looks from outside whether it keeps its promises.
#
# An engine that runs already is used. Otherwise, as root on Debian, one is installed and started for this
# test alone, with a socket and data of its own. Where no image can be pulled, they are made from Debian's
# packages: the base by debootstrap, PostgreSQL by postgres.Dockerfile, Go from the one of this machine.
# Ends with "N passed, N failed, N skipped"; what it started is stopped, what it made is removed.
set -uo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d /tmp/mvs-docker.XXXXXX)
tag=mvscheduler-test
passed=0 failed=0 skipped=0
engine='' # process id of the engine that this script started
began=$SECONDS

say() { echo "--- $* ($((SECONDS - began)) s)"; }
ok() { passed=$((passed + 1)); echo "ok: $*"; }
bad() { failed=$((failed + 1)); echo "FAILED: $*"; }
skip() { skipped=$((skipped + 1)); echo "skipped: $*"; }
check() { # check SENTENCE COMMAND...: the sentence is true when the command succeeds
    local sentence=$1 out
    shift
    if out=$("$@" 2>&1); then ok "$sentence"; else bad "$sentence: $*"; echo "$out" | tail -n 20 | sed 's/^/    /'; fi
}
until_true() { # until_true SECONDS COMMAND...
    local last=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $last ] || { "$@"; return 1; }
        sleep 1
    done
}

finish() {
    trap - EXIT INT TERM
    if [ -n "${COMPOSE_PROJECT_NAME:-}" ]; then
        [ $failed -eq 0 ] || compose logs --no-color --tail 40
        compose down -v --remove-orphans -t 5 >/dev/null 2>&1
    fi
    [ -z "${cron:-}" ] || docker rm -f "$cron" >/dev/null 2>&1
    if [ -n "$engine" ]; then
        kill "$engine" 2>/dev/null
        wait "$engine" 2>/dev/null
        awk -v dir="$work/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n 1 umount -l
        if [ -e "$work/iptables" ]; then # the engine leaves its rules and its bridge behind
            iptables-restore <"$work/iptables"
            ip link delete docker0 2>/dev/null
        fi
    elif [ -n "${images:-}" ]; then
        # shellcheck disable=SC2086
        docker rmi -f $images >/dev/null 2>&1
    fi
    rm -rf "$work" ${base:+"$base"}
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed -eq 0 ]
    exit
}
trap finish EXIT
trap 'failed=$((failed + 1)); echo interrupted; finish' INT TERM

cannot() { skip "containers: $*"; exit; }

# ---------------------------------------------------------------------------------------------- engine
install() { # install PROGRAM PACKAGE...: when the program is missing
    command -v "$1" >/dev/null && return
    shift
    [ -n "${updated:-}" ] || apt-get update -q >>"$work/apt.log" 2>&1 && updated=1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >>"$work/apt.log" 2>&1 ||
        { tail -n 5 "$work/apt.log"; return 1; }
}

remember_iptables() { # tables that are not there yet are remembered as empty
    iptables-save >"$work/iptables" || return 1
    local chain
    for table in 'filter INPUT FORWARD OUTPUT' 'nat PREROUTING INPUT OUTPUT POSTROUTING'; do
        # shellcheck disable=SC2086
        set -- $table
        grep -q "^\*$1" "$work/iptables" && continue
        {
            echo "*$1"
            shift
            for chain; do echo ":$chain ACCEPT [0:0]"; done
            echo COMMIT
        } >>"$work/iptables"
    done
}

start_engine() {
    export DOCKER_HOST=unix://$work/docker.sock DOCKER_CONFIG=$work/config
    mkdir -p "$work/config"
    ip link show docker0 >/dev/null 2>&1 || remember_iptables || return 1
    local mtu driver
    mtu=$(cat /sys/class/net/*/mtu | sort -n | head -n 1)
    for driver in overlay2 vfs; do
        # Not in the group of this shell: an interrupt from the keyboard is for the clean-up first.
        setsid dockerd --host "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" \
            --storage-driver $driver --mtu "$mtu" >>"$work/engine.log" 2>&1 &
        engine=$!
        for _ in $(seq 60); do
            docker info >/dev/null 2>&1 && return
            kill -0 $engine 2>/dev/null || break
            sleep 0.5
        done
        kill $engine 2>/dev/null
        wait $engine 2>/dev/null
    done
    engine=''
    tail -n 5 "$work/engine.log"
    return 1
}

if ! docker info >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || cannot "no docker engine answers, and only root on Debian can install one"
    say "no engine answers: installing and starting one"
    install dockerd docker.io && install iptables iptables && install ip iproute2 || cannot "docker.io cannot be installed"
    docker info >/dev/null 2>&1 || start_engine || cannot "dockerd does not start here"
fi
say "engine: $(docker version -f '{{.Server.Version}}'), $(docker info -f '{{.Driver}}' 2>/dev/null)"

# ---------------------------------------------------------------------------------------------- images
compose_from() { # the plugin from Debian's package, in an image of it
    docker build -q -t $tag/compose - >"$work/build.log" 2>&1 <<END || return 1
FROM $1
RUN apt-get update && apt-get install -y --no-install-recommends docker-compose
END
    images="$images $tag/compose"
    local container
    container=$(docker create $tag/compose true) || return 1
    mkdir -p "$work/config/cli-plugins"
    docker cp "$container:/usr/libexec/docker/cli-plugins/docker-compose" "$work/config/cli-plugins/" >/dev/null
    docker rm "$container" >/dev/null
    export DOCKER_CONFIG=$work/config
    docker compose version >/dev/null 2>&1
}

make_images() {
    install debootstrap debootstrap || return 1
    local parent
    for parent in /dev/shm "$work"; do # memory is faster by far, where devices can be made there
        base=$(mktemp -d "$parent/mvs-base.XXXXXX") || continue
        debootstrap --variant=minbase trixie "$base" >"$work/build.log" 2>&1 && break
        rm -rf "$base"
    done
    [ -d "$base" ] || return 1
    echo force-unsafe-io >"$base/etc/dpkg/dpkg.cfg.d/unsafe-io" # an image that is half made is thrown away
    tar -C "$base" --exclude './var/cache/apt/archives/*.deb' -c . | docker import - $tag/debian >/dev/null || return 1
    rm -rf "$base"
    images="$images $tag/debian"
    say "made the base image"

    docker build -t $tag/postgres --build-arg DEBIAN_IMAGE=$tag/debian -f deploy/docker/postgres.Dockerfile deploy/docker >"$work/build.log" 2>&1 || return 1
    images="$images $tag/postgres"
    export POSTGRES_IMAGE=$tag/postgres
    say "made the image of PostgreSQL"

    # Go of this machine, with the certificates by which this machine trusts its module proxy.
    local container
    container=$(docker create $tag/debian true) || return 1
    mkdir -p "$work/go/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$work/go/etc/ssl/certs/" || return 1
    tar -C "$work/go" -c etc | docker cp - "$container:/" || return 1
    tar -C "$(go env GOROOT)" --transform 's,^\.,usr/local/go,' -c . | docker cp - "$container:/" || return 1
    docker commit --change 'ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change "ENV GOPROXY=$(go env GOPROXY)" "$container" $tag/go >/dev/null || return 1
    docker rm "$container" >/dev/null
    images="$images $tag/go"
    go_image=$tag/go
    say "made the image of Go"
}

images=''
go_image=$(sed -n 's/^ARG GO_IMAGE=//p' Dockerfile)
export POSTGRES_IMAGE=${POSTGRES_IMAGE:-postgres:17}
if ! { timeout 300 docker pull -q "$POSTGRES_IMAGE" && timeout 300 docker pull -q "$go_image"; } >/dev/null 2>&1; then
    say "no image can be pulled: making them from packages"
    command -v go >/dev/null || cannot "no image can be pulled, and this machine has no Go to make one from"
    make_images || { tail -n 20 "$work/build.log"; bad "the images cannot be made"; exit; }
fi
if ! docker compose version >/dev/null 2>&1; then
    from=$tag/debian
    docker image inspect $from >/dev/null 2>&1 || from=debian:trixie-slim
    compose_from $from || { tail -n 5 "$work/build.log"; cannot "docker compose cannot be had"; }
fi
compose() { docker compose "$@" </dev/null; }
say "compose: $(docker compose version --short)"

export MVSCHEDULER_IMAGE=$tag/mvscheduler
docker build -t $MVSCHEDULER_IMAGE --build-arg GO_IMAGE="$go_image" --build-arg VERSION=v0.0.0-test . >"$work/build.log" 2>&1 ||
    { tail -n 30 "$work/build.log"; bad "the image is built"; exit; }
images="$images $MVSCHEDULER_IMAGE"
ok "the image is built ($(($(docker image inspect -f '{{.Size}}' $MVSCHEDULER_IMAGE) / 1000000)) MB)"
say "built the image"

# --------------------------------------------------------------------------------------------- the image
locked='--read-only --cap-drop ALL --security-opt no-new-privileges --network none'
has_version() { docker run --rm $locked $MVSCHEDULER_IMAGE version | grep -F 'mvscheduler v0.0.0-test'; }
files() { # what is in the image beside what the engine itself puts there
    local container
    container=$(docker create $MVSCHEDULER_IMAGE)
    docker export "$container" | tar -t | grep -v '/$' | grep -vE '^(\.dockerenv|dev/|etc/(hostname|hosts|mtab|resolv\.conf)$)'
    docker rm "$container" >/dev/null
}
only_two_files() { [ "$(files | sort | tr '\n' ' ')" = 'etc/ssl/certs/ca-certificates.crt mvscheduler ' ] || { files; return 1; }; }
nobody() { [ "$(docker image inspect -f '{{.Config.User}}' $MVSCHEDULER_IMAGE)" = 65532:65532 ]; }
knows_zones() { # without tzdata on the machine
    local said
    said=$(docker run --rm $locked -e DATABASE_URL=postgres://x@127.0.0.1:1/x $MVSCHEDULER_IMAGE status --timezone Europe/Berlin 2>&1)
    grep 'failed to connect' <<<"$said" || { echo "$said"; return 1; }
}
unhealthy_alone() { docker run --rm $locked $MVSCHEDULER_IMAGE health; [ $? -eq 5 ]; }
check "it runs on a read-only root without any right and knows its version" has_version
check "it holds the binary, certificates and nothing else" only_two_files
check "it is nobody's" nobody
check "it knows time zones" knows_zones
check "its health check fails where no sidecar runs" unhealthy_alone

# -------------------------------------------------------------------------------------------- compose up
export COMPOSE_PROJECT_NAME=mvstest$$ MVSCHEDULER_PORT=0
id() { compose ps -aq "$1"; }
state() { docker inspect -f "$2" "$(id "$1")"; }
is() { [ "$(state "$1" "$2")" = "$3" ]; }
sql() { # sql ROLE STATEMENT: as a person types it in the container
    compose exec -T db psql -XAtq -v ON_ERROR_STOP=1 -U "$1" app -c "$2"
}
answers() { [ "$(sql postgres "$1")" = "$2" ]; }

check "the file is valid" compose config -q
check "docker compose up" compose up -d --no-build
check "the sidecar becomes healthy" until_true 120 is mvscheduler '{{.State.Health.Status}}' healthy
say "up"
for service in prepare migrate roles; do
    check "$service ran once and ended well" is $service '{{.State.Status}} {{.State.ExitCode}}' 'exited 0'
done
check "the five views of the sample are filled" until_true 90 answers "SELECT count(*) FILTER (WHERE last_refresh_at IS NOT NULL) FROM mvscheduler.status" 5

# --------------------------------------------------------------------------------------- nothing too much
proc() { # proc SERVICE FIELD: of the process as the kernel sees it
    awk -v field="$2:" '$1 == field { print $2 }' "/proc/$(state "$1" '{{.State.Pid}}')/status"
}
for service in db mvscheduler sample; do
    if [ -r "/proc/$(state $service '{{.State.Pid}}')/status" ]; then
        is_locked() { [ "$(proc $service Uid)" != 0 ] && [ "$(proc $service CapEff)$(proc $service CapPrm)$(proc $service CapBnd)" = "$(printf '0%.0s' $(seq 48))" ] && [ "$(proc $service NoNewPrivs)" = 1 ]; }
        check "$service is not root, has no capability and can gain none" is_locked
    else
        skip "the rights of $service: its process is on another machine"
    fi
    check "$service has a read-only root" is $service '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Privileged}}' 'true false'
done
no_writing() { ! docker cp docker-compose.yml "$(id mvscheduler):/x"; }
check "nothing can be written into the sidecar's container" no_writing
secret() { compose run --rm -T --no-deps --entrypoint cat prepare "/secrets/$1" 2>/dev/null; }
hidden() {
    local everything word
    # shellcheck disable=SC2046
    everything=$(docker inspect $(compose ps -aq); compose config; compose logs 2>&1)
    for word in admin/password sidecar/password sample/password http/token; do
        word=$(secret $word)
        [ ${#word} -ge 48 ] || return 1
        ! grep -qF "$word" <<<"$everything" || return 1
    done
}
check "no password is in a command line, a variable, a file of ours or a log" hidden
sees_own() { ! state mvscheduler '{{range .Mounts}}{{.Name}} {{end}}' | grep -E '_(admin|sample|data)( |$)'; }
check "the sidecar sees no other's password" sees_own
check "the sidecar's login is no superuser and a member of mvscheduler_worker only" answers "
SELECT string_agg(DISTINCT format('%s %s %s', r.rolname, r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls, g.rolname), ',')
  FROM pg_stat_activity AS a
  JOIN pg_roles AS r ON r.oid = a.usesysid
  JOIN pg_auth_members AS m ON m.member = r.oid
  JOIN pg_roles AS g ON g.oid = m.roleid
 WHERE a.application_name LIKE 'mvscheduler run%' OR a.application_name LIKE 'mvscheduler control%'" "mvscheduler_sidecar f mvscheduler_worker"
closed() { ! compose port db 5432 2>/dev/null | grep -q '[1-9]'; }
check "the database is not published" closed

# ------------------------------------------------------------------------------------------- a refresh
registers() {
    sql analyst "CREATE TABLE public.sales (day date, amount int)" &&
        sql analyst "INSERT INTO public.sales VALUES ('2026-01-01', 1), ('2026-01-01', 2)" &&
        sql analyst "INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('analytics.sales_by_day', 'SELECT day, sum(amount) AS amount FROM public.sales GROUP BY day', '2 seconds')"
}
status_says() { # status_says NAME FILTER: by the command in the container
    compose exec -T mvscheduler /mvscheduler status -o json >"$work/status.json" && object_has "$1" "$2"
}
object_has() { # the object of the view has the text
    awk -v name="\"name\": \"$1\"" -v want="$2" '/^ *\{/ { object = "" } { object = object $0 } /^ *\}/ { if (index(object, name) && index(object, want)) found = 1 } END { exit !found }' "$work/status.json"
}
check "a row inserted with psql" registers
check "is filled" until_true 30 answers "SELECT (SELECT sum(amount) FROM analytics.sales_by_day WHERE day = '2026-01-01')" 3
check "status shows it fresh" until_true 30 status_says analytics.sales_by_day '"freshness": "fresh"'
new_row() { sql analyst "INSERT INTO public.sales VALUES ('2026-01-02', 40)"; }
check "a new row of its table" new_row
check "is seen in the view" until_true 30 answers "SELECT sum(amount) FROM analytics.sales_by_day" 43
moves() { [ "$(sql analyst 'SELECT sum(flights) FROM analytics.hourly_delays')" -gt "$1" ]; }
check "flights keep arriving in the sample's view" until_true 40 moves "$(sql analyst 'SELECT sum(flights) FROM analytics.hourly_delays')"

# ------------------------------------------------------------------------------------------------ HTTP
if command -v curl >/dev/null; then
    address=$(compose port mvscheduler 8787)
    code() { curl --noproxy '*' -s -m 10 -o /dev/null -w '%{http_code}' "$@"; }
    on_loopback() { case $address in 127.0.0.1:*) ;; *) return 1 ;; esac; }
    without() { [ "$(code "http://$address/metrics")" = 401 ] && [ "$(code "http://$address/readyz")" = 200 ]; }
    with() { [ "$(code -H @"$work/header" "http://$address/metrics")" = 200 ]; }
    echo "Authorization: Bearer $(secret http/token)" >"$work/header"
    check "HTTP is published on loopback only" on_loopback
    check "it asks for the token, but for its state" without
    check "it answers who has the token" with
else
    skip "HTTP from outside: there is no curl"
fi

# -------------------------------------------------------------------------------------------- accidents
sick() { compose exec -T mvscheduler /mvscheduler health; [ $? -eq 5 ]; }
alive() { compose exec -T mvscheduler /mvscheduler health --live; }
check "the database stops" compose stop db
check "health says so by exit code 5" until_true 20 sick
check "the process lives on" alive
check "the database starts again" compose start db
check "the sidecar is healthy again" until_true 60 compose exec -T mvscheduler /mvscheduler health
check "it was not restarted for that" is mvscheduler '{{.RestartCount}}' 0
check "and it refreshes" until_true 30 answers "SELECT count(*) > 0 FROM mvscheduler.runs WHERE state = 'succeeded' AND finished_at > pg_postmaster_start_time()" t
check "docker compose up works again" compose up -d --no-build
check "docker compose stop" compose stop mvscheduler
check "ends the sidecar well" is mvscheduler '{{.State.ExitCode}} {{.State.OOMKilled}}' '0 false'
say "looked at the containers"

# --------------------------------------------------------------------------------------------- pg_cron
# Since 1.5 its settings are for members of pg_read_all_settings only: an owner of views sees none of them.
cron=''
on_cron() { docker exec -u postgres "$cron" psql -XAtq -v ON_ERROR_STOP=1 -U "$1" -d postgres -c "$2"; } # on_cron ROLE STATEMENT
ours() { docker run --rm --network "container:$cron" -e "DATABASE_URL=postgres://$1@127.0.0.1/postgres" $MVSCHEDULER_IMAGE "${@:2}"; } # ours ROLE ARGUMENT...
scheduled() {
    ours postgres migrate up && on_cron postgres "CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO PUBLIC; CREATE ROLE ana LOGIN IN ROLE mvscheduler_user" &&
        on_cron postgres "CREATE SCHEMA ana AUTHORIZATION ana" &&
        on_cron ana "CREATE MATERIALIZED VIEW ana.nightly AS SELECT 1 AS a" &&
        on_cron ana "SELECT cron.schedule('night', '30 3 * * *', 'REFRESH MATERIALIZED VIEW ana.nightly')"
}
says() { # says TEXT ARGUMENT...: whatever its exit code
    local said
    said=$(ours ana "${@:2}" 2>&1)
    grep -F -- "$1" <<<"$said" || { echo "$said"; return 1; }
}
not_found() {
    local said
    said=$(ours ana doctor -o json)
    [ $? -eq 5 ] && ! grep -F "pg_cron refreshes it too" <<<"$said" # 5, as no sidecar is connected
}
if [ "$(docker run --rm --entrypoint sh "$POSTGRES_IMAGE" -c 'ls /usr/share/postgresql/*/extension/pg_cron.control' 2>/dev/null)" ]; then
    cron=$(docker run -d --rm -e POSTGRES_HOST_AUTH_METHOD=trust "$POSTGRES_IMAGE" postgres -c shared_preload_libraries=pg_cron)
    check "a server with pg_cron starts" until_true 60 on_cron postgres 'SELECT 1'
    check "an owner schedules a REFRESH with pg_cron" scheduled
    check "adopt --from-pg-cron says which zone it takes" says "its default, GMT, is taken" adopt --from-pg-cron --dry-run
    check "and takes another that is named" says Asia/Tokyo adopt --from-pg-cron --timezone Asia/Tokyo
    check "the owner's doctor finds the job" says "SELECT cron.unschedule(1)" doctor -o json
    check "which its owner stops as it says" on_cron ana "SELECT cron.unschedule(1)"
    check "and finds it no more" not_found
    docker rm -f "$cron" >/dev/null
    say "pg_cron"
else
    skip "pg_cron: $POSTGRES_IMAGE has none"
fi

# --------------------------------------------------------------------------------------- testcontainers
# Some of ./integration, of each kind: a minute or two. All of it: make test-image.
some='TestARowInsertedWithSQLBecomesAViewThatStaysFresh
TestTheAuthorOfAViewNeverRunsAsSomebodyElse
TestWhatHasNotChangedIsNotRefreshed
TestAViewGetsAddedRemovedRenamedRetypedAndReorderedColumns
TestANewVersionIsStoredLikeTheOldOne
TestAdoptionAndReleaseChangeNothingInTheCatalogs
TestJobsOfPgCronAreTakenOverWithTheirSchedules
TestOldRowsLeaveAtTheNextRefreshAndTheDryRunSaysWhich
TestTheDoctorNamesWhatIsWrongAndTheFixMendsIt
TestTheDoctorSeesAPooler
TestTheDoctorSeesAStandby
TestAlertsAreRaisedOnceToldToWhoListensAndClosedWhenAllIsWell
TestTheAPIAnswersWhatTheCommandsPrint
TestAViewIsExportedAsWhatItsRowSays
TestAGateDoesNothingForAnybodyButTheRunningAttempt
TestAForeignPartitionCanBeWrittenToAsBefore
TestATerminatedBackendCostsNoSlot'
if command -v go >/dev/null; then
    with_image() { MVSCHEDULER_TEST_IMAGE=$POSTGRES_IMAGE go test -count=1 -timeout 10m "$@"; }
    some_of_integration() {
        with_image -v -parallel 4 -run "^($(paste -sd'|' <<<"$some"))\$" ./integration >"$work/some.log" 2>&1 || { cat "$work/some.log"; return 1; }
        grep -E '^--- (PASS|SKIP)' "$work/some.log" # each of them by name, and none is left out
        [ "$(grep -cE '^--- (PASS|SKIP)' "$work/some.log")" = "$(wc -l <<<"$some")" ] && [ "$(grep -c '^--- SKIP' "$work/some.log")" = 1 ]
    }
    check "the tests of the migrations run on an image by testcontainers" with_image ./migrations
    check "some of the integration tests do" some_of_integration
    say "testcontainers"
else
    skip "testcontainers: there is no Go"
fi

clean() { compose down -v -t 5 && [ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ]; }
check "docker compose down -v leaves nothing" clean

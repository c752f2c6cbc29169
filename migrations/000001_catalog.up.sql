-- The tables. Users see mvscheduler.views; everything else is private and shown
-- through the read-only views of 000008_status.

CREATE TABLE mvscheduler.settings (
    only_row            boolean  PRIMARY KEY DEFAULT true CHECK (only_row),
    max_work_mem        text     NOT NULL DEFAULT '256MB',
    max_runs_per_owner  integer  NOT NULL DEFAULT 6 CHECK (max_runs_per_owner > 0),
    min_refresh_interval interval NOT NULL DEFAULT '1 second',
    max_skips           integer  NOT NULL DEFAULT 100 CHECK (max_skips >= 0),
    keep_runs           interval NOT NULL DEFAULT '30 days' CHECK (keep_runs >= interval '1 hour'),
    keep_skipped_runs   interval NOT NULL DEFAULT '2 days' CHECK (keep_skipped_runs >= interval '1 hour'),
    optimizer_target    interval NOT NULL DEFAULT '15 minutes' CHECK (optimizer_target > '0' AND optimizer_target <= '10 years'),
    optimizer_budget    double precision NOT NULL DEFAULT 0.1 CHECK (optimizer_budget > 0 AND optimizer_budget < 'Infinity'),
    paused_from         timestamptz,
    paused_until        timestamptz,
    pause_reason        text,
    resumed_at          timestamptz,
    changed_by          text
);
COMMENT ON TABLE mvscheduler.settings IS 'Caps of the whole deployment, one row; administrators (members of mvscheduler_owner) may UPDATE it.';
COMMENT ON COLUMN mvscheduler.settings.only_row IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN mvscheduler.settings.max_work_mem IS 'Largest work_mem that a view may ask for, with unit.';
COMMENT ON COLUMN mvscheduler.settings.max_runs_per_owner IS 'Runs of one owner that may be queued or running at once, so that one owner cannot hold every worker.';
COMMENT ON COLUMN mvscheduler.settings.min_refresh_interval IS 'Smallest refresh_interval that a view may ask for.';
COMMENT ON COLUMN mvscheduler.settings.max_skips IS 'So many runs in a row may be skipped since nothing changed below a view; the next one refreshes all the same. 0 = none is ever skipped.';
COMMENT ON COLUMN mvscheduler.settings.keep_runs IS 'How long runs and their attempts are kept after they ended; the last one of each view stays.';
COMMENT ON COLUMN mvscheduler.settings.keep_skipped_runs IS 'How long runs are kept that were skipped.';
COMMENT ON COLUMN mvscheduler.settings.optimizer_target IS 'What the optimizer takes for the right interval of the median view at its mean load: it says how much a fresher answer is worth.';
COMMENT ON COLUMN mvscheduler.settings.optimizer_budget IS 'Share of one backend that the refreshes of all views with an interval should take together, as the optimizer plans them.';
COMMENT ON COLUMN mvscheduler.settings.paused_from IS 'From when on every clock stands still; NULL = none does. See pause_all and resume_all.';
COMMENT ON COLUMN mvscheduler.settings.paused_until IS 'When that ends by itself; NULL = when it is resumed.';
COMMENT ON COLUMN mvscheduler.settings.pause_reason IS 'Why, in the words of who paused.';
COMMENT ON COLUMN mvscheduler.settings.resumed_at IS 'When a pause of everything was last ended by hand. Set by a trigger.';
COMMENT ON COLUMN mvscheduler.settings.changed_by IS 'Who changed them last. Set by a trigger.';
INSERT INTO mvscheduler.settings DEFAULT VALUES;

CREATE TABLE mvscheduler.views (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name              text NOT NULL CONSTRAINT views_name_key UNIQUE,
    query             text NOT NULL,
    owner             regrole NOT NULL DEFAULT (pg_catalog.quote_ident(CURRENT_USER)::regrole),
    method            text NOT NULL DEFAULT 'auto',
    refresh_interval  interval DEFAULT '1 hour',
    cron              text,
    calendar          jsonb,
    timezone          text NOT NULL DEFAULT pg_catalog.current_setting('TimeZone'),
    refresh_on        text NOT NULL DEFAULT 'schedule',
    catchup           text NOT NULL DEFAULT 'latest',
    retention_period  interval,
    time_column       text,
    bucket_width      interval,
    change_tracking   text NOT NULL DEFAULT 'auto',
    lateness          interval NOT NULL DEFAULT '0',
    real_time         boolean NOT NULL DEFAULT false,
    unique_key        text[],
    indexes           text[],
    refresh_group     text,
    priority          smallint NOT NULL DEFAULT 2,
    statement_timeout interval NOT NULL DEFAULT '30 minutes',
    lock_timeout      interval NOT NULL DEFAULT '500 milliseconds',
    work_mem          text,
    max_attempts      smallint NOT NULL DEFAULT 8,
    max_size_bytes    bigint,
    "analyze"         boolean NOT NULL DEFAULT true,
    optimize          text NOT NULL DEFAULT 'advise',
    min_interval      interval,
    max_interval      interval,
    min_retention     interval,
    max_retention     interval,
    enabled           boolean NOT NULL DEFAULT true,
    adopted           boolean NOT NULL DEFAULT false,
    paused_at         timestamptz,
    paused_until      timestamptz,
    pause_reason      text,
    search_path       text NOT NULL DEFAULT '',
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    updated_by        regrole
);
COMMENT ON TABLE mvscheduler.views IS 'The catalog: one row is one managed materialized view, as its owner wants it. INSERT creates the (empty) view in the same transaction, UPDATE changes it, DELETE drops it. Only name and query are needed.';
COMMENT ON COLUMN mvscheduler.views.id IS 'Identifier of the view in mvscheduler; never reused.';
COMMENT ON COLUMN mvscheduler.views.name IS 'schema.view, quoted where needed; unqualified means the first schema of the search_path; stored qualified.';
COMMENT ON COLUMN mvscheduler.views.query IS 'The defining SELECT; a trailing semicolon is accepted. It is parsed in the session that writes the row, never by the sidecar.';
COMMENT ON COLUMN mvscheduler.views.owner IS 'Role that owns the view and with whose rights its query runs; only a role that the writer of the row can become. Default: current_user.';
COMMENT ON COLUMN mvscheduler.views.method IS 'auto (concurrent where possible, full where that is quick, at least twice as cheap and no reader was seen waiting; it learns from its own runs), full (plain REFRESH: readers wait while it runs), concurrent (needs a unique index: readers never wait) or incremental (only the time buckets that changed are computed; needs time_column and bucket_width, and in_window in the query). To and from incremental a new version is built beside the view, and takes its place.';
COMMENT ON COLUMN mvscheduler.views.refresh_interval IS 'Target staleness, exact (days are 24 hours); NULL = no clock. Months and years: use cron. An INSERT with cron or a calendar and the default interval means that alone.';
COMMENT ON COLUMN mvscheduler.views.cron IS 'Five cron fields, evaluated in timezone; instead of refresh_interval and calendar.';
COMMENT ON COLUMN mvscheduler.views.calendar IS 'List of rules {days, from, to, every} or {days, at}, evaluated in timezone; due when any of them says so. Instead of refresh_interval and cron.';
COMMENT ON COLUMN mvscheduler.views.timezone IS 'IANA zone of cron and calendar and of the session that runs the query. Default: TimeZone of the writer.';
COMMENT ON COLUMN mvscheduler.views.refresh_on IS 'schedule (its own clock), upstream (after a managed view that it reads was refreshed) or manual (only when asked).';
COMMENT ON COLUMN mvscheduler.views.catchup IS 'Slots missed while no sidecar ran: latest (one run for all of them), skip (wait for the next slot) or all (one run each).';
COMMENT ON COLUMN mvscheduler.views.retention_period IS 'Rows whose time_column is older than this leave at the next refresh, and rows where it is NULL; the border moves in steps of a hundredth of it, from a minute to a day. NULL = all rows are kept.';
COMMENT ON COLUMN mvscheduler.views.time_column IS 'Output column that holds the time of a row: timestamptz, timestamp or date; needed for retention_period. incremental: the start of the bucket.';
COMMENT ON COLUMN mvscheduler.views.bucket_width IS 'incremental: how wide a bucket of time is, as the query cuts them, for example 1 hour; NULL for the other methods.';
COMMENT ON COLUMN mvscheduler.views.change_tracking IS 'auto or counters (a run is skipped when the server''s counters prove that nothing changed below the view) or none (never skipped). incremental: trigger (triggers on the tables note which times changed), counters (each partition of the table whose counters moved), none (the time since lateness ago) or auto (trigger where the owner may create them on every table that is read, else counters).';
COMMENT ON COLUMN mvscheduler.views.lateness IS 'incremental with change_tracking none: how far back late rows are looked for.';
COMMENT ON COLUMN mvscheduler.views.real_time IS 'Reserved: must be false in this version.';
COMMENT ON COLUMN mvscheduler.views.unique_key IS 'Columns of the unique index that concurrent refreshes need; NULL = derived from the query where the catalog proves it; {} = no unique index.';
COMMENT ON COLUMN mvscheduler.views.indexes IS 'Further index column lists, for example ''(origin, hour DESC)'' or ''USING brin (hour)''.';
COMMENT ON COLUMN mvscheduler.views.refresh_group IS 'Reserved: must be NULL in this version.';
COMMENT ON COLUMN mvscheduler.views.priority IS '1 is run first, 4 last.';
COMMENT ON COLUMN mvscheduler.views.statement_timeout IS 'Longest time one refresh may take; the backend is terminated soon after it.';
COMMENT ON COLUMN mvscheduler.views.lock_timeout IS 'Longest time a refresh waits for a lock before it steps back and tries again, hence the longest time that readers wait behind it in the queue.';
COMMENT ON COLUMN mvscheduler.views.work_mem IS 'work_mem of the refresh, with unit, capped by settings.max_work_mem; NULL = the server''s.';
COMMENT ON COLUMN mvscheduler.views.max_attempts IS 'Tries for one slot, 1 to 100.';
COMMENT ON COLUMN mvscheduler.views.max_size_bytes IS 'A run that grows the view past this size fails and the old contents stay; NULL = no limit.';
COMMENT ON COLUMN mvscheduler.views."analyze" IS 'ANALYZE after a refresh that changed much.';
COMMENT ON COLUMN mvscheduler.views.optimize IS 'off, advise (recommendations) or auto (the sidecar also refreshes at the interval or by the calendar that it recommends in the place of refresh_interval, within min_interval and max_interval; refresh_interval stays what you wrote, and any change of it ends that). See recommendations.';
COMMENT ON COLUMN mvscheduler.views.min_interval IS 'Shortest interval that the optimizer may recommend or apply, and the shortest time between two slots of a calendar; NULL = 1 minute.';
COMMENT ON COLUMN mvscheduler.views.max_interval IS 'Longest interval that the optimizer may recommend or apply, and the longest time between two slots of a calendar; NULL = 1 day, or min_interval where that is longer, and a calendar may pause while nobody reads.';
COMMENT ON COLUMN mvscheduler.views.min_retention IS 'Shortest retention_period that the optimizer may recommend; NULL = 30 days, and nothing shorter than everything that the tables below cannot give again. Where it is set, older data may be recommended to leave for good.';
COMMENT ON COLUMN mvscheduler.views.max_retention IS 'Longest retention_period that the optimizer may recommend, NULL = any; with optimize ''auto'' also the longest that it puts in force, NULL = twice retention_period.';
COMMENT ON COLUMN mvscheduler.views.enabled IS 'false = the clock is off; refresh_view still works.';
COMMENT ON COLUMN mvscheduler.views.adopted IS 'The materialized view is the owner''s: on INSERT it is taken over as it is, with its own query, indexes and grants, and DELETE lets go of it instead of dropping it. See adopt_view and release_view.';
COMMENT ON COLUMN mvscheduler.views.paused_at IS 'Since when the view is paused by a person; NULL = not paused. Filled when paused_until or pause_reason is set. See pause_view and resume_view.';
COMMENT ON COLUMN mvscheduler.views.paused_until IS 'When the pause ends by itself; NULL = when it is resumed.';
COMMENT ON COLUMN mvscheduler.views.pause_reason IS 'Why it is paused, in the words of who paused it.';
COMMENT ON COLUMN mvscheduler.views.search_path IS 'search_path in which the names in query are looked up. Default: that of the session that writes the query, with "$user" spelt out.';
COMMENT ON COLUMN mvscheduler.views.created_at IS 'When the row was inserted. Set by a trigger.';
COMMENT ON COLUMN mvscheduler.views.updated_at IS 'When the row was last changed. Set by a trigger.';
COMMENT ON COLUMN mvscheduler.views.updated_by IS 'Who changed it last. Set by a trigger.';

-- What the sidecar reads. It is a copy of views kept by a trigger, because whoever may DELETE from
-- views may also LOCK it: nothing that keeps the other users' views fresh reads that table.
CREATE TABLE mvscheduler.view_state (
    view_id           bigint PRIMARY KEY,
    name              text NOT NULL,
    relation          regclass,
    query_relation    regclass,
    owner             regrole NOT NULL,
    text_author       regrole NOT NULL,
    query_seal        bytea,
    method            text NOT NULL,
    refresh_interval  interval,
    cron              text,
    calendar          jsonb,
    timezone          text NOT NULL,
    refresh_on        text NOT NULL,
    catchup           text NOT NULL,
    priority          smallint NOT NULL,
    statement_timeout interval NOT NULL,
    lock_timeout      interval NOT NULL,
    work_mem          text,
    max_attempts      smallint NOT NULL,
    max_size_bytes    bigint,
    change_tracking   text NOT NULL,
    "analyze"         boolean NOT NULL,
    enabled           boolean NOT NULL,
    adopted           boolean NOT NULL,
    row_retention     interval,
    retention_period  interval CHECK (retention_period IS NOT DISTINCT FROM row_retention
                                      OR coalesce(optimize = 'auto' AND retention_period > row_retention AND retention_period <= coalesce(max_retention, 2 * row_retention), false)),
    time_column       text,
    bucket_width      interval,
    lateness          interval NOT NULL DEFAULT '0',
    optimize          text NOT NULL DEFAULT 'advise',
    min_interval      interval,
    max_interval      interval,
    min_retention     interval,
    max_retention     interval,
    tuned_interval    interval CHECK (tuned_interval IS NULL OR optimize = 'auto' AND refresh_interval IS NOT NULL AND cron IS NULL AND refresh_on = 'schedule'
                                      AND tuned_interval BETWEEN coalesce(min_interval, '1 minute') AND coalesce(max_interval, greatest('1 day', min_interval))),
    tuned_patience    double precision CHECK (tuned_patience IS NULL OR tuned_interval IS NOT NULL AND tuned_patience > 0),
    tuned_calendar    jsonb CHECK (tuned_calendar IS NULL OR optimize = 'auto' AND refresh_interval IS NOT NULL AND cron IS NULL AND refresh_on = 'schedule' AND tuned_interval IS NULL),
    tuned_by          bigint,
    retained_by       bigint,
    paused_at         timestamptz,
    paused_until      timestamptz,
    pause_reason      text,
    resumed_at        timestamptz,
    rearmed_at        timestamptz NOT NULL,
    upstream          bigint[] NOT NULL DEFAULT '{}',
    jitter_key        bigint NOT NULL,
    next_slot         timestamptz,
    next_due          timestamptz,
    next_cause        text,
    reschedule        boolean NOT NULL DEFAULT false,
    target            interval,
    upstream_seen     bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX view_state_due ON mvscheduler.view_state (next_due) WHERE next_due IS NOT NULL;
CREATE INDEX view_state_relation ON mvscheduler.view_state ((relation::oid));
CREATE INDEX view_state_reschedule ON mvscheduler.view_state (view_id) WHERE reschedule;
CREATE INDEX view_state_retention ON mvscheduler.view_state (query_relation) WHERE retention_period IS NOT NULL;
CREATE INDEX view_state_followers ON mvscheduler.view_state (view_id) WHERE refresh_on = 'upstream';
CREATE INDEX view_state_upstream ON mvscheduler.view_state USING gin (upstream) WHERE refresh_on = 'upstream';
COMMENT ON TABLE mvscheduler.view_state IS 'Private: what the sidecar needs of each row of views, copied by a trigger, and its clock.';
COMMENT ON COLUMN mvscheduler.view_state.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.view_state.name IS 'views.name';
COMMENT ON COLUMN mvscheduler.view_state.relation IS 'The materialized view; refreshed by OID, never by name. incremental: the plain view over its data.';
COMMENT ON COLUMN mvscheduler.view_state.query_relation IS 'The plain view <name>__query that holds the query.';
COMMENT ON COLUMN mvscheduler.view_state.owner IS 'views.owner';
COMMENT ON COLUMN mvscheduler.view_state.text_author IS 'Role that wrote the query, its search_path and the indexes last: in whose session they may be parsed, see refuse_stored_text.';
COMMENT ON COLUMN mvscheduler.view_state.query_seal IS 'What seal_of says of <name>__query, or of an adopted view, when its text was parsed: anything else means that it was replaced by hand, or that something it reads was renamed or redefined.';
COMMENT ON COLUMN mvscheduler.view_state.method IS 'views.method; while a change to or from incremental is being built, that of what is served, and so are time_column, bucket_width and lateness of a view that ceases to be incremental. See redefinition.';
COMMENT ON COLUMN mvscheduler.view_state.refresh_interval IS 'views.refresh_interval';
COMMENT ON COLUMN mvscheduler.view_state.cron IS 'views.cron';
COMMENT ON COLUMN mvscheduler.view_state.calendar IS 'views.calendar';
COMMENT ON COLUMN mvscheduler.view_state.timezone IS 'views.timezone';
COMMENT ON COLUMN mvscheduler.view_state.refresh_on IS 'views.refresh_on';
COMMENT ON COLUMN mvscheduler.view_state.catchup IS 'views.catchup';
COMMENT ON COLUMN mvscheduler.view_state.priority IS 'views.priority';
COMMENT ON COLUMN mvscheduler.view_state.statement_timeout IS 'views.statement_timeout';
COMMENT ON COLUMN mvscheduler.view_state.lock_timeout IS 'views.lock_timeout';
COMMENT ON COLUMN mvscheduler.view_state.work_mem IS 'views.work_mem';
COMMENT ON COLUMN mvscheduler.view_state.max_attempts IS 'views.max_attempts';
COMMENT ON COLUMN mvscheduler.view_state.max_size_bytes IS 'views.max_size_bytes';
COMMENT ON COLUMN mvscheduler.view_state.change_tracking IS 'views.change_tracking';
COMMENT ON COLUMN mvscheduler.view_state."analyze" IS 'views.analyze';
COMMENT ON COLUMN mvscheduler.view_state.enabled IS 'views.enabled';
COMMENT ON COLUMN mvscheduler.view_state.adopted IS 'views.adopted';
COMMENT ON COLUMN mvscheduler.view_state.row_retention IS 'views.retention_period';
COMMENT ON COLUMN mvscheduler.view_state.retention_period IS 'The one in force: views.retention_period, or a longer one that the optimizer has put in its place within the bounds of the row. The trigger takes it away when the owner changes either.';
COMMENT ON COLUMN mvscheduler.view_state.retained_by IS 'recommendation.id of a retention_period that is longer than that of the row.';
COMMENT ON COLUMN mvscheduler.view_state.time_column IS 'views.time_column';
COMMENT ON COLUMN mvscheduler.view_state.bucket_width IS 'views.bucket_width';
COMMENT ON COLUMN mvscheduler.view_state.lateness IS 'views.lateness';
COMMENT ON COLUMN mvscheduler.view_state.paused_at IS 'views.paused_at';
COMMENT ON COLUMN mvscheduler.view_state.paused_until IS 'views.paused_until';
COMMENT ON COLUMN mvscheduler.view_state.pause_reason IS 'views.pause_reason';
COMMENT ON COLUMN mvscheduler.view_state.optimize IS 'views.optimize';
COMMENT ON COLUMN mvscheduler.view_state.min_interval IS 'views.min_interval';
COMMENT ON COLUMN mvscheduler.view_state.max_interval IS 'views.max_interval';
COMMENT ON COLUMN mvscheduler.view_state.min_retention IS 'views.min_retention';
COMMENT ON COLUMN mvscheduler.view_state.max_retention IS 'views.max_retention';
COMMENT ON COLUMN mvscheduler.view_state.tuned_interval IS 'The interval that the optimizer has put in the place of refresh_interval, within the bounds of the row; NULL = none. The trigger takes it away when the owner changes the clock or the bounds.';
COMMENT ON COLUMN mvscheduler.view_state.tuned_patience IS 'Between two slots of tuned_interval a refresh is asked for when the age of what readers saw since the last one adds up to so many seconds; NULL = never. It goes with tuned_interval.';
COMMENT ON COLUMN mvscheduler.view_state.tuned_calendar IS 'The calendar that the optimizer has put in the place of refresh_interval, within the bounds of the row; NULL = none. It ends as tuned_interval does, beside which there is none.';
COMMENT ON COLUMN mvscheduler.view_state.tuned_by IS 'recommendation.id of tuned_interval or of tuned_calendar.';
COMMENT ON COLUMN mvscheduler.view_state.resumed_at IS 'When its clock was last set going again by hand, after a pause or after it was disabled; slots until then were not missed.';
COMMENT ON COLUMN mvscheduler.view_state.rearmed_at IS 'Last change of the row; an automatic pause that is older has ended.';
COMMENT ON COLUMN mvscheduler.view_state.upstream IS 'views.id of the managed views that the query reads, directly or through ordinary views.';
COMMENT ON COLUMN mvscheduler.view_state.jitter_key IS 'Seed of the jitter; a view shares that of its oldest upstream, so that the two meet on the same tick.';
COMMENT ON COLUMN mvscheduler.view_state.next_slot IS 'The slot that is claimed next.';
COMMENT ON COLUMN mvscheduler.view_state.next_due IS 'next_slot plus jitter; NULL = no clock.';
COMMENT ON COLUMN mvscheduler.view_state.next_cause IS 'Cause of the next run where it is not the clock: initial, upstream.';
COMMENT ON COLUMN mvscheduler.view_state.reschedule IS 'The clock columns changed: the dispatcher computes next_slot anew.';
COMMENT ON COLUMN mvscheduler.view_state.target IS 'Staleness that the clock promises: the gap between two slots.';

COMMENT ON COLUMN mvscheduler.view_state.upstream_seen IS 'Sum of view_health.refreshes over upstream when the last run was made.';

-- Written by the sidecar alone, so that no open transaction of a user can make a finished refresh wait.
CREATE TABLE mvscheduler.view_health (
    view_id              bigint PRIMARY KEY,
    last_run_id          bigint,
    refreshes            bigint NOT NULL DEFAULT 0,
    last_refresh_at      timestamptz,
    data_as_of           timestamptz,
    last_duration        interval,
    method               text,
    rows_estimate        bigint,
    size_bytes           bigint,
    analyzed_rows        bigint,
    change_token         text,
    contents             text,
    read_rule            xid,
    skips                integer NOT NULL DEFAULT 0,
    consecutive_failures integer NOT NULL DEFAULT 0,
    last_failure_at      timestamptz,
    last_sqlstate        text,
    last_error           text,
    auto_paused_at       timestamptz,
    auto_paused_version  timestamptz,
    auto_pause_reason    text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX view_health_failing ON mvscheduler.view_health (view_id, auto_paused_version) WHERE auto_paused_version IS NOT NULL;
COMMENT ON TABLE mvscheduler.view_health IS 'Private: what became of the runs of each view; written by the sidecar alone.';
COMMENT ON COLUMN mvscheduler.view_health.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.view_health.last_run_id IS 'Last run that ended.';
COMMENT ON COLUMN mvscheduler.view_health.refreshes IS 'Successful refreshes and skips so far; views that are refreshed after this one compare it.';
COMMENT ON COLUMN mvscheduler.view_health.last_refresh_at IS 'When the last successful refresh ended; NULL = never.';
COMMENT ON COLUMN mvscheduler.view_health.data_as_of IS 'The contents show at least everything that was committed before this instant.';
COMMENT ON COLUMN mvscheduler.view_health.last_duration IS 'Of the last successful refresh, waiting for locks included.';
COMMENT ON COLUMN mvscheduler.view_health.method IS 'full or concurrent: method of the last successful refresh.';
COMMENT ON COLUMN mvscheduler.view_health.rows_estimate IS 'Rows after the last refresh.';
COMMENT ON COLUMN mvscheduler.view_health.size_bytes IS 'Total size after the last refresh, indexes and TOAST included.';
COMMENT ON COLUMN mvscheduler.view_health.analyzed_rows IS 'Rows when it was last analyzed by the sidecar.';
COMMENT ON COLUMN mvscheduler.view_health.contents IS 'File of the view and rows inserted, updated and deleted in it, as the last refresh left them: anything else was done by hand; NULL = unknown.';
COMMENT ON COLUMN mvscheduler.view_health.change_token IS 'What the contents depended on at the last refresh, as a hash; NULL = unknown.';
COMMENT ON COLUMN mvscheduler.view_health.read_rule IS 'pg_rewrite.xmin of the query that the last refresh ran: as long as it is the same, the owner of the view has read what it names.';
COMMENT ON COLUMN mvscheduler.view_health.skips IS 'Runs skipped in a row since nothing changed.';
COMMENT ON COLUMN mvscheduler.view_health.consecutive_failures IS 'Failed attempts since the last success.';
COMMENT ON COLUMN mvscheduler.view_health.last_failure_at IS 'When the last failed attempt ended.';
COMMENT ON COLUMN mvscheduler.view_health.last_sqlstate IS 'SQLSTATE of the last failed attempt; NULL after a success.';
COMMENT ON COLUMN mvscheduler.view_health.last_error IS 'Message of the last failed attempt and what to do; NULL after a success.';
COMMENT ON COLUMN mvscheduler.view_health.auto_paused_at IS 'When the sidecar paused the view, since only a person can mend it.';
COMMENT ON COLUMN mvscheduler.view_health.auto_paused_version IS 'view_state.rearmed_at of the row that failed; once the row has another one, it is not paused any more.';
COMMENT ON COLUMN mvscheduler.view_health.auto_pause_reason IS 'Why the sidecar paused it.';

CREATE TABLE mvscheduler.run (
    id           bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    view_id      bigint NOT NULL,
    view_name    text NOT NULL,
    owner        regrole NOT NULL,
    kind         text NOT NULL DEFAULT 'refresh' CHECK (kind IN ('refresh', 'prune', 'optimize', 'build')),
    cause        text NOT NULL CHECK (cause IN ('schedule', 'manual', 'upstream', 'initial', 'catchup', 'readers')),
    slot         timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,
    state        text NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'skipped', 'failed', 'cancelled')),
    attempts     integer NOT NULL DEFAULT 0,
    counted      integer NOT NULL DEFAULT 0,
    token        bigint NOT NULL DEFAULT 0,
    job_id       bigint,
    queued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at   timestamptz,
    finished_at  timestamptz,
    method       text,
    data_as_of   timestamptz,
    rows         bigint,
    buckets      bigint,
    size_bytes   bigint,
    wal_bytes    bigint,
    took         interval,
    changed      bigint,
    readers_waiting integer,
    gave_up      text CHECK (gave_up IN ('full', 'concurrent')),
    sqlstate     text,
    error        text,
    reason       text,
    worker       text,
    missed_slots integer NOT NULL DEFAULT 0,
    joined_run   bigint,
    progress     jsonb
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
-- The guarantee that two runs of one view never overlap, whatever the dispatchers believe.
CREATE UNIQUE INDEX run_active ON mvscheduler.run (view_id) WHERE state IN ('queued', 'running');
CREATE UNIQUE INDEX run_slot ON mvscheduler.run (view_id, slot) WHERE cause IN ('schedule', 'catchup');
CREATE INDEX run_history ON mvscheduler.run (view_id, id DESC);
-- What method auto looks back on.
CREATE INDEX run_measured ON mvscheduler.run (view_id, method, id DESC) WHERE took IS NOT NULL;
CREATE INDEX run_joined ON mvscheduler.run (joined_run) WHERE joined_run IS NOT NULL;
COMMENT ON TABLE mvscheduler.run IS 'Private: one row a slot, shown by the view runs.';
COMMENT ON COLUMN mvscheduler.run.id IS 'Identifier of the run.';
COMMENT ON COLUMN mvscheduler.run.view_id IS 'views.id; the view may be gone.';
COMMENT ON COLUMN mvscheduler.run.view_name IS 'Name of the view when the run was made.';
COMMENT ON COLUMN mvscheduler.run.owner IS 'Owner of the view when the run was made.';
COMMENT ON COLUMN mvscheduler.run.kind IS 'What the run does.';
COMMENT ON COLUMN mvscheduler.run.cause IS 'Why it was made: schedule, catchup (slots that were missed), upstream, initial (the first, or the first after an edit), manual (somebody asked) or readers (they had read old data for long enough, see status.tuned_patience).';
COMMENT ON COLUMN mvscheduler.run.slot IS 'The slot that it stands for; for runs that no clock made, when they became due.';
COMMENT ON COLUMN mvscheduler.run.due_at IS 'slot plus jitter.';
COMMENT ON COLUMN mvscheduler.run.state IS 'queued and running are active; the others are terminal and never left.';
COMMENT ON COLUMN mvscheduler.run.attempts IS 'Attempts begun.';
COMMENT ON COLUMN mvscheduler.run.counted IS 'Attempts that count towards max_attempts.';
COMMENT ON COLUMN mvscheduler.run.token IS 'Fencing token of the newest attempt: who holds an older one can write nothing.';
COMMENT ON COLUMN mvscheduler.run.job_id IS 'River job that carries it.';
COMMENT ON COLUMN mvscheduler.run.queued_at IS 'When the run was made.';
COMMENT ON COLUMN mvscheduler.run.started_at IS 'Start of the attempt in force or of the last one.';
COMMENT ON COLUMN mvscheduler.run.finished_at IS 'When the terminal state was reached.';
COMMENT ON COLUMN mvscheduler.run.method IS 'full or concurrent.';
COMMENT ON COLUMN mvscheduler.run.data_as_of IS 'The refresh shows at least everything committed before this instant.';
COMMENT ON COLUMN mvscheduler.run.rows IS 'Rows in the view afterwards; of kind prune, about how many left.';
COMMENT ON COLUMN mvscheduler.run.buckets IS 'Time buckets written (incremental views).';
COMMENT ON COLUMN mvscheduler.run.size_bytes IS 'Size of the view afterwards; of kind prune, of what left.';
COMMENT ON COLUMN mvscheduler.run.wal_bytes IS 'WAL written on the whole server meanwhile: an upper bound.';
COMMENT ON COLUMN mvscheduler.run.took IS 'From the start of the transaction of the refresh until right before it committed; NULL = it did not succeed.';
COMMENT ON COLUMN mvscheduler.run.changed IS 'Rows inserted and deleted; a full refresh inserts them all. NULL = unknown.';
COMMENT ON COLUMN mvscheduler.run.readers_waiting IS 'Sessions that waited to read the view right before the refresh committed; 0 is normal.';
COMMENT ON COLUMN mvscheduler.run.gave_up IS 'Method that auto tried first in the last attempt, in vain: full would have kept readers waiting for longer than lock_timeout, concurrent would have needed more than max_size_bytes.';
COMMENT ON COLUMN mvscheduler.run.sqlstate IS 'SQLSTATE of the last failed attempt.';
COMMENT ON COLUMN mvscheduler.run.error IS 'Message of the last failed attempt.';
COMMENT ON COLUMN mvscheduler.run.reason IS 'Why it was skipped, why this method, what happens next.';
COMMENT ON COLUMN mvscheduler.run.worker IS 'Sidecar that ran the last attempt.';
COMMENT ON COLUMN mvscheduler.run.missed_slots IS 'Earlier slots that this run stands for too, since no sidecar ran then or the clock was stopped.';
COMMENT ON COLUMN mvscheduler.run.joined_run IS 'Skipped, since this other run answers the same request.';
COMMENT ON COLUMN mvscheduler.run.progress IS 'What it is doing: {"waiting_for": "..."}, or the phase of a build and, where the server tells, how far it is: {"phase": "...", "what": "building an index", "percent": 40}. The fill of an incremental view has beside these buckets and rows (that are filled), buckets_total (estimated: as if those that are left were as dense) and eta (when it will be done, at the rate so far).';

CREATE TABLE mvscheduler.attempt (
    run_id        bigint NOT NULL,
    attempt       integer NOT NULL,
    view_id       bigint NOT NULL,
    owner         regrole NOT NULL,
    token         bigint NOT NULL,
    backend_pid   integer NOT NULL,
    backend_start timestamptz NOT NULL,
    worker        text NOT NULL,
    outcome       text NOT NULL CHECK (outcome IN ('running', 'succeeded', 'failed', 'busy', 'lost', 'cancelled')),
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    deadline_at   timestamptz,
    finished_at   timestamptz,
    stop          text CHECK (stop IN ('cancel', 'deadline', 'yield')),
    stop_at       timestamptz,
    sqlstate      text,
    error         text,
    PRIMARY KEY (run_id, attempt)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX attempt_running ON mvscheduler.attempt (run_id) WHERE outcome = 'running';
COMMENT ON TABLE mvscheduler.attempt IS 'Private: one try of a run on one backend, shown by the view attempts.';
COMMENT ON COLUMN mvscheduler.attempt.run_id IS 'run.id';
COMMENT ON COLUMN mvscheduler.attempt.attempt IS '1, 2, ... within the run.';
COMMENT ON COLUMN mvscheduler.attempt.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.attempt.owner IS 'Owner of the view.';
COMMENT ON COLUMN mvscheduler.attempt.token IS 'Fencing token; see run.token.';
COMMENT ON COLUMN mvscheduler.attempt.backend_pid IS 'Backend that runs the refresh.';
COMMENT ON COLUMN mvscheduler.attempt.backend_start IS 'Start of that backend: with the pid it names one session.';
COMMENT ON COLUMN mvscheduler.attempt.worker IS 'Sidecar that opened it.';
COMMENT ON COLUMN mvscheduler.attempt.outcome IS 'lost = its backend is gone and nobody said what became of it; busy = a lock was not had in time.';
COMMENT ON COLUMN mvscheduler.attempt.started_at IS 'When it was opened.';
COMMENT ON COLUMN mvscheduler.attempt.deadline_at IS 'When its backend is terminated; NULL = never.';
COMMENT ON COLUMN mvscheduler.attempt.finished_at IS 'When it ended.';
COMMENT ON COLUMN mvscheduler.attempt.stop IS 'Why a sidecar told its backend to stop: cancel (a person asked), deadline (statement_timeout passed and the query went on) or yield (somebody''s DDL waited behind it).';
COMMENT ON COLUMN mvscheduler.attempt.stop_at IS 'When it was told so first; a few seconds later it is terminated.';
COMMENT ON COLUMN mvscheduler.attempt.sqlstate IS 'SQLSTATE of its error.';
COMMENT ON COLUMN mvscheduler.attempt.error IS 'Message of its error.';

-- Relations that a view has besides its pair, and what is under way with them; see 000011_redefine.
CREATE TABLE mvscheduler.piece (
    view_id  bigint NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('gate', 'data', 'next', 'next_query', 'old', 'old_query')),
    relation regclass NOT NULL,
    PRIMARY KEY (view_id, kind, relation)
);
CREATE UNIQUE INDEX piece_only ON mvscheduler.piece (view_id, kind) WHERE kind NOT IN ('old', 'old_query');
COMMENT ON TABLE mvscheduler.piece IS 'Private: relations of the view''s owner that belong to a view besides its pair.';
COMMENT ON COLUMN mvscheduler.piece.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.piece.kind IS 'gate (the one-row materialized view through which the owner''s own steps run), data (the table of an incremental view), next and next_query (the pair of the version that is being built, of an incremental view its table and its query), old and old_query (what was replaced and could not be dropped yet).';
COMMENT ON COLUMN mvscheduler.piece.relation IS 'The relation; used by OID, never by name.';

CREATE TABLE mvscheduler.redefinition (
    view_id       bigint PRIMARY KEY,
    requested_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    query_seal    bytea,
    filled_run    bigint,
    filled_as_of  timestamptz,
    filled_rows   bigint,
    filled_bytes  bigint,
    filled_method text,
    frozen_times  timestamptz,
    lacking       boolean NOT NULL DEFAULT false,
    method        text NOT NULL,
    time_column   text
);
COMMENT ON TABLE mvscheduler.redefinition IS 'Private: a new version of a view, with other columns or by another method, that waits to take the place of the one that is served.';
COMMENT ON COLUMN mvscheduler.redefinition.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.redefinition.requested_at IS 'When its owner changed the query.';
COMMENT ON COLUMN mvscheduler.redefinition.query_seal IS 'As in view_state, for the new version.';
COMMENT ON COLUMN mvscheduler.redefinition.filled_run IS 'Run that filled the new version; another run fills it anew.';
COMMENT ON COLUMN mvscheduler.redefinition.filled_as_of IS 'The new version shows at least everything committed before this instant.';
COMMENT ON COLUMN mvscheduler.redefinition.filled_rows IS 'Rows in it.';
COMMENT ON COLUMN mvscheduler.redefinition.filled_bytes IS 'Its total size, indexes and TOAST included.';
COMMENT ON COLUMN mvscheduler.redefinition.filled_method IS 'full: nobody reads it yet; or incremental.';
COMMENT ON COLUMN mvscheduler.redefinition.frozen_times IS 'Before which times of its source the view had what cannot be computed again when it was asked for; NULL = nothing.';
COMMENT ON COLUMN mvscheduler.redefinition.lacking IS 'What the new version reads lacks rows that the one which is served may show: it does not take its place.';
COMMENT ON COLUMN mvscheduler.redefinition.method IS 'views.method: of the new version. Where it is incremental and view_state.method is not, or the other way round, so do the relations differ.';
COMMENT ON COLUMN mvscheduler.redefinition.time_column IS 'views.time_column: of the new version.';

CREATE TABLE mvscheduler.pass (
    run_id  bigint PRIMARY KEY,
    token   bigint NOT NULL,
    view_id bigint NOT NULL,
    step    text NOT NULL CHECK (step IN ('swap', 'swap_data', 'swap_method', 'drop_leftover', 'track', 'increment', 'build', 'detach', 'drop_kept', 'attach')),
    taken   boolean NOT NULL DEFAULT false,
    done    bigint[],
    xid     xid8 NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON TABLE mvscheduler.pass IS 'Private: lets an attempt through the gate of its view, for one step. Written and taken back by the sidecar in the transaction that refreshes the gate, so nobody else ever sees a row.';
COMMENT ON COLUMN mvscheduler.pass.run_id IS 'run.id';
COMMENT ON COLUMN mvscheduler.pass.token IS 'Fencing token of the attempt; see run.token.';
COMMENT ON COLUMN mvscheduler.pass.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.pass.step IS 'What the gate is to do.';
COMMENT ON COLUMN mvscheduler.pass.done IS 'What a step of an incremental view did: buckets, rows inserted, updated, deleted.';
COMMENT ON COLUMN mvscheduler.pass.taken IS 'The step has begun: it cannot be begun again from within.';
COMMENT ON COLUMN mvscheduler.pass.xid IS 'The transaction for which it holds.';

-- Partitions that retention has put aside; see 000019_partitions.
CREATE TABLE mvscheduler.kept (
    target      bigint NOT NULL,
    relation    regclass NOT NULL PRIMARY KEY,
    name        text NOT NULL,
    bound       text NOT NULL,
    detached_at timestamptz,
    restored_at timestamptz,
    rows        bigint,
    bytes       bigint,
    xid         xid8,
    mark        bytea,
    until       timestamptz,
    parent      regclass
);
CREATE INDEX kept_target ON mvscheduler.kept (target);
COMMENT ON TABLE mvscheduler.kept IS 'Private: partitions that were put aside, and those that were brought back.';
COMMENT ON COLUMN mvscheduler.kept.target IS 'views.id, or source_retention.id.';
COMMENT ON COLUMN mvscheduler.kept.relation IS 'The partition; used by OID, never by name.';
COMMENT ON COLUMN mvscheduler.kept.name IS 'Its name while it was attached, without the schema.';
COMMENT ON COLUMN mvscheduler.kept.bound IS 'Its bound, as PostgreSQL deparses it with UTC and ISO.';
COMMENT ON COLUMN mvscheduler.kept.detached_at IS 'When it was put aside; NULL = it was brought back.';
COMMENT ON COLUMN mvscheduler.kept.restored_at IS 'When it was brought back last.';
COMMENT ON COLUMN mvscheduler.kept.rows IS 'Estimated rows when it was put aside.';
COMMENT ON COLUMN mvscheduler.kept.bytes IS 'Total size when it was put aside.';
COMMENT ON COLUMN mvscheduler.kept.xid IS 'Transaction that puts it aside, in which it still counts as attached.';
COMMENT ON COLUMN mvscheduler.kept.mark IS 'kept_mark when it was put aside: what its owner renames, attaches, detaches or alters since then is the owner''s, and is never dropped.';
COMMENT ON COLUMN mvscheduler.kept.parent IS 'The partitioned table that it was put aside from: of a view that was redefined since, that of an earlier version.';
COMMENT ON COLUMN mvscheduler.kept.until IS 'End of its bound; without a zone as if it were UTC.';

-- Append-only, so that a request never holds a row that a finishing run needs.
CREATE TABLE mvscheduler.request (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    kind         text NOT NULL CHECK (kind IN ('refresh', 'cancel')),
    view_id      bigint NOT NULL,
    target_run   bigint,
    run_id       bigint,
    cause        text NOT NULL DEFAULT 'manual' CHECK (cause IN ('manual', 'readers')),
    reason       text,
    requested_by regrole NOT NULL DEFAULT (pg_catalog.quote_ident(CURRENT_USER)::regrole),
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, view_id, id)   -- no index on id alone: for a view without requests the planner would walk it past a heap of another's
);
CREATE INDEX request_run ON mvscheduler.request (run_id);
ALTER TABLE mvscheduler.request ALTER COLUMN run_id
    SET DEFAULT nextval(pg_get_serial_sequence('mvscheduler.run', 'id'));
CREATE VIEW mvscheduler.requested_view WITH (security_barrier) AS
    WITH RECURSIVE found AS (
        SELECT (SELECT min(q.view_id) FROM mvscheduler.request AS q WHERE q.kind = 'refresh') AS view_id
        UNION ALL
        SELECT (SELECT min(q.view_id) FROM mvscheduler.request AS q WHERE q.kind = 'refresh' AND q.view_id > f.view_id)
          FROM found AS f
         WHERE f.view_id IS NOT NULL
    )
    SELECT f.view_id FROM found AS f WHERE f.view_id IS NOT NULL;
COMMENT ON VIEW mvscheduler.requested_view IS 'Private: views whose refresh was asked for, found from one to the next in the index: a heap of requests for one costs no more than one.';
COMMENT ON COLUMN mvscheduler.requested_view.view_id IS 'views.id';
COMMENT ON TABLE mvscheduler.request IS 'Private: what people asked of the sidecar, and it of itself in the place of readers, and what is not answered yet.';
COMMENT ON COLUMN mvscheduler.request.id IS 'Identifier of the request.';
COMMENT ON COLUMN mvscheduler.request.kind IS 'refresh or cancel.';
COMMENT ON COLUMN mvscheduler.request.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.request.target_run IS 'Run to cancel.';
COMMENT ON COLUMN mvscheduler.request.run_id IS 'Identifier reserved for the run that answers a refresh request.';
COMMENT ON COLUMN mvscheduler.request.cause IS 'manual (somebody asks) or readers (the sidecar asks in their place).';
COMMENT ON COLUMN mvscheduler.request.reason IS 'Why; NULL = whoever asked did not say.';
COMMENT ON COLUMN mvscheduler.request.requested_by IS 'Who asked.';
COMMENT ON COLUMN mvscheduler.request.requested_at IS 'When it was asked; the run starts after the asking transaction committed.';

CREATE TABLE mvscheduler.audit_entry (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    role      text NOT NULL,
    action    text NOT NULL,
    view_id   bigint,
    view_name text,
    owner     regrole,
    old       jsonb,
    new       jsonb
);
CREATE INDEX audit_entry_view ON mvscheduler.audit_entry (view_name, id DESC);
COMMENT ON TABLE mvscheduler.audit_entry IS 'Private: who changed what, shown by the view audit_log. Written by triggers alone.';
COMMENT ON COLUMN mvscheduler.audit_entry.id IS 'Order of the entries.';
COMMENT ON COLUMN mvscheduler.audit_entry.at IS 'When.';
COMMENT ON COLUMN mvscheduler.audit_entry.role IS 'Who: current_user of the change.';
COMMENT ON COLUMN mvscheduler.audit_entry.action IS 'insert, update, delete (of a row of views), refresh, cancel, auto_pause or settings.';
COMMENT ON COLUMN mvscheduler.audit_entry.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.audit_entry.view_name IS 'Name of the view at that time.';
COMMENT ON COLUMN mvscheduler.audit_entry.owner IS 'Owner of the view at that time: who may read the entry.';
COMMENT ON COLUMN mvscheduler.audit_entry.old IS 'The columns that changed, before.';
COMMENT ON COLUMN mvscheduler.audit_entry.new IS 'The columns that changed, after.';

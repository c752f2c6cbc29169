-- The optimizer: what the sidecar samples of reads and changes, and what it recommends.

-- Samples ---------------------------------------------------------------------------------------------

CREATE TABLE mvscheduler.collector (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sampler     text,
    lease_until timestamptz,
    sampled_at  timestamptz,
    planned_at  timestamptz,
    level       text NOT NULL DEFAULT 'L0' CHECK (level IN ('L0', 'L1', 'L2')),
    sources     text NOT NULL DEFAULT '',
    standbys    integer NOT NULL DEFAULT 0,
    standby_seen_at timestamptz
) WITH (fillfactor = 50);
INSERT INTO mvscheduler.collector DEFAULT VALUES;
COMMENT ON COLUMN mvscheduler.collector.standby_seen_at IS 'When there was such a server last: it may be back after planning.';
COMMENT ON COLUMN mvscheduler.collector.standbys IS 'Servers that could be read and whose counters are not known.';
COMMENT ON TABLE mvscheduler.collector IS 'Private: which sidecar samples reads; one at a time, since it keeps in memory what the counters were before.';
COMMENT ON COLUMN mvscheduler.collector.only_row IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN mvscheduler.collector.sampler IS 'The sidecar that samples.';
COMMENT ON COLUMN mvscheduler.collector.lease_until IS 'When another may take over.';
COMMENT ON COLUMN mvscheduler.collector.sampled_at IS 'Last sample.';
COMMENT ON COLUMN mvscheduler.collector.planned_at IS 'When recommendations were made last.';
COMMENT ON COLUMN mvscheduler.collector.level IS 'Evidence that the reads rest on: L0 (counters of scans), L1 (pg_stat_statements as well) or L2 (constants of queries as well).';
COMMENT ON COLUMN mvscheduler.collector.sources IS 'The same in words, and what was missing.';

CREATE TABLE mvscheduler.sampled (
    view_id bigint NOT NULL,
    at      timestamptz NOT NULL,
    reads   real[] NOT NULL,
    changes real[] NOT NULL,
    PRIMARY KEY (view_id, at)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX sampled_at ON mvscheduler.sampled (at);
COMMENT ON TABLE mvscheduler.sampled IS 'Private: how often each view was read and what changed below it, in the hours of today.';
COMMENT ON COLUMN mvscheduler.sampled.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.sampled.at IS 'Start of the hour.';
COMMENT ON COLUMN mvscheduler.sampled.reads IS 'In each of twelve bins of five minutes; NULL = unknown.';
COMMENT ON COLUMN mvscheduler.sampled.changes IS 'Rows written below the view in each bin; NULL = unknown.';

-- The arrays are kept as text, which is sent as it lies: whoever thinks about a view reads fourteen thousand elements.
CREATE TABLE mvscheduler.sampled_days (
    view_id bigint NOT NULL,
    day     timestamptz NOT NULL,
    width   integer NOT NULL CHECK (width IN (300, 3600)),
    reads   text NOT NULL,
    changes text NOT NULL,
    PRIMARY KEY (view_id, day)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX sampled_days_day ON mvscheduler.sampled_days (width, day);
COMMENT ON TABLE mvscheduler.sampled_days IS 'Private: the same of days that are over.';
COMMENT ON COLUMN mvscheduler.sampled_days.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.sampled_days.day IS 'Its start, in UTC.';
COMMENT ON COLUMN mvscheduler.sampled_days.width IS 'Of a bin, in seconds: 288 of five minutes, or 24 hours where the day is more than three weeks old.';
COMMENT ON COLUMN mvscheduler.sampled_days.reads IS 'In each bin, real[] as text; NULL = unknown.';
COMMENT ON COLUMN mvscheduler.sampled_days.changes IS 'Rows written below the view in each bin, real[] as text; NULL = unknown.';

CREATE TABLE mvscheduler.view_usage (
    view_id        bigint PRIMARY KEY,
    since          timestamptz NOT NULL,
    last_read_at   timestamptz,
    longest_pause  interval NOT NULL DEFAULT '0',
    reads          double precision NOT NULL DEFAULT 0,
    unknown        interval NOT NULL DEFAULT '0',
    unread_unknown interval NOT NULL DEFAULT '0',
    sampled_until  timestamptz NOT NULL DEFAULT clock_timestamp(),
    note           text NOT NULL DEFAULT '',
    planned_at     timestamptz,
    thought        text NOT NULL DEFAULT '',
    looked_since   timestamptz,
    furthest       integer,
    shrink_since   timestamptz
) WITH (fillfactor = 70);
COMMENT ON TABLE mvscheduler.view_usage IS 'Private: what is remembered of the reads of each view when the samples are gone.';
COMMENT ON COLUMN mvscheduler.view_usage.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.view_usage.since IS 'First sample.';
COMMENT ON COLUMN mvscheduler.view_usage.last_read_at IS 'End of the last bin with a read; NULL = never.';
COMMENT ON COLUMN mvscheduler.view_usage.longest_pause IS 'Longest time between two reads.';
COMMENT ON COLUMN mvscheduler.view_usage.reads IS 'All of them.';
COMMENT ON COLUMN mvscheduler.view_usage.unknown IS 'Time until sampled_until of which the reads are not known; also while no sidecar sampled.';
COMMENT ON COLUMN mvscheduler.view_usage.unread_unknown IS 'How much of that came after last_read_at.';
COMMENT ON COLUMN mvscheduler.view_usage.sampled_until IS 'End of the last bin that was written.';
COMMENT ON COLUMN mvscheduler.view_usage.planned_at IS 'When it was last thought about; NULL = never.';
COMMENT ON COLUMN mvscheduler.view_usage.thought IS 'What was thought of its clock then, and of its retention where it is incremental, also where nothing is recommended; empty = nothing yet.';
COMMENT ON COLUMN mvscheduler.view_usage.looked_since IS 'Since when it is seen how far back it is read; NULL = it is not, since the view is not incremental.';
COMMENT ON COLUMN mvscheduler.view_usage.furthest IS 'Days that a read ever looked back, at most; NULL = that was never seen.';
COMMENT ON COLUMN mvscheduler.view_usage.shrink_since IS 'Since when every look at it spoke for a shorter retention_period; NULL = the last one did not.';
COMMENT ON COLUMN mvscheduler.view_usage.note IS 'Why reads were not known last; empty = they always were.';

-- How far back views are read: the oldest partition that a read scanned tells, and what pg_qualstats keeps of what was asked
-- for. One row a day, or a month, and length.
CREATE TABLE mvscheduler.looked_back (
    view_id   bigint NOT NULL,
    at        date NOT NULL,
    monthly   boolean NOT NULL DEFAULT false,
    days_back integer NOT NULL CHECK (days_back > 0),
    entire    boolean NOT NULL,
    asked     boolean NOT NULL DEFAULT false,
    days      integer NOT NULL DEFAULT 1,
    reads     double precision NOT NULL,
    PRIMARY KEY (view_id, at, monthly, days_back, entire, asked)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX looked_back_at ON mvscheduler.looked_back (at) WHERE NOT monthly;
COMMENT ON TABLE mvscheduler.looked_back IS 'Private: how far back each view was read.';
COMMENT ON COLUMN mvscheduler.looked_back.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.looked_back.at IS 'The day, or the first of the month, in UTC.';
COMMENT ON COLUMN mvscheduler.looked_back.monthly IS 'A month: days become months when they are ten weeks old.';
COMMENT ON COLUMN mvscheduler.looked_back.days_back IS 'How many days the reads looked back at most, counted from the end of the day to the start of the oldest partition that they scanned; in steps of a fifth: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...';
COMMENT ON COLUMN mvscheduler.looked_back.entire IS 'They scanned the oldest partition that there was: perhaps they wanted more. Where asked: they had no lower bound.';
COMMENT ON COLUMN mvscheduler.looked_back.asked IS 'It is what conditions on the time_column asked for, as pg_qualstats saw it, also where that is not kept any more; else what was scanned.';
COMMENT ON COLUMN mvscheduler.looked_back.days IS 'On how many days.';
COMMENT ON COLUMN mvscheduler.looked_back.reads IS 'How many they were.';

-- Conditions that reads had and no index served, as pg_qualstats saw them. One row a day and condition, twenty at most.
CREATE TABLE mvscheduler.tested (
    view_id  bigint NOT NULL,
    at       date NOT NULL,
    columns  text[] NOT NULL CHECK (cardinality(columns) BETWEEN 1 AND 4),
    ranged   boolean NOT NULL,
    reads    double precision NOT NULL,
    examined double precision NOT NULL,
    removed  double precision NOT NULL,
    PRIMARY KEY (view_id, at, columns, ranged)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE mvscheduler.tested IS 'Private: by which columns readers of each view look for rows, where no index served them.';
COMMENT ON COLUMN mvscheduler.tested.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.tested.at IS 'The day, in UTC; for 28 days.';
COMMENT ON COLUMN mvscheduler.tested.columns IS 'Columns that were compared with =, by name, and then at most one that was compared by a range.';
COMMENT ON COLUMN mvscheduler.tested.ranged IS 'The last one was.';
COMMENT ON COLUMN mvscheduler.tested.reads IS 'How many did, extrapolated where pg_qualstats looks at a share of the statements.';
COMMENT ON COLUMN mvscheduler.tested.examined IS 'Rows that they looked at.';
COMMENT ON COLUMN mvscheduler.tested.removed IS 'Rows among them that did not fulfil all conditions of the read.';

-- No counter tells since when an index is not used, and none when it was made.
CREATE TABLE mvscheduler.watched_index (
    index_    oid PRIMARY KEY,
    view_id   bigint NOT NULL,
    scans     bigint NOT NULL,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    looked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE mvscheduler.watched_index IS 'Private: indexes of materialized views, but for unique ones, that are looked at once a day.';
COMMENT ON COLUMN mvscheduler.watched_index.index_ IS 'By OID.';
COMMENT ON COLUMN mvscheduler.watched_index.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.watched_index.scans IS 'What its counter said.';
COMMENT ON COLUMN mvscheduler.watched_index.since IS 'Since when it says so.';
COMMENT ON COLUMN mvscheduler.watched_index.looked_at IS 'When it was looked at last.';

-- Scans of our own refreshes, each written in the transaction of the refresh; the collector takes them away.
CREATE TABLE mvscheduler.own_scan (
    relation oid NOT NULL,
    seq      bigint NOT NULL,
    idx      bigint NOT NULL,
    tuples   bigint NOT NULL,
    keys     bigint NOT NULL,
    fetched  bigint NOT NULL
);
ALTER TABLE mvscheduler.own_scan REPLICA IDENTITY FULL;   -- see dirt
COMMENT ON TABLE mvscheduler.own_scan IS 'Private: scans of views by our own refreshes, of them and of those that read them, which are no reads.';
COMMENT ON COLUMN mvscheduler.own_scan.relation IS 'The relation whose counters they are in.';
COMMENT ON COLUMN mvscheduler.own_scan.seq IS 'Sequential scans.';
COMMENT ON COLUMN mvscheduler.own_scan.idx IS 'Scans of its indexes.';
COMMENT ON COLUMN mvscheduler.own_scan.tuples IS 'Rows that the sequential scans returned.';
COMMENT ON COLUMN mvscheduler.own_scan.keys IS 'Keys that the scans of its indexes returned.';
COMMENT ON COLUMN mvscheduler.own_scan.fetched IS 'Rows that were fetched for them.';

CREATE VIEW mvscheduler.counted WITH (security_barrier) AS
    SELECT s.view_id, s.relation::oid AS relation
      FROM mvscheduler.view_state AS s
     WHERE s.method <> 'incremental'
    UNION ALL
    SELECT p.view_id, i.inhrelid
      FROM mvscheduler.piece AS p
      JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.relation::oid
     WHERE p.kind = 'data';
COMMENT ON VIEW mvscheduler.counted IS 'Private: the relations whose counters tell how often a view is read: the materialized view, or the partitions of an incremental one.';
COMMENT ON COLUMN mvscheduler.counted.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.counted.relation IS 'By OID.';

-- Whoever verifies a view leaves the same, in another transaction, since the one that reads may not write. One row a
-- relation and session, of which no more than 256 are told apart, so that nobody can leave any number of rows; who takes
-- his own reads away harms his own views alone.
CREATE TABLE mvscheduler.verify_scan (
    relation oid,
    seq      bigint NOT NULL CHECK (seq >= 0),
    idx      bigint NOT NULL CHECK (idx >= 0),
    tuples   bigint NOT NULL CHECK (tuples >= 0),
    keys     bigint NOT NULL CHECK (keys >= 0),
    fetched  bigint NOT NULL CHECK (fetched >= 0),
    backend  smallint NOT NULL DEFAULT pg_catalog.pg_backend_pid() % 256 CHECK (backend BETWEEN 0 AND 255),
    PRIMARY KEY (relation, backend)
);
COMMENT ON TABLE mvscheduler.verify_scan IS 'Private: as own_scan, written by the command verify.';
COMMENT ON COLUMN mvscheduler.verify_scan.relation IS 'own_scan.relation';
COMMENT ON COLUMN mvscheduler.verify_scan.seq IS 'own_scan.seq';
COMMENT ON COLUMN mvscheduler.verify_scan.idx IS 'own_scan.idx';
COMMENT ON COLUMN mvscheduler.verify_scan.tuples IS 'own_scan.tuples';
COMMENT ON COLUMN mvscheduler.verify_scan.keys IS 'own_scan.keys';
COMMENT ON COLUMN mvscheduler.verify_scan.fetched IS 'own_scan.fetched';
COMMENT ON COLUMN mvscheduler.verify_scan.backend IS 'Process id of the session that verified, modulo 256.';

CREATE VIEW mvscheduler.scans_here WITH (security_barrier) AS
    SELECT k.relation, s.seq, s.idx, s.tuples, s.keys, s.fetched
      FROM mvscheduler.counted AS k
      JOIN mvscheduler.visible_views AS v ON v.view_id = k.view_id
     CROSS JOIN LATERAL (
            SELECT coalesce(pg_catalog.pg_stat_get_xact_numscans(k.relation), 0) AS seq, coalesce(sum(pg_catalog.pg_stat_get_xact_numscans(i.indexrelid)), 0)::bigint AS idx,
                   coalesce(pg_catalog.pg_stat_get_xact_tuples_returned(k.relation), 0) AS tuples, coalesce(sum(pg_catalog.pg_stat_get_xact_tuples_returned(i.indexrelid)), 0)::bigint AS keys,
                   coalesce(pg_catalog.pg_stat_get_xact_tuples_fetched(k.relation), 0) + coalesce(sum(pg_catalog.pg_stat_get_xact_tuples_fetched(i.indexrelid)), 0)::bigint AS fetched
              FROM pg_catalog.pg_index AS i
             WHERE i.indrelid = k.relation) AS s
     WHERE s.seq > 0 OR s.idx > 0;
COMMENT ON VIEW mvscheduler.scans_here IS 'Scans of views that you may see which this session made and did not report yet.';
COMMENT ON COLUMN mvscheduler.scans_here.relation IS 'The materialized view, or a partition of an incremental one.';
COMMENT ON COLUMN mvscheduler.scans_here.seq IS 'Sequential scans.';
COMMENT ON COLUMN mvscheduler.scans_here.idx IS 'Scans of its indexes.';
COMMENT ON COLUMN mvscheduler.scans_here.tuples IS 'Rows that the sequential scans returned.';
COMMENT ON COLUMN mvscheduler.scans_here.keys IS 'Keys that the scans of its indexes returned.';
COMMENT ON COLUMN mvscheduler.scans_here.fetched IS 'Rows that were fetched for them.';

CREATE VIEW mvscheduler.visible_counted WITH (security_barrier) AS
    SELECT k.relation FROM mvscheduler.counted AS k JOIN mvscheduler.visible_views AS v ON v.view_id = k.view_id;
COMMENT ON VIEW mvscheduler.visible_counted IS 'Relations whose counters tell how often the views are read that you may see.';
COMMENT ON COLUMN mvscheduler.visible_counted.relation IS 'By OID.';
ALTER TABLE mvscheduler.verify_scan ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_view ON mvscheduler.verify_scan TO mvscheduler_user
    WITH CHECK (relation IN (SELECT k.relation FROM mvscheduler.visible_counted AS k));
CREATE POLICY of_the_sidecar ON mvscheduler.verify_scan TO mvscheduler_worker
    USING (true);

-- What a view's owner may see of that.
CREATE VIEW mvscheduler.usage WITH (security_barrier) AS
    SELECT v.view_id, v.name AS view_name, u.since, u.last_read_at, u.reads, u.longest_pause, u.unknown, u.note, u.planned_at, u.thought, u.looked_since, u.furthest, u.shrink_since
      FROM mvscheduler.view_usage AS u
      JOIN mvscheduler.visible_views AS v ON v.view_id = u.view_id;
COMMENT ON VIEW mvscheduler.usage IS 'How views are read, as far as it was sampled.';
CREATE VIEW mvscheduler.samples WITH (security_barrier) AS
    SELECT v.view_id, v.name AS view_name, d.at, 300 AS width, d.reads, d.changes
      FROM mvscheduler.sampled AS d
      JOIN mvscheduler.visible_views AS v ON v.view_id = d.view_id
     UNION ALL
    SELECT v.view_id, v.name, d.day, d.width, d.reads::real[], d.changes::real[]
      FROM mvscheduler.sampled_days AS d
      JOIN mvscheduler.visible_views AS v ON v.view_id = d.view_id;
CREATE VIEW mvscheduler.look_backs WITH (security_barrier) AS
    SELECT v.view_id, v.name AS view_name, l.at, l.monthly, l.days_back, l.entire, l.days, l.reads, l.asked
      FROM mvscheduler.looked_back AS l
      JOIN mvscheduler.visible_views AS v ON v.view_id = l.view_id;
COMMENT ON VIEW mvscheduler.look_backs IS 'How far back views are read, for 13 months: by days for ten weeks, then by months.';
CREATE VIEW mvscheduler.conditions WITH (security_barrier) AS
    SELECT v.view_id, v.name AS view_name, t.at, t.columns, t.ranged, t.reads, t.examined, t.removed
      FROM mvscheduler.tested AS t
      JOIN mvscheduler.visible_views AS v ON v.view_id = t.view_id;
COMMENT ON VIEW mvscheduler.conditions IS 'By which columns readers look for rows where no index serves them, for 28 days; needs pg_qualstats.';
COMMENT ON VIEW mvscheduler.samples IS 'Reads and changes below views by bins of time: five minutes for three weeks, then hours for ten.';
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT p.v, a.attname, col_description(('mvscheduler.' || p.t)::regclass, b.attnum) AS words
               FROM (VALUES ('usage', 'view_usage'), ('samples', 'sampled_days'), ('look_backs', 'looked_back'), ('conditions', 'tested')) AS p(v, t)
               JOIN pg_attribute AS a ON a.attrelid = ('mvscheduler.' || p.v)::regclass AND a.attnum > 0
               LEFT JOIN pg_attribute AS b ON b.attrelid = ('mvscheduler.' || p.t)::regclass AND b.attname = a.attname LOOP
        EXECUTE format('COMMENT ON COLUMN mvscheduler.%I.%I IS %L', c.v, c.attname, coalesce(c.words, 'views.name'));
    END LOOP;
END $$;
COMMENT ON COLUMN mvscheduler.samples.at IS 'Start of the first bin: of the hour, or in UTC of the day that is over.';
COMMENT ON COLUMN mvscheduler.samples.width IS 'Of a bin, in seconds: 300, or 3600 where the day is more than three weeks old.';
COMMENT ON COLUMN mvscheduler.samples.reads IS 'In each bin: twelve of an hour, or all of a day; NULL = unknown.';
COMMENT ON COLUMN mvscheduler.samples.changes IS 'Rows written below the view in each bin; NULL = unknown.';

-- Recommendations -------------------------------------------------------------------------------------

CREATE TABLE mvscheduler.recommendation (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view_id       bigint NOT NULL,
    view_name     text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('interval', 'calendar', 'adaptive', 'retention', 'method', 'unique_index', 'index', 'drop_index', 'unused', 'plain_view', 'rebuild', 'bucket')),
    current       text NOT NULL,
    proposed      text NOT NULL,
    reason        text NOT NULL,
    command       text NOT NULL,
    basis         jsonb,
    change        jsonb CHECK (change IS NULL OR (basis IS NOT NULL AND change - '{refresh_interval,cron,calendar,refresh_on,method,retention_period,optimize,add_index}'::text[] = '{}')),
    evidence      jsonb NOT NULL,
    predicted     jsonb,
    measured      jsonb,
    automatic     boolean NOT NULL DEFAULT false,
    state         text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'snoozed', 'accepted', 'applied', 'rejected', 'undone', 'expired')),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    snoozed_until timestamptz,
    decided_at    timestamptz,
    decided_by    text,
    decision      text
) WITH (fillfactor = 70);
-- The planner repeats itself in the row that is there.
CREATE UNIQUE INDEX recommendation_open ON mvscheduler.recommendation (view_id, kind) WHERE state IN ('proposed', 'snoozed');
CREATE INDEX recommendation_view ON mvscheduler.recommendation (view_id, id DESC);
COMMENT ON TABLE mvscheduler.recommendation IS 'Private: what the optimizer recommends, shown by the view recommendations.';
COMMENT ON COLUMN mvscheduler.recommendation.id IS 'Identifier of the recommendation.';
COMMENT ON COLUMN mvscheduler.recommendation.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.recommendation.view_name IS 'Name of the view when it was last proposed.';
COMMENT ON COLUMN mvscheduler.recommendation.kind IS 'interval, calendar, adaptive (an interval, and a refresh in between when readers saw enough old data), retention, method, unique_index, index, drop_index, unused, plain_view, rebuild or bucket.';
COMMENT ON COLUMN mvscheduler.recommendation.current IS 'What is now.';
COMMENT ON COLUMN mvscheduler.recommendation.proposed IS 'What should be.';
COMMENT ON COLUMN mvscheduler.recommendation.reason IS 'Why, in words.';
COMMENT ON COLUMN mvscheduler.recommendation.command IS 'The statement that does it.';
COMMENT ON COLUMN mvscheduler.recommendation.basis IS 'What the columns of change were when it was proposed: otherwise it is not applied or undone.';
COMMENT ON COLUMN mvscheduler.recommendation.change IS 'Columns of the row of views that accepting it sets, and add_index, columns of one more index in the column indexes; NULL = a person runs the command.';
COMMENT ON COLUMN mvscheduler.recommendation.evidence IS 'What it rests on: level (L0 counters, L1 pg_stat_statements, L2 constants), days, reads, cost of a refresh, what was missing.';
COMMENT ON COLUMN mvscheduler.recommendation.predicted IS 'What it is expected to change: before and after, a day.';
COMMENT ON COLUMN mvscheduler.recommendation.measured IS 'What it did change, by a replay of what was really read; of an index what try_index said when it was accepted; NULL = not known (yet).';
COMMENT ON COLUMN mvscheduler.recommendation.automatic IS 'True when the sidecar applied it, as optimize = ''auto'' lets it; the row of views stays as it is.';
COMMENT ON COLUMN mvscheduler.recommendation.state IS 'proposed, snoozed, accepted (a person has to run the command), applied, rejected, undone or expired (no longer true).';
COMMENT ON COLUMN mvscheduler.recommendation.created_at IS 'When it was first proposed.';
COMMENT ON COLUMN mvscheduler.recommendation.seen_at IS 'When the planner last found it true.';
COMMENT ON COLUMN mvscheduler.recommendation.snoozed_until IS 'Until when it is not shown as proposed.';
COMMENT ON COLUMN mvscheduler.recommendation.decided_at IS 'When its state last changed.';
COMMENT ON COLUMN mvscheduler.recommendation.decided_by IS 'Who decided; mvscheduler for what the sidecar did.';
COMMENT ON COLUMN mvscheduler.recommendation.decision IS 'Why, in the words of who decided.';

-- Appended by people, never changed: what they decide reaches the recommendation by a trigger.
CREATE TABLE mvscheduler.recommendation_decision (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recommendation_id bigint NOT NULL,
    view_id           bigint NOT NULL,
    action            text NOT NULL CHECK (action IN ('accept', 'reject', 'snooze', 'undo')),
    reason            text CHECK (length(reason) <= 1000),
    until             timestamptz,
    tried             jsonb CHECK (length(tried::text) <= 4000),
    decided_by        regrole NOT NULL DEFAULT (pg_catalog.quote_ident(CURRENT_USER)::regrole),
    decided_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX recommendation_decision_of ON mvscheduler.recommendation_decision (recommendation_id);
COMMENT ON TABLE mvscheduler.recommendation_decision IS 'Private: what people decided about recommendations.';
COMMENT ON COLUMN mvscheduler.recommendation_decision.id IS 'Order of the decisions.';
COMMENT ON COLUMN mvscheduler.recommendation_decision.recommendation_id IS 'recommendation.id';
COMMENT ON COLUMN mvscheduler.recommendation_decision.view_id IS 'views.id, which says who may decide.';
COMMENT ON COLUMN mvscheduler.recommendation_decision.action IS 'accept, reject, snooze or undo.';
COMMENT ON COLUMN mvscheduler.recommendation_decision.reason IS 'Why.';
COMMENT ON COLUMN mvscheduler.recommendation_decision.until IS 'snooze: until when.';
COMMENT ON COLUMN mvscheduler.recommendation_decision.tried IS 'accept, of an index: what try_index said.';
COMMENT ON COLUMN mvscheduler.recommendation_decision.decided_by IS 'Who.';
COMMENT ON COLUMN mvscheduler.recommendation_decision.decided_at IS 'When.';
ALTER TABLE mvscheduler.recommendation_decision ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_view ON mvscheduler.recommendation_decision
    USING (mvscheduler.may_manage(view_id))
    WITH CHECK (mvscheduler.may_manage(view_id));
CREATE POLICY of_the_sidecar ON mvscheduler.recommendation_decision TO mvscheduler_worker
    USING (NOT EXISTS (SELECT FROM mvscheduler.recommendation AS r WHERE r.id = recommendation_id));

CREATE VIEW mvscheduler.recommendations WITH (security_barrier) AS
    SELECT r.id, v.name AS view_name, r.kind, r.current, r.proposed, r.reason, r.evidence, r.predicted,
           CASE WHEN r.state = 'snoozed' AND r.snoozed_until <= now() THEN 'proposed' ELSE r.state END AS state,
           r.created_at, r.decided_at, r.measured, r.command, r.automatic, r.snoozed_until, r.decided_by, r.decision, r.basis, r.change, r.view_id, r.seen_at
      FROM mvscheduler.recommendation AS r
      JOIN mvscheduler.visible_views AS v ON v.view_id = r.view_id;
COMMENT ON VIEW mvscheduler.recommendations IS 'What the optimizer recommends for the views that you may see, and what became of it.';
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT a.attname, col_description('mvscheduler.recommendation'::regclass, b.attnum) AS words
               FROM pg_attribute AS a
               JOIN pg_attribute AS b ON b.attrelid = 'mvscheduler.recommendation'::regclass AND b.attname = a.attname
              WHERE a.attrelid = 'mvscheduler.recommendations'::regclass AND a.attnum > 0 LOOP
        EXECUTE format('COMMENT ON COLUMN mvscheduler.recommendations.%I IS %L', c.attname, CASE c.attname WHEN 'view_name' THEN 'views.name' ELSE c.words END);
    END LOOP;
END $$;

-- A person decides ------------------------------------------------------------------------------------

-- What left by retention, or will, and what is only looked for as far back as lateness says.
CREATE FUNCTION mvscheduler.rebuildable(view_id bigint) RETURNS double precision
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT min(b.seconds)
          FROM mvscheduler.view_state AS s
         CROSS JOIN LATERAL (
                SELECT extract(epoch FROM clock_timestamp() - f.times)::float8 AS seconds FROM mvscheduler.frozen AS f WHERE f.target = s.view_id AND f.times > '-infinity'
                UNION ALL
                SELECT extract(epoch FROM r.retention_period)::float8
                  FROM mvscheduler.view_source AS v JOIN mvscheduler.source_state AS r ON r.relation = v.relation
                 WHERE v.view_id = s.view_id
                UNION ALL
                SELECT extract(epoch FROM u.row_retention)::float8 FROM mvscheduler.view_state AS u WHERE u.view_id = ANY (s.upstream)   -- a tuned one can end at any time
                UNION ALL
                SELECT extract(epoch FROM s.lateness)::float8
                 WHERE s.change_tracking = 'none' OR EXISTS (SELECT FROM mvscheduler.increment_state AS i WHERE i.view_id = s.view_id AND i.tracking = 'none')) AS b
         WHERE s.view_id = rebuildable.view_id);
COMMENT ON FUNCTION mvscheduler.rebuildable(bigint) IS 'How far back, in seconds, what an incremental view reads can give it again; NULL = as far as it goes itself.';

CREATE FUNCTION mvscheduler.decision_bookkeeping() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r        mvscheduler.recommendation;
    in_force bigint;   -- of the same kind, by the sidecar
    other    bigint;   -- of the same kind, that is open
    who      text := (SELECT rolname FROM pg_roles WHERE oid = NEW.decided_by::oid);
    gone     text;     -- why what was right when it was proposed is not any more
BEGIN
    SELECT x.* INTO r FROM mvscheduler.recommendation AS x WHERE x.id = NEW.recommendation_id AND x.view_id = NEW.view_id FOR UPDATE;
    SELECT x.id INTO other FROM mvscheduler.recommendation AS x WHERE x.view_id = r.view_id AND x.kind = r.kind AND x.state IN ('proposed', 'snoozed');
    SELECT CASE r.kind WHEN 'retention' THEN s.retained_by ELSE s.tuned_by END INTO in_force FROM mvscheduler.view_state AS s WHERE s.view_id = r.view_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'recommendation % does not exist', NEW.recommendation_id USING ERRCODE = 'no_data_found';
    ELSIF NOT r.state = ANY (CASE NEW.action WHEN 'undo' THEN '{accepted,applied,rejected}' WHEN 'reject' THEN '{proposed,snoozed,accepted}' ELSE '{proposed,snoozed}' END::text[]) THEN
        RAISE EXCEPTION 'recommendation % is %', r.id, r.state USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = CASE WHEN r.state = 'snoozed' THEN format('It comes back by itself. To decide now: mvscheduler recommend accept %s, or reject %1$s', r.id)
                        WHEN r.state = 'proposed' THEN format('Nothing of it was done. To say no: mvscheduler recommend reject %s', r.id)
                        WHEN r.state IN ('applied', 'accepted') THEN format('To take it back: mvscheduler recommend undo %s', r.id)
                        WHEN r.state = 'rejected' THEN format('To take the rejection back: mvscheduler recommend undo %s', r.id)
                        WHEN r.state = 'expired' AND other IS NOT NULL THEN format('Recommendation %s has taken its place: mvscheduler recommend show %1$s', other)
                        WHEN NEW.action = 'undo' THEN 'Nothing of it is in force.'
                        ELSE format('To do it all the same, run its statement: mvscheduler recommend show %s', r.id) END;
    ELSIF NEW.action = 'undo' AND r.automatic AND r.id IS DISTINCT FROM in_force THEN
        RAISE EXCEPTION 'recommendation % is not in force any more', r.id USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = coalesce('Undo the one that took its place: SELECT mvscheduler.undo_recommendation(' || in_force || ')', 'A change of the row has ended it.');
    ELSIF NEW.action = 'snooze' AND NOT coalesce(NEW.until > clock_timestamp(), false) THEN
        RAISE EXCEPTION 'snooze needs a time that is to come' USING ERRCODE = 'invalid_parameter_value';
    ELSIF (SELECT count(*) FROM (SELECT FROM mvscheduler.recommendation_decision AS d WHERE d.recommendation_id = r.id LIMIT 101) AS many) > 100 THEN
        RAISE EXCEPTION 'more than 100 decisions about recommendation %', r.id USING ERRCODE = 'program_limit_exceeded';
    END IF;
    IF NEW.action = 'accept' AND r.kind = 'retention' THEN   -- a day can have passed since
        SELECT CASE WHEN p.period < s.min_retention THEN 'it is shorter than min_retention by now'
                    WHEN p.period > s.max_retention THEN 'it is longer than max_retention by now'
                    WHEN NOT coalesce(p.period >= s.row_retention, false) AND s.min_retention IS NULL AND d.seconds < coalesce(extract(epoch FROM s.retention_period), 'Infinity')
                    THEN format('by now the tables below can give again what is younger than %s alone; min_retention is how you allow more', justify_hours(date_trunc('minute', make_interval(secs => d.seconds)))) END
          INTO gone
          FROM mvscheduler.view_state AS s
         CROSS JOIN (SELECT (r.change ->> 'retention_period')::interval AS period) AS p
         CROSS JOIN (SELECT mvscheduler.rebuildable(r.view_id) AS seconds) AS d
         WHERE s.view_id = r.view_id;
        IF gone IS NOT NULL THEN
            RAISE EXCEPTION 'recommendation % is not true any more: %', r.id, gone USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('To have it all the same: %s', r.command);
        END IF;
    END IF;
    IF NEW.action = 'undo' AND r.state = 'rejected' THEN
        UPDATE mvscheduler.recommendation AS x   -- who rejected it and why is in the audit log
           SET state = CASE WHEN other IS NULL THEN 'proposed' ELSE 'expired' END,
               decided_at = CASE WHEN other IS NOT NULL THEN clock_timestamp() END,
               decided_by = CASE WHEN other IS NOT NULL THEN who END,
               decision = 'its rejection was taken back, and recommendation ' || other || ' has taken its place'
         WHERE x.id = r.id;
    ELSE
        UPDATE mvscheduler.recommendation AS x
           SET state = CASE NEW.action WHEN 'accept' THEN CASE WHEN r.change IS NULL THEN 'accepted' ELSE 'applied' END
                                       WHEN 'reject' THEN 'rejected' WHEN 'snooze' THEN 'snoozed' ELSE 'undone' END,
               snoozed_until = CASE NEW.action WHEN 'snooze' THEN NEW.until END,
               measured = coalesce(CASE WHEN NEW.action = 'accept' AND r.kind = 'index' THEN NEW.tried END, r.measured),
               decided_at = clock_timestamp(), decided_by = who, decision = NEW.reason
         WHERE x.id = r.id;
    END IF;
    IF NEW.action = 'undo' AND r.automatic THEN
        UPDATE mvscheduler.view_state AS s
           SET tuned_interval = NULL, tuned_patience = NULL, tuned_calendar = NULL, tuned_by = NULL, reschedule = true
         WHERE s.view_id = r.view_id AND s.tuned_by = r.id;
        UPDATE mvscheduler.view_state AS s
           SET retention_period = s.row_retention, retained_by = NULL
         WHERE s.view_id = r.view_id AND s.retained_by = r.id;
    END IF;
    INSERT INTO mvscheduler.audit_entry (role, action, view_id, view_name, owner, old, new)
    SELECT who, NEW.action, s.view_id, s.name, s.owner, r.basis,
           jsonb_strip_nulls(jsonb_build_object('recommendation', r.id, 'kind', r.kind, 'reason', NEW.reason, 'until', NEW.until, 'change', r.change))
      FROM mvscheduler.view_state AS s
     WHERE s.view_id = r.view_id;
    IF pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('mvscheduler_due', '');
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.decision_bookkeeping() IS 'Trigger bookkeeping on recommendation_decision: the new state, the audit log, and the end of what the sidecar applied by itself.';
REVOKE ALL ON FUNCTION mvscheduler.decision_bookkeeping() FROM PUBLIC;
CREATE TRIGGER bookkeeping AFTER INSERT ON mvscheduler.recommendation_decision
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.decision_bookkeeping();

CREATE FUNCTION mvscheduler.automatic_bookkeeping() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO mvscheduler.audit_entry (role, action, view_id, view_name, owner, old, new)
    SELECT 'mvscheduler', CASE NEW.state WHEN 'applied' THEN 'optimize' ELSE 'undo' END, s.view_id, s.name, s.owner, NEW.basis,
           jsonb_build_object('recommendation', NEW.id, 'kind', NEW.kind, 'change', NEW.change)
      FROM mvscheduler.view_state AS s
     WHERE s.view_id = NEW.view_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.automatic_bookkeeping() IS 'Triggers on recommendation: what the sidecar applies or takes back by itself is an entry of the audit log.';
REVOKE ALL ON FUNCTION mvscheduler.automatic_bookkeeping() FROM PUBLIC;
CREATE TRIGGER audit_automatic_insert AFTER INSERT ON mvscheduler.recommendation
    FOR EACH ROW WHEN (NEW.automatic AND NEW.state = 'applied') EXECUTE FUNCTION mvscheduler.automatic_bookkeeping();
CREATE TRIGGER audit_automatic AFTER UPDATE ON mvscheduler.recommendation
    FOR EACH ROW WHEN (NEW.automatic AND NEW.decided_by = 'mvscheduler' AND NEW.state IN ('applied', 'undone') AND NEW.state <> OLD.state)
    EXECUTE FUNCTION mvscheduler.automatic_bookkeeping();

-- The rest runs as the caller: who may UPDATE the row of views may accept what changes it.
CREATE FUNCTION mvscheduler.columns_of(v mvscheduler.views, names jsonb) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET IntervalStyle = 'postgres'
RETURN (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}')
          FROM jsonb_each(jsonb_build_object('refresh_interval', v.refresh_interval, 'cron', v.cron, 'calendar', v.calendar, 'refresh_on', v.refresh_on,
                                             'method', v.method, 'retention_period', v.retention_period, 'optimize', v.optimize)) AS e
         WHERE names ? e.key);
COMMENT ON FUNCTION mvscheduler.columns_of(mvscheduler.views, jsonb) IS 'The columns of a row of views that a recommendation names.';

CREATE FUNCTION mvscheduler.same_columns(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN NOT EXISTS (SELECT
                     FROM jsonb_each_text(a) AS x
                     JOIN jsonb_each_text(b) AS y ON y.key = x.key
                    WHERE CASE WHEN x.key IN ('refresh_interval', 'retention_period') THEN x.value::interval IS DISTINCT FROM y.value::interval
                               WHEN x.key = 'calendar' THEN x.value::jsonb IS DISTINCT FROM y.value::jsonb
                               ELSE x.value IS DISTINCT FROM y.value END);
COMMENT ON FUNCTION mvscheduler.same_columns(jsonb, jsonb) IS 'True when the columns say the same: an interval and a calendar can be written in several ways.';

CREATE FUNCTION mvscheduler.renamer(schema oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT w.rolname
          FROM pg_namespace AS n
          JOIN pg_roles AS w ON w.oid = n.nspowner
         WHERE n.oid = schema
           AND NOT w.rolsuper
           AND w.rolname <> 'pg_database_owner'
           AND w.oid <> (SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database()));
COMMENT ON FUNCTION mvscheduler.renamer(oid) IS 'Who can rename a schema at any moment, which no lock keeps him from, and so put functions of his own in the place of those of an extension; NULL = a superuser or the owner of the database, who are trusted.';

-- HypoPG makes an index that only the planner of this session sees. EXPLAIN plans, and that can run functions of the view's
-- owner (of an index predicate, say), so it is for those whom the owner can become. Constants are taken from the caller's own
-- view of the statistics: what readers asked for is text of others.
CREATE FUNCTION mvscheduler.try_index(id bigint) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r         mvscheduler.recommendations;
    v         mvscheduler.visible_views;
    hypo      text;      -- the schema of HypoPG
    renamer   text;      -- see the function
    alike     text;      -- a function that has the name of one of HypoPG's
    may       boolean;
    target    oid;       -- the materialized view, or the partitioned table: HypoPG takes the index for one of each partition
    sample    oid;       -- whose statistics give the constants: itself, or the largest partition
    columns   text[];
    condition text;
    shown     text;      -- the same without constants, which are data of the view
    statement text;
    made      oid;
    before    json;
    after     json;
    tried     jsonb;
BEGIN
    SELECT x.* INTO r FROM mvscheduler.recommendations AS x WHERE x.id = try_index.id AND x.kind = 'index';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'recommendation % does not exist, or is for no index', try_index.id
            USING ERRCODE = 'no_data_found', HINT = 'List those that you may see: SELECT id, view_name, proposed FROM mvscheduler.recommendations WHERE kind = ''index''.';
    END IF;
    SELECT quote_ident(n.nspname), has_schema_privilege(n.oid, 'USAGE') AND count(p.oid) = 2 AND bool_and(has_function_privilege(p.oid, 'EXECUTE')),
           mvscheduler.renamer(n.oid),
           (SELECT min(o.oid::regprocedure::text) FROM pg_proc AS o WHERE o.pronamespace = n.oid AND o.proname IN ('hypopg_create_index', 'hypopg_drop_index') AND o.oid <> ALL (array_agg(p.oid) FILTER (WHERE p.oid IS NOT NULL)))
      INTO hypo, may, renamer, alike
      FROM pg_extension AS e
      JOIN pg_roles AS o ON o.oid = e.extowner AND o.rolsuper
      JOIN pg_namespace AS n ON n.oid = e.extnamespace
      LEFT JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
      LEFT JOIN pg_proc AS p ON p.oid = d.objid AND p.pronamespace = n.oid
                            AND (p.proname = 'hypopg_create_index' AND p.proargtypes[0] = 'text'::regtype OR p.proname = 'hypopg_drop_index' AND p.proargtypes[0] = 'oid'::regtype)
     WHERE e.extname = 'hypopg'
     GROUP BY n.oid, n.nspname;
    IF hypo IS NULL THEN
        RETURN jsonb_build_object('not_tried', 'HypoPG is not installed in this database');
    ELSIF renamer IS NOT NULL THEN
        RETURN jsonb_build_object('not_tried', format('HypoPG is in a schema of %s, who could put functions of her or his own in its place: ALTER EXTENSION hypopg SET SCHEMA public', renamer));
    ELSIF alike IS NOT NULL THEN   -- a call could not tell which, and the index would stay
        RETURN jsonb_build_object('not_tried', format('a function of somebody has the name of one of HypoPG''s: DROP FUNCTION %s', alike));
    ELSIF NOT may THEN
        RETURN jsonb_build_object('not_tried', format('you may not use HypoPG: GRANT USAGE ON SCHEMA %s TO %I', hypo, CURRENT_USER));
    END IF;
    SELECT x.* INTO v FROM mvscheduler.visible_views AS x WHERE x.view_id = r.view_id;
    IF NOT mvscheduler.can_become(v.owner, quote_ident(CURRENT_USER)::regrole) THEN   -- SET ROLE is no wall, see refuse_stored_text
        RETURN jsonb_build_object('not_tried', format('to plan can run functions of %1$s in your session: let %1$s do it', v.owner));
    END IF;
    columns := ARRAY(SELECT jsonb_array_elements_text(r.evidence -> 'columns'));
    target := coalesce((SELECT p.relation::oid FROM mvscheduler.visible_pieces AS p WHERE p.view_id = r.view_id AND p.kind = 'data' AND v.method = 'incremental'), v.relation::oid);
    sample := coalesce((SELECT i.inhrelid FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = target ORDER BY c.reltuples DESC, c.oid LIMIT 1), target);
    IF NOT (mvscheduler.is_name_ours(v.relation) AND mvscheduler.is_name_ours(target)) THEN   -- and what has it then is planned
        RETURN jsonb_build_object('not_tried', format('who may create in its schema could give the name of %s to another relation meanwhile', r.view_name));
    END IF;
    SELECT string_agg(format('%I %s %L::%s', k.name, CASE WHEN k.n = cardinality(columns) AND (r.evidence ->> 'ranged')::boolean THEN '>=' ELSE '=' END,
                             CASE WHEN k.n = cardinality(columns) AND (r.evidence ->> 'ranged')::boolean
                                  THEN t.bounds[greatest(1, ceil(cardinality(t.bounds) * (1 - (r.evidence ->> 'selectivity')::float8))::int)]
                                  ELSE coalesce(t.common[1], t.bounds[cardinality(t.bounds) / 2 + 1]) END,
                             format_type(a.atttypid, a.atttypmod)), ' AND ' ORDER BY k.n),
           string_agg(format('%I %s ?', k.name, CASE WHEN k.n = cardinality(columns) AND (r.evidence ->> 'ranged')::boolean THEN '>=' ELSE '=' END), ' AND ' ORDER BY k.n)
      INTO condition, shown
      FROM unnest(columns) WITH ORDINALITY AS k(name, n)
      JOIN pg_attribute AS a ON a.attrelid = sample AND a.attname = k.name
      JOIN pg_class AS c ON c.oid = sample
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      LEFT JOIN LATERAL (
            SELECT coalesce(s.histogram_bounds::text::text[], s.most_common_vals::text::text[]) AS bounds, s.most_common_vals::text::text[] AS common
              FROM pg_stats AS s
             WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = k.name AND NOT s.inherited) AS t ON true
    HAVING bool_and(coalesce(t.common, t.bounds) IS NOT NULL) AND count(*) = cardinality(columns);
    IF condition IS NULL THEN
        RETURN jsonb_build_object('not_tried', format('there are no statistics of its columns that you may see: ANALYZE %s', mvscheduler.shown_name(sample)));
    END IF;
    statement := format('EXPLAIN (FORMAT JSON) SELECT * FROM %s WHERE %s', mvscheduler.shown_name(v.relation::oid), condition);
    BEGIN
        EXECUTE statement INTO before;
        EXECUTE format('SELECT h.indexrelid FROM %s.hypopg_create_index($1) AS h', hypo) INTO made
          USING format('CREATE INDEX ON %s (%s)', mvscheduler.shown_name(target), (SELECT string_agg(quote_ident(k.name), ', ' ORDER BY k.n) FROM unnest(columns) WITH ORDINALITY AS k(name, n)));
        EXECUTE statement INTO after;
        tried := jsonb_build_object('condition', shown, 'plan_cost_before', before -> 0 -> 'Plan' -> 'Total Cost', 'plan_cost_after', after -> 0 -> 'Plan' -> 'Total Cost',
                                    'index_is_used', position(format('<%s>', made) IN after::text) > 0, 'by', CURRENT_USER);
    EXCEPTION
        WHEN query_canceled THEN
            IF made IS NOT NULL THEN   -- no rollback takes it away
                EXECUTE format('SELECT %s.hypopg_drop_index($1)', hypo) USING made;
            END IF;
            RAISE;
        WHEN OTHERS THEN
            tried := jsonb_build_object('not_tried', left(SQLERRM, 500));
    END;
    IF made IS NOT NULL THEN
        EXECUTE format('SELECT %s.hypopg_drop_index($1)', hypo) USING made;
    END IF;
    RETURN tried;
END $$;
COMMENT ON FUNCTION mvscheduler.try_index(bigint) IS 'What the planner says of the index of a recommendation, by a hypothetical one of HypoPG in your own session: plan_cost_before, plan_cost_after, index_is_used; or not_tried, and why. Nothing is made.';

CREATE FUNCTION mvscheduler.decide_recommendation(id bigint, action text, reason text, until timestamptz) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r        mvscheduler.recommendations;
    v        mvscheduler.views;
    changes  boolean;   -- the row of views
    was      jsonb;
    new      jsonb;
    index_on text;   -- made of names of columns alone: the sidecar writes no text that this session parses
BEGIN
    SELECT x.* INTO r FROM mvscheduler.recommendations AS x WHERE x.id = decide_recommendation.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'recommendation % does not exist', decide_recommendation.id
            USING ERRCODE = 'no_data_found', HINT = 'List those that you may see: SELECT id, view_name, proposed, state FROM mvscheduler.recommendations.';
    END IF;
    changes := r.change IS NOT NULL AND (action = 'accept' OR action = 'undo' AND NOT r.automatic AND r.state <> 'rejected');
    IF changes THEN   -- before the decision: it is judged by what the row says, which somebody may be changing
        SELECT x.* INTO v FROM mvscheduler.views AS x WHERE x.id = r.view_id FOR UPDATE;
    END IF;
    INSERT INTO mvscheduler.recommendation_decision (recommendation_id, view_id, action, reason, until, tried)
    VALUES (r.id, r.view_id, decide_recommendation.action, decide_recommendation.reason, decide_recommendation.until,
            CASE WHEN action = 'accept' AND r.kind = 'index' THEN mvscheduler.try_index(r.id) END);
    IF action = 'accept' AND NOT EXISTS (SELECT FROM mvscheduler.recommendations AS x WHERE x.id = r.id AND x.proposed = r.proposed AND x.change IS NOT DISTINCT FROM r.change AND x.basis IS NOT DISTINCT FROM r.basis) THEN
        RAISE EXCEPTION 'recommendation % was made anew meanwhile', r.id USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('Look at it again: mvscheduler recommend show %s', r.id);
    END IF;
    IF action = 'accept' AND r.seen_at < clock_timestamp() - interval '7 days' THEN   -- each view is thought about once a day
        RAISE EXCEPTION 'recommendation % was found true last on %', r.id, to_char(r.seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'Nobody has looked since whether it still is: no sidecar samples.',
            HINT = format('Wait for the next look, or to have it all the same: %s', r.command);
    END IF;
    IF NOT changes THEN
        RETURN;
    END IF;
    was := CASE action WHEN 'accept' THEN r.basis ELSE r.change END;
    new := CASE action WHEN 'accept' THEN r.change ELSE r.basis END;
    index_on := (SELECT '(' || string_agg('"' || replace(c.value, '"', '""') || '"', ', ' ORDER BY c.n) || ')'
                   FROM jsonb_array_elements_text((r.change ->> 'add_index')::jsonb) WITH ORDINALITY AS c(value, n));
    IF v.id IS NULL THEN
        RAISE EXCEPTION 'permission denied to change managed view %', r.view_name USING ERRCODE = 'insufficient_privilege',
            HINT = 'Its owner, or a role that can become it, decides.';
    ELSIF NOT mvscheduler.same_columns(mvscheduler.columns_of(v, was), was) THEN
        RAISE EXCEPTION 'managed view % was changed since recommendation % was made', r.view_name, r.id USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = format(CASE action WHEN 'accept' THEN 'It was made for %s, and now it is %s.' ELSE 'It set %s, and now it is %s.' END, was, mvscheduler.columns_of(v, was)),
            HINT = CASE action
                   WHEN 'accept' THEN format('To have it all the same: %s', r.command)
                   ELSE format('To have what was before it all the same: UPDATE mvscheduler.views SET %s WHERE name = %L',
                               (SELECT string_agg(format('%I = %L', e.key, nullif(e.value, '')), ', ' ORDER BY e.key) FROM jsonb_each_text(new) AS e), r.view_name) END;
    END IF;
    UPDATE mvscheduler.views AS x
       SET refresh_interval = CASE WHEN new ? 'refresh_interval' THEN (new ->> 'refresh_interval')::interval ELSE x.refresh_interval END,
           cron = CASE WHEN new ? 'cron' THEN new ->> 'cron' ELSE x.cron END,
           calendar = CASE WHEN new ? 'calendar' THEN (new ->> 'calendar')::jsonb ELSE x.calendar END,
           refresh_on = CASE WHEN new ? 'refresh_on' THEN new ->> 'refresh_on' ELSE x.refresh_on END,
           method = CASE WHEN new ? 'method' THEN new ->> 'method' ELSE x.method END,
           retention_period = CASE WHEN new ? 'retention_period' THEN (new ->> 'retention_period')::interval ELSE x.retention_period END,
           indexes = CASE WHEN index_on IS NULL OR action = 'accept' AND x.indexes @> ARRAY[index_on] THEN x.indexes
                          WHEN action = 'accept' THEN array_append(x.indexes, index_on)
                          ELSE nullif(array_remove(x.indexes, index_on), '{}') END,
           optimize = CASE WHEN new ? 'optimize' THEN new ->> 'optimize' ELSE x.optimize END
     WHERE x.id = r.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.decide_recommendation(bigint, text, text, timestamptz) IS 'What accept, reject, snooze and undo have in common.';

CREATE FUNCTION mvscheduler.accept_recommendation(id bigint) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    SELECT mvscheduler.decide_recommendation(id, 'accept', NULL, NULL);
END;
COMMENT ON FUNCTION mvscheduler.accept_recommendation(bigint) IS 'Does what is recommended where it is a change of the row of views; else notes that a person will run its command.';
CREATE FUNCTION mvscheduler.reject_recommendation(id bigint, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    SELECT mvscheduler.decide_recommendation(id, 'reject', reason, NULL);
END;
COMMENT ON FUNCTION mvscheduler.reject_recommendation(bigint, text) IS 'The like of it is not proposed again for 90 days, unless undo_recommendation takes the rejection back.';
CREATE FUNCTION mvscheduler.snooze_recommendation(id bigint, until timestamptz, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    SELECT mvscheduler.decide_recommendation(id, 'snooze', reason, until);
END;
COMMENT ON FUNCTION mvscheduler.snooze_recommendation(bigint, timestamptz, text) IS 'It is proposed again after this instant, if it is still true.';
CREATE FUNCTION mvscheduler.undo_recommendation(id bigint, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    SELECT mvscheduler.decide_recommendation(id, 'undo', reason, NULL);
END;
COMMENT ON FUNCTION mvscheduler.undo_recommendation(bigint, text) IS 'Takes back what was applied, by a person or by the sidecar; for 30 days nothing of the kind is applied by itself. Or takes back a rejection: it is proposed again.';

-- The bounds of a calendar ----------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.calendar_within(rules jsonb, shortest interval, longest interval) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN (WITH rule AS (
            SELECT coalesce(string_to_array(translate(e ->> 'days', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ ', 'abcdefghijklmnopqrstuvwxyz'), ','), '{mon-sun}') AS days,
                   mvscheduler.wall_minute(coalesce(e ->> 'at', e ->> 'from', '00:00'), 1439) AS first,
                   mvscheduler.wall_minute(coalesce(e ->> 'at', e ->> 'to', '24:00'), 1440) - CASE WHEN e ? 'at' THEN 0 ELSE 1 END AS last,
                   extract(epoch FROM coalesce(e ->> 'every', '1 day')::interval)::integer / 60 AS step
              FROM jsonb_array_elements(rules) AS e
        ), due AS (
            SELECT DISTINCT 1440 * array_position(names.all_days, d.name) + m.minute AS minute   -- of the week
              FROM (SELECT '{mon,tue,wed,thu,fri,sat,sun}'::text[]) AS names(all_days)
             CROSS JOIN unnest(names.all_days) AS d(name)
              JOIN rule AS r ON EXISTS (SELECT FROM unnest(r.days) AS p(part)
                                         WHERE array_position(names.all_days, d.name) BETWEEN array_position(names.all_days, left(p.part, 3)) AND array_position(names.all_days, right(p.part, 3)))
             CROSS JOIN generate_series(r.first, r.last, r.step) AS m(minute)
        ), gap AS (
            SELECT coalesce(lead(minute) OVER week, first_value(minute) OVER week + 7 * 1440) - minute AS minutes
              FROM due
            WINDOW week AS (ORDER BY minute)
        )
        SELECT min(minutes) * interval '1 minute' >= shortest AND max(minutes) * interval '1 minute' <= longest FROM gap);
COMMENT ON FUNCTION mvscheduler.calendar_within(jsonb, interval, interval) IS 'Whether the times between two slots of a calendar, on the wall clock, are within bounds.';

-- A trigger and no constraint: those are looked at whenever the clock moves.
CREATE FUNCTION mvscheduler.bound_calendar() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reason text := coalesce(mvscheduler.calendar_error(NEW.tuned_calendar),
                            CASE WHEN NOT mvscheduler.calendar_within(NEW.tuned_calendar, coalesce(NEW.min_interval, '1 minute'), coalesce(NEW.max_interval, '7 days'))
                                 THEN 'it is not within min_interval and max_interval' END);
BEGIN
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'managed view % cannot be refreshed by the calendar %: %', NEW.name, NEW.tuned_calendar, reason USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION mvscheduler.bound_calendar() IS 'Trigger on view_state: what the optimizer puts in the place of an interval is a calendar within the bounds of the row.';
REVOKE ALL ON FUNCTION mvscheduler.bound_calendar() FROM PUBLIC;
CREATE TRIGGER bound_calendar BEFORE UPDATE OF tuned_calendar, min_interval, max_interval ON mvscheduler.view_state
    FOR EACH ROW WHEN (NEW.tuned_calendar IS NOT NULL AND (NEW.tuned_calendar, NEW.min_interval, NEW.max_interval) IS DISTINCT FROM (OLD.tuned_calendar, OLD.min_interval, OLD.max_interval))
    EXECUTE FUNCTION mvscheduler.bound_calendar();

-- Rights ----------------------------------------------------------------------------------------------

REVOKE ALL ON mvscheduler.collector, mvscheduler.sampled, mvscheduler.sampled_days, mvscheduler.looked_back, mvscheduler.look_backs, mvscheduler.tested, mvscheduler.conditions, mvscheduler.view_usage, mvscheduler.own_scan, mvscheduler.verify_scan, mvscheduler.watched_index, mvscheduler.scans_here, mvscheduler.visible_counted, mvscheduler.counted,
              mvscheduler.recommendation, mvscheduler.recommendation_decision, mvscheduler.recommendations, mvscheduler.usage, mvscheduler.samples FROM PUBLIC;
GRANT SELECT ON mvscheduler.recommendations, mvscheduler.usage, mvscheduler.samples, mvscheduler.look_backs, mvscheduler.conditions TO mvscheduler_user, mvscheduler_worker;
GRANT SELECT ON mvscheduler.scans_here, mvscheduler.visible_counted TO mvscheduler_user;
GRANT INSERT ON mvscheduler.verify_scan TO mvscheduler_user;
GRANT SELECT, DELETE ON mvscheduler.verify_scan TO mvscheduler_worker;
GRANT SELECT, INSERT (recommendation_id, view_id, action, reason, until, tried) ON mvscheduler.recommendation_decision TO mvscheduler_user;
GRANT SELECT, UPDATE (sampler, lease_until, sampled_at, planned_at, level, sources, standbys, standby_seen_at) ON mvscheduler.collector TO mvscheduler_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON mvscheduler.sampled, mvscheduler.sampled_days, mvscheduler.looked_back, mvscheduler.tested, mvscheduler.watched_index, mvscheduler.view_usage, mvscheduler.own_scan TO mvscheduler_worker;
GRANT SELECT ON mvscheduler.counted TO mvscheduler_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON mvscheduler.recommendation TO mvscheduler_worker;
GRANT SELECT (recommendation_id), DELETE ON mvscheduler.recommendation_decision TO mvscheduler_worker;
GRANT UPDATE (tuned_interval, tuned_patience, tuned_calendar, tuned_by, retention_period, retained_by) ON mvscheduler.view_state TO mvscheduler_worker;

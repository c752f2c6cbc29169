package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What is below is looked at beside what opens the attempt. A partition that is attached between that and the snapshot
// the refresh does not compute, and data_as_of does not say that it has.
func TestDataAsOfIsNotYoungerThanTheLookAtWhatIsBelow(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY RANGE (ts)`,
		`CREATE TABLE m1 PARTITION OF metrics FOR VALUES FROM ('2026-03-01') TO ('2026-03-02')`, `INSERT INTO metrics VALUES ('2026-03-01 05:00+00', 1, 1)`,
		`CREATE TABLE m2 (LIKE metrics)`, `INSERT INTO m2 VALUES ('2026-03-02 05:00+00', 1, 1)`)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.incremented(t, "v") // the row was new to the first, which looked again

	// Somebody attaches it right before the attempt is open, once others have had the time to look.
	pgtest.Exec(t, s.root, `CREATE EXTENSION dblink SCHEMA public`, `CREATE TABLE public.attached (at timestamptz)`,
		`CREATE FUNCTION public.attach() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.5);
    PERFORM public.dblink_exec('dbname=' || current_database() || ' port=' || current_setting('port') || ' host=' || current_setting('unix_socket_directories') || ' user=postgres',
        'ALTER TABLE `+s.owner+`.metrics ATTACH PARTITION `+s.owner+`.m2 FOR VALUES FROM (''2026-03-02'') TO (''2026-03-03''); INSERT INTO public.attached VALUES (clock_timestamp())');
    RETURN NEW;
END $$`, `ALTER FUNCTION public.attach() SECURITY DEFINER`, `CREATE TRIGGER attach BEFORE INSERT ON mvscheduler.attempt FOR EACH ROW EXECUTE FUNCTION public.attach()`)
	s.incremented(t, "v")
	attached := ask[time.Time](t, s.root, `SELECT min(at) FROM public.attached`)
	pgtest.Exec(t, s.root, `DROP TRIGGER attach ON mvscheduler.attempt`)
	if ask[int](t, s.alice, `SELECT count(*)::int FROM v`) == 1 {
		require.True(t, ask[time.Time](t, s.alice, `SELECT data_as_of FROM mvscheduler.status`).Before(attached))
	}
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.True(t, ask[time.Time](t, s.alice, `SELECT data_as_of FROM mvscheduler.status`).After(attached))
}

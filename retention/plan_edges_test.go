package retention

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Both the retention period and the grace period are counted in the zone of the owner, and not in UTC: on 2026-03-29 Berlin's day
// has 23 hours.
func TestPeriodsAreCountedInTheZoneOfTheOwner(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	b := table(t, Source, "app.metrics", Days(1)).partition("hour", "FOR VALUES FROM ('2026-03-28 11:00:00+00') TO ('2026-03-28 13:00:00+00')")
	b.facts.Now, b.facts.Policy.Zone = at(t, "2026-03-29 12:00:00"), berlin
	out := Plan(b.facts)
	require.Equal(t, b.at("2026-03-28 13:00:00"), out.Horizon)
	require.Equal(t, 1, out.Total(Detach).Partitions)
	b.facts.Policy.Zone = nil
	require.Equal(t, 0, Plan(b.facts).Total(Detach).Partitions, "a day of UTC is longer")

	b.facts.Policy.Zone, b.facts.Policy.GracePeriod = berlin, Days(1)
	b.facts.Relation.Partitions[0].DetachedAt = b.at("2026-03-28 12:30:00")
	require.Equal(t, Drop, Plan(b.facts).Decisions[0].Action)
	b.facts.Policy.Zone, b.facts.Policy.RetentionPeriod = nil, &hourly
	require.Equal(t, Hold, Plan(b.facts).Decisions[0].Action, "a day of UTC is longer")
}

// What can be restored until an instant can be in that instant.
func TestAGracePeriodEndsAfterItsLastInstant(t *testing.T) {
	t.Parallel()
	for _, restored := range []bool{false, true} {
		b := table(t, Source, "app.metrics", Days(7)).span("2026-05-01", "2026-05-02")
		stays, leaves := Hold, Drop
		begins := &b.facts.Relation.Partitions[0].DetachedAt
		if restored {
			stays, leaves = Keep, Detach
			begins = &b.facts.Relation.Partitions[0].RestoredAt
		}
		*begins = b.at("2026-06-12 12:00:00") // three days before now
		require.Equal(t, stays, Plan(b.facts).Decisions[0].Action)
		b.facts.Now++
		require.Equal(t, leaves, Plan(b.facts).Decisions[0].Action)
	}
}

// Whether it is attached or aside.
func TestALegalHoldOnAPartKeepsThePartition(t *testing.T) {
	t.Parallel()
	for action, detached := range map[Action]string{Keep: "", Hold: "2026-05-20"} {
		b := table(t, Source, "app.metrics", Days(7)).span("2026-05-01", "2026-05-02")
		if detached != "" {
			b.facts.Relation.Partitions[0].DetachedAt = b.at(detached)
		}
		require.False(t, Plan(b.facts).Empty())
		b.facts.Relation.Partitions[0].Held = "app.part"
		d := Plan(b.facts).Decisions[0]
		require.Equal(t, action, d.Action)
		require.Equal(t, "there is a legal hold on app.part", d.Why)
	}
}

func TestOneForeignKeyKeepsAPartition(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(7)).span("2026-05-01", "2026-05-02", func(p *Partition) { p.ReferencedBy = []ForeignKey{{"app.notes", "notes_ts_fkey"}} })
	d := Plan(b.facts).Decisions[0]
	require.Equal(t, Keep, d.Action)
	require.Equal(t, "app.notes", d.Blocker)
}

func TestOfATableThatIsAPartNothingLeavesByARowOfItsOwn(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.eu", Days(7)).span("2026-05-01", "2026-05-02").span("2026-04-01", "2026-04-02", func(p *Partition) { p.DetachedAt = new(Timestamp) })
	require.Equal(t, 1, Plan(b.facts).Total(Drop).Partitions)
	b.facts.Relation.PartOf = "app.everywhere"
	require.True(t, Plan(b.facts).Empty())
	require.Equal(t, "app.eu is a part of app.everywhere, which has a row in source_retention itself", Plan(b.facts).Decisions[0].Why)
}

// What begins at the horizon has nothing before it.
func TestWhatBeginsAtTheHorizonIsYoungerAndNotOnBothSides(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(1)).span("2026-06-14", "2026-06-15")
	b.facts.Now = at(t, "2026-06-15 00:00:00")
	d := Plan(b.facts).Decisions[0]
	require.Equal(t, Keep, d.Action)
	require.Contains(t, d.Why, "it is younger than the horizon 2026-06-14 of")
}

func TestOneSubPartitionIsNamed(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(7)).span("2026-05-01", "2026-05-02", func(p *Partition) { p.SubPartitions = 1 })
	require.Contains(t, Plan(b.facts).Decisions[0].Reason, " with its 1 sub-partition is put aside: ")
}

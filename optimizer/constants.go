package optimizer

import "time"

// The constants of the optimizer, all of them. "dev" are the traces of the reference simulator; "spec" is
// the specification that came with it, whose section is named. None of them is fitted to a single view.
const (
	// Read model (spec 3a). The reference found the results flat in all of these: halving or doubling one
	// moves the regret on dev by less than 2.5 points.

	// profileHalfLife is the number of weeks after which a read of the past counts half. Four weeks do as
	// well on dev; two forget a former habit sooner.
	profileHalfLife = 2.0
	// weakestPrior and strongestPrior bound the weights, in reads, of the coarser rate that a group of hours and
	// an hour of the week are shrunk to. In reads, not hours: rarely read views shrink, busy ones do not. The
	// weights themselves are estimated; the bounds only keep them finite.
	weakestPrior, strongestPrior = 0.1, 1000.0
	// flatPriorReads over flatPriorSeconds is the rate that a view without any history is shrunk to: half a
	// read in five minutes, Jeffreys' prior of one bin.
	flatPriorReads, flatPriorSeconds = 0.5, 300.0
	// levelPriorReads shrinks both levels to 1.
	levelPriorReads = 10.0
	// slowWindow and fastWindow are the spans of the two levels; the deviation of the fast one dies away with
	// the time constant fastDecay.
	slowWindow, fastWindow, fastDecay = 3 * 24 * time.Hour, 6 * time.Hour, 6 * time.Hour

	// Change points (spec 3a): Page's cumulative sum of the log likelihood ratio of a rate that is shiftRatio
	// times, or a shiftRatio-th of, the expected one; an alarm at ln(1/0.001).
	shiftRatio, shiftAlarm = 2.0, 6.9
	// shiftLeast is how long the excess has to last: a burst that is over within a day is the business of the
	// fast level, not a change.
	shiftLeast = 24 * time.Hour
	// shiftCap is the greatest sum, so that a great burst is forgotten as soon as a small one.
	shiftCap = 2 * shiftAlarm
	// shiftTrust is how long an alarm keeps the optimizer from changing a schedule (spec 3d.6).
	shiftTrust = 24 * time.Hour
	// shiftForget is what an alarm leaves of the profile's weight.
	shiftForget = 0.5
	// minDispersionHours is how many hours the dispersion of the counts is learnt for before an alarm counts.
	minDispersionHours = 24.0

	// Seasonality gate (spec 3a).

	// gateWeeks and gateReads are the least evidence for a profile by hour of the week, groupWeeks and
	// groupReads for one by hour of the day and kind of day.
	gateWeeks, gateReads   = 3, 200.0
	groupWeeks, groupReads = 2, 50.0
	// calendarGain is the gain, on weeks that the profile was not learnt from, that a published calendar has
	// to show. Without it a quarter of the serverless instances of Redset lose 29 %.
	calendarGain = 1.05
	// plannerGain is what the planner asks for: that the profile does no harm out of sample. On smooth traffic
	// the whole gain of a profile is 1.03 to 1.06 (spec 1.2), which is worth having where it costs nobody a
	// more complicated schedule. With 1.05 here as well, J on dev rises by 1 % in the geometric mean and one
	// trace does worse than under the best fixed interval.
	plannerGain = 1.0
	// foldWeeks is how many weeks the gate looks back.
	foldWeeks = 8

	// Change model (spec 3b).

	// keptGaps is how many gaps between changes are remembered.
	keptGaps = 512
	// minGaps is the least number of gaps that waits are estimated from; below it a change is expected at once.
	minGaps = 8
	// waitQuantiles is how many equally likely waits stand for the distribution of the time to the next change.
	waitQuantiles = 24

	// Cost model (spec 3c).

	// walSeconds is the price of a megabyte of WAL, in refresh-seconds.
	walSeconds = 0.02
	// costForget is the weight of a run relative to the next one.
	costForget = 0.9
	// huberK is the residual, in robust standard deviations, from which a run counts less: 95 % efficiency on
	// normal residuals (Huber 1964).
	huberK = 1.345
	// keptRuns is how many runs the cost of an incremental refresh is fitted to.
	keptRuns = 50
	// blockedPrice is the price of a second that a reader waits for a plain refresh, in read-seconds of age.
	blockedPrice = 10.0

	// Planner (spec 3d).

	// horizonCycles is the length of a plan in EOQ intervals, clamped to horizonLeast and horizonMost.
	horizonCycles             = 12.0
	horizonLeast, horizonMost = 12 * time.Hour, 48 * time.Hour
	// replan is how long a plan is followed without looking again.
	replan = time.Hour
	// guardExtra and guardReads give the guard 1 + guardExtra/(guardReads+N), N = reads in an EOQ interval:
	// 1 is best on dense reads, 2 on sparse ones.
	guardExtra, guardReads = 4.0, 4.0
	// slotStretch is how much longer than the best interval that of the mode Adaptive is. With the best one itself the
	// guard acts right before the slots, and J is 10 % above that of the pilot on the dense traces of dev, with 2, 4 and 8
	// times it 3, 1 and 1 %; on thinned ones, where the guard sees little, 9, 10, 18 and 28 %. More would leave readers
	// alone for longer where the counters are not known.
	slotStretch = 4.0
	// minInterval and maxInterval bound an interval that the view's own bounds leave open.
	minInterval, maxInterval = time.Minute, 24 * time.Hour

	// Published schedules (spec 3d.5, 3d.6).

	// simplerLoss is how much worse than the best mode a simpler one may be predicted to be.
	simplerLoss = 0.05
	// mergeLoss is how much merging windows may raise the predicted cost of a calendar.
	mergeLoss = 0.02
	// maxWindows is the most windows of a calendar.
	maxWindows = 6
	// minGain and minStep are the least predicted saving and the least |log2| of the ratio of intervals for
	// which a schedule is touched; maxStep is the most that one step changes an interval by.
	minGain, minStep, maxStep = 0.05, 0.5, 2.0
	// coolDown is the least time between two steps.
	coolDown = 24 * time.Hour
	// minReads in evidenceWindow is the least evidence for an automatic change: the standard deviation of the
	// square root of the rate is then 9 %.
	minReads       = 30.0
	evidenceWindow = 7 * 24 * time.Hour
	// minRuns is from how many refreshes it has to be known what one costs before a clock is changed without asking.
	minRuns = 3
	// rareWorth is the least that a longer interval of a view with fewer reads has to save, in refresh-seconds a day.
	rareWorth = 60.0
	// rarelyIdle is the share of the slots of an interval that may find nothing changed before it is judged by a replay of the
	// changes, and idleLoss how much more a longer interval may cost then: a slot that finds nothing is cheap, and not free.
	rarelyIdle, idleLoss = 0.2, 0.02
	// modeWindow is the part of the history that modes are compared on; they are fitted on what comes before.
	modeWindow = 14 * 24 * time.Hour

	// Fleet (spec 3d.1).

	// defaultTarget is the interval that the median view gets at its mean load; it fixes kappa.
	defaultTarget = 15 * time.Minute
	// defaultBudget is the share of one backend that all refreshes together may take.
	defaultBudget = 0.10

	// Roll-back (spec 3e).

	// verifyLeast and verifyMost are when a change is judged: early only when it is clearly worse.
	verifyLeast, verifyMost = 24 * time.Hour, 7 * 24 * time.Hour
	// verifyRefreshes is the least number of refreshes, under either schedule, that a judgement rests on.
	verifyRefreshes = 12
	// earlyLoss and lateLoss are the realised cost, relative to that of the old schedule on the same reads,
	// from which a change is taken back, before and at verifyMost.
	earlyLoss, lateLoss = 1.25, 1.10
	// dearer is how much longer than predicted a refresh may take, or than stepSeconds where that is more; readsFell how much fewer reads than
	// expected a slower schedule may see.
	dearer, readsFell = 1.5, 0.30
	// fallDeviations is by how many standard deviations reads have to be fewer as well: those that vary by themselves are
	// so with a probability of 1 %.
	fallDeviations = 2.33
	// burstDeviations is by how many standard deviations of a Poisson count the reads of an hour may be above the profile.
	burstDeviations = 3.0
	// freezeAfter roll-backs within freezeWindow freeze a view for freezeWindow.
	freezeAfter  = 2
	freezeWindow = 30 * 24 * time.Hour

	// Retention (spec 3f).

	// lookBackHalfLife is the age at which a read counts half.
	lookBackHalfLife = 90 * 24 * time.Hour
	// LookBackMemory is how long look-backs are remembered: 13 months, so that a yearly read is among them. By then they
	// count 5 %; that one looked back beyond longSign is remembered for ever.
	LookBackMemory = longFloor
	// fineQuantile needs fineReads effective reads and is extended by fineFactor; coarseQuantile needs
	// coarseReads and is extended by coarseFactor. The numbers are ln(0.05)/ln(q): with fewer, the largest
	// look-back seen is no upper limit of the quantile at 95 % confidence (Wilks 1941).
	fineQuantile, fineReads, fineFactor       = 0.999, 2995.0, 1.25
	coarseQuantile, coarseReads, coarseFactor = 0.99, 299.0, 2.0
	// limitConfidence is the confidence of the upper limit of a quantile.
	limitConfidence = 0.95
	// retentionFloor is the least retention that is ever proposed, more than two of the longest season in use, a week; longFloor protects yearly reads: it holds
	// while the view is younger, and once a look-back beyond longSign was seen.
	retentionFloor = 30 * 24 * time.Hour
	longFloor      = 396 * 24 * time.Hour // 13 months
	longSign       = 180 * 24 * time.Hour
	// unboundedShare is the share of reads without a lower bound from which on retention is only advice.
	unboundedShare = 0.01
	// shrinkBelow is the need, relative to the retention, below which a week speaks for shrinking; it takes
	// shrinkWeeks of them in a row, and one step takes at most shrinkStep off, every shrinkPause.
	shrinkBelow, shrinkStep = 0.8, 0.20
	shrinkWeeks             = 4
	shrinkPause             = 30 * 24 * time.Hour
	// missFactor times the look-back of a miss is the retention that is longer for it; missFreeze is how long nothing is
	// shrunk after it.
	missFactor = 1.5
	missFreeze = 90 * 24 * time.Hour
	// missedDays is on how many days reads have to ask for what has left until a longer retention is proposed, MissedWithin
	// how far back they are looked for; a lower bound of askedEverything back means everything. Without a bound of its row, a
	// period becomes at most longerAtMost times as long by itself.
	missedDays      = 2
	longerAtMost    = 2
	MissedWithin    = 35 * 24 * time.Hour
	askedEverything = 10 * 365 * 24 * time.Hour
	// savedBytes and savedShare: shrinking is worth it from 1 GiB or 5 % of the database on.
	savedBytes, savedShare = 1 << 30, 0.05

	// Storage advice (spec 3g).

	// unusedFor and unusedGaps: a view is unused after so long, and after so many of its longest pause.
	unusedFor, unusedGaps = 30 * 24 * time.Hour, 3
	// unprofitableFor is how long a view must cost more than it saves.
	unprofitableFor = 14 * 24 * time.Hour
	// bloatShare is the share of dead rows from which a view should be rebuilt.
	bloatShare = 0.3
	// bloatLeast is how many there have to be.
	bloatLeast = 1000
	// incrementalBuckets and incrementalCost are the shares of the buckets and of the cost of a full refresh
	// below which an incremental one pays.
	incrementalBuckets, incrementalCost = 0.3, 0.7
	// slowRefresh is the least cost of a full refresh, in refresh-seconds, from which another method is looked for, and
	// minRunsOfMethod how many have to be known; stepSeconds is what an incremental refresh costs that finds little to do.
	slowRefresh, minRunsOfMethod, stepSeconds = 1.0, 5, 0.05
	// indexCalls and indexSelectivity: a predicate deserves an index when so many of the calls have it and it
	// selects less than so much.
	indexCalls, indexSelectivity = 0.20, 0.05
	// indexWorth is the least that an index has to save, in seconds a day.
	indexWorth = 1.0
	// scannedRowSeconds is what it takes to look at a row and leave it out, indexedRowSeconds to add one to an index of one
	// column. Measured on PostgreSQL 15, one process, a million rows of 60 bytes in memory: 1.7e-7 for a text or an integer;
	// CREATE INDEX 1.0e-6 for an integer, 2.9e-6 for a text, 3.3e-6 for a text and a timestamp.
	scannedRowSeconds, indexedRowSeconds = 1.7e-7, 2e-6
	// waitsSeen is for how many of the last refreshes readers have to be seen waiting, and waitNoticed the shortest lock that
	// a person notices (Miller 1968). concurrentTimes is how many times as long as a full refresh a concurrent one takes where
	// it never ran: the reference measured it at 0.2 % of the rows changed.
	waitsSeen, waitNoticed = 3, 100 * time.Millisecond
	concurrentTimes        = 4.3
	// fullShare is the share of the cost of a concurrent refresh below which a full one is advised, and undisturbedRuns how
	// many refreshes have to go by without a reader: fewer than one in seven meets one then, with 95 % confidence.
	fullShare, undisturbedRuns = 0.5, 20
)

// niceIntervals are the intervals that are proposed to people.
var niceIntervals = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 6 * time.Hour, 8 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}
